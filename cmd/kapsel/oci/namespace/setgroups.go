package namespace

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setgroups is setgroups(2) for one thread: syscall.Setgroups is for all.
func setgroups(ids []uint32, first *uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(ids)), uintptr(unsafe.Pointer(first)), 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	return nil
}
