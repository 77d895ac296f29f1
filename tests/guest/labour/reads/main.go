//go:build kapsel_task

// Command reads begins to read from the console, where nobody types, is refused a second read, and gives up.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the console driver.
const (
	read   = 2 // command
	abort  = 3 // command
	done   = 2 // subscribe
	buffer = 1 // read-write allow
)

var bytes [8]byte

func main() {
	labour.Do(20, func(int) error {
		if err := task.Allow(abi.DriverConsole, buffer, bytes[:]); err != nil {
			return err
		}
		if err := task.Command(abi.DriverConsole, read, uint32(len(bytes)), 0).Err(); err != nil {
			return err
		}
		if err := task.Command(abi.DriverConsole, read, uint32(len(bytes)), 0).Err(); err != abi.BUSY {
			return abi.FAIL // the driver was made anew
		}
		if err := task.Command(abi.DriverConsole, abort, 0, 0).Err(); err != nil {
			return err
		}
		status, n, _ := task.WaitFor(abi.DriverConsole, done)
		switch {
		case abi.ErrorCode(status) != abi.CANCEL:
			return abi.ErrorCode(status)
		case n != 0:
			return labour.ErrWrong
		}
		return nil
	})
}
