// Package task is the library that tasks in Go are written with: system calls, upcalls,
// and the drivers that the kernel has.
//
// A task is a main package with the build constraint "kapsel_task". tools/mkimage builds
// it with a runtime that has a bump allocator and nothing else: no goroutines, maps,
// channels, defer or recover. Directives in its sources say how much memory it needs, in bytes,
// and what it may store (README.md has the others):
//
//	//kapsel:stack 16384
//	//kapsel:heap 65536
//	//kapsel:flash 4096
//	//kapsel:storage write=1 read=1 modify=1
//
// The system call ABI is docs/abi.md.
//
// # What is kept while the machine is off
//
// A task keeps bytes in a region (Storage), and values by keys: GetValue, SetValue, AddValue,
// UpdateValue, DeleteValue. Both need a disk (docs/storage.md), and storage permissions: write
// is the identifier under which the task stores, read and modify are the identifiers whose data
// it may read and change, its own only if it is among them.
//
// Keys have at most 64 bytes, and are the same for all tasks. A value has at most 2048 bytes
// and the write identifier of the task that set it last. What a call that succeeded set or
// deleted stays so whatever happens to the machine; of one that failed by abi.FAIL it is done
// or not. The errors of the calls by key:
//
//   - abi.NODEVICE: the machine has no disk that tasks can keep data on
//   - abi.NOSUPPORT: there is no such key, or its identifier is not in the task's list
//   - abi.INVAL: the task has no storage permissions, or sets something without a write identifier
//   - abi.SIZE: the key or the value is too long
//   - abi.NOMEM: there is no room
//   - abi.FAIL: the disk fails, is damaged there, or can only be read
//
// # Arguments, environment, and the end
//
// Args, Environ and Getenv read what the machine was given; OnTerminate has a function called when the host asks the tasks to end. A task that was told so
// ends by Exit when it has done what it must: the machine ends with the last of them.
//
// # What the kernel computes
//
// Checksums (CRC32, CRC32C, CRC16), digests (Digest, HMAC, VerifyHMAC) and AES-128 (EncryptAES, DecryptAES,
// SealCCM, OpenCCM) are there on every machine. A call waits until it is done, while others' are served in turns.
package task
