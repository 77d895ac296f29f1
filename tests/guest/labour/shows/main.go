//go:build kapsel_task

// Command shows writes to the text screen, and tries to without a text.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the text screen's driver.
const (
	write  = 8 // command
	done   = 0 // subscribe
	buffer = 0 // read-only allow
)

func main() {
	labour.Do(15, func(int) error {
		if columns, _, err := task.ScreenSize(); err != nil || columns == 0 {
			return err
		}
		for _, do := range [...]func() error{
			task.ScreenClear,
			func() error { return task.ScreenCursor(true) },
			func() error { return task.ScreenBlink(false) },
			func() error { return task.ScreenMove(0, 0) },
			func() error { return task.ScreenDisplay(true) },
		} {
			if err := do(); err != nil {
				return err
			}
		}
		if err := task.AllowReadOnly(abi.DriverTextScreen, buffer, nil); err != nil {
			return err
		}
		if task.Command(abi.DriverTextScreen, write, 1, 0).Err() == nil { // another task's command goes on
			if status, _, _ := task.WaitFor(abi.DriverTextScreen, done); status == 0 {
				return labour.ErrWrong
			}
		}
		return task.ScreenWrite([]byte("a row of text\n"))
	})
}
