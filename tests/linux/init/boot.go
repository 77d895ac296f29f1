package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// checkBoot tells which Linux this is.
func checkBoot(arguments) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	fmt.Printf("boot: %s %s %s\n", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		unix.ByteSliceToString(u.Machine[:]))
	return nil
}
