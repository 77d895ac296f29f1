//go:build kapsel_task

// Command types reads from the console what is typed there, and looks whether nothing of it is missing.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the console driver.
const (
	read   = 2 // command
	done   = 2 // subscribe
	buffer = 1 // read-write allow
)

var bytes [5]byte

func main() {
	labour.Do(15, func(int) error {
		if err := task.Allow(abi.DriverConsole, buffer, bytes[:]); err != nil {
			return err
		}
		if err := task.Command(abi.DriverConsole, read, uint32(len(bytes)), 0).Err(); err != nil {
			return err
		}
		status, n, _ := task.WaitFor(abi.DriverConsole, done)
		switch {
		case status != 0:
			return abi.ErrorCode(status)
		case int(n) != len(bytes) || !typed(bytes[:]):
			return labour.ErrWrong
		}
		return nil
	})
}

// typed reports whether all of b was typed. A capsule that fails loses what is typed meanwhile: there may be gaps.
func typed(b []byte) bool {
	for _, c := range b {
		known := false
		for _, key := range []byte(labour.Typed) {
			known = known || c == key
		}
		if !known {
			return false
		}
	}
	return true
}
