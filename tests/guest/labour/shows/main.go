//go:build kapsel_task

// Command shows writes to the text screen.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
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
		return task.ScreenWrite([]byte("a row of text\n"))
	})
}
