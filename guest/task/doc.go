// Package task is the library that tasks in Go are written with: system calls, upcalls,
// and the drivers that the kernel has.
//
// A task is a main package with the build constraint "kapsel_task". tools/mkimage builds
// it with a runtime that has a bump allocator and nothing else: no goroutines, maps,
// channels, defer or recover. Directives in its sources say how much memory it needs:
//
//	//kapsel:stack 16384
//	//kapsel:heap 65536
//	//kapsel:flash 4096
//
// The system call ABI is docs/abi.md.
package task
