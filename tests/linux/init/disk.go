package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"kapsel/tests/linux/stream"
)

const (
	diskPath  = "/dev/vda"
	diskSys   = "/sys/block/vda"
	diskBlock = 1 << 20 // of a read or write, which the kernel divides as it likes
	diskSeed  = 0xd15c
)

// checkDisk writes MiB mib (default 64) to the first disk past the kernel's cache, flushes, reads them back and
// compares. Then it looks at what the other arguments expect: serial, the disk's; discard=yes, that it discards
// and writes zeroes, and spares what lies beside them. With ro=yes it reads alone, and wants a write refused.
func checkDisk(a arguments) error {
	mib, err := a.number("mib", 64)
	if err != nil {
		return err
	}
	if err := sysValue("serial", a); err != nil {
		return err
	}
	if a["ro"] == "yes" {
		return checkReadOnly(mib)
	}
	f, err := os.OpenFile(diskPath, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer, err := alignedBuffer()
	if err != nil {
		return err
	}
	for i := range mib {
		stream.Fill(buffer, diskSeed, i*diskBlock)
		if _, err := f.WriteAt(buffer, int64(i*diskBlock)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := readBack(f, buffer, 0, mib); err != nil {
		return err
	}
	fmt.Printf("disk: %d MiB written, flushed and read\n", mib)
	if a["discard"] == "yes" {
		return checkDiscard(f, buffer)
	}
	return nil
}

// sysValue compares an argument, if it is given, with the file of that name that the kernel has of the disk.
func sysValue(key string, a arguments) error {
	want, ok := a[key]
	if !ok {
		return nil
	}
	b, err := os.ReadFile(diskSys + "/" + key)
	if err == nil && strings.TrimSpace(string(b)) != want {
		err = fmt.Errorf("the disk's %s is %q, want %q", key, strings.TrimSpace(string(b)), want)
	}
	return err
}

// alignedBuffer is a buffer as direct reads and writes want it.
func alignedBuffer() ([]byte, error) {
	return unix.Mmap(-1, 0, diskBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// readBack compares blocks of the disk with what was written.
func readBack(f *os.File, buffer []byte, first, end uint64) error {
	for i := first; i < end; i++ {
		clear(buffer)
		if _, err := f.ReadAt(buffer, int64(i*diskBlock)); err != nil {
			return err
		}
		if err := stream.Check(buffer, diskSeed, i*diskBlock); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
	}
	return nil
}

// checkDiscard discards block 0 and writes zeroes to block 2: then 1 and 3 are as they were, and 2 is zero.
func checkDiscard(f *os.File, buffer []byte) error {
	if err := blockRange(f, unix.BLKDISCARD, 0); err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	if err := blockRange(f, unix.BLKZEROOUT, 2); err != nil {
		return fmt.Errorf("write zeroes: %w", err)
	}
	if err := errors.Join(readBack(f, buffer, 1, 2), readBack(f, buffer, 3, 4)); err != nil {
		return fmt.Errorf("beside what was discarded: %w", err)
	}
	if _, err := f.ReadAt(buffer, 2*diskBlock); err != nil {
		return err
	}
	for i, b := range buffer {
		if b != 0 {
			return fmt.Errorf("byte %d of zeroes is %#02x", i, b)
		}
	}
	fmt.Println("disk: 1 MiB discarded, 1 MiB of zeroes written")
	return nil
}

// blockRange asks the disk to do something to a block (linux/fs.h, BLKDISCARD and BLKZEROOUT).
func blockRange(f *os.File, request uintptr, block uint64) error {
	bounds := [2]uint64{block * diskBlock, diskBlock}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&bounds)))
	if errno != 0 {
		return errno
	}
	return nil
}

// checkReadOnly compares the disk with what the host has written to it, and wants a write refused.
func checkReadOnly(mib uint64) error {
	f, err := os.OpenFile(diskPath, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer, err := alignedBuffer()
	if err != nil {
		return err
	}
	if err := readBack(f, buffer, 0, mib); err != nil {
		return err
	}
	w, err := os.OpenFile(diskPath, os.O_WRONLY|unix.O_DIRECT, 0)
	if err == nil {
		defer w.Close()
		_, err = w.WriteAt(buffer, 0)
	}
	if err == nil {
		return errors.New("a disk for reading alone takes a write")
	}
	fmt.Printf("disk: %d MiB read; a write is refused: %v\n", mib, err)
	return nil
}
