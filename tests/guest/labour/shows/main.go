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
		if err := task.ScreenMove(0, 0); err != nil {
			return err
		}
		return task.ScreenWrite([]byte("a row of text\n"))
	})
}
