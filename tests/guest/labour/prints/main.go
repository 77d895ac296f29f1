//go:build kapsel_task

// Command prints prints by the console and by low-level debug.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the drivers.
const (
	write    = 1 // of the console: command, read-only allow and subscribe number
	printOne = 2 // of low-level debug: command
)

var text = []byte("prints: a line of text that is long enough to take the line some time\n")

func main() {
	labour.Do(30, func(i int) error {
		if err := task.Command(abi.DriverLowLevelDebug, printOne, uint32(i), 0).Err(); err != nil {
			return err
		}
		if err := task.AllowReadOnly(abi.DriverConsole, write, text); err != nil {
			return err
		}
		if err := task.Command(abi.DriverConsole, write, uint32(len(text)), 0).Err(); err != nil {
			return err
		}
		switch n, _, _ := task.WaitFor(abi.DriverConsole, write); int(n) {
		case len(text):
			return nil
		case 0:
			return abi.FAIL
		}
		return labour.ErrWrong
	})
}
