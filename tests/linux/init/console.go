package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkConsole prints on the virtio console: the argument text, as often as count says.
func checkConsole(a arguments) error {
	text, err := a.need("text")
	if err != nil {
		return err
	}
	count, err := a.number("count", 1)
	if err != nil {
		return err
	}
	f, err := os.OpenFile("/dev/hvc0", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range count {
		if _, err := fmt.Fprintf(f, "%s %d\n", text, i); err != nil {
			return err
		}
	}
	return unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) // until every byte has left
}
