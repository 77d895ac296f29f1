//go:build kapsel_task

// Command presses switches an LED, and looks whether a button follows that the machine's board ties to it.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// told is called when the button changes: the driver tells of what happens.
var told = task.Upcall{F: func(_, _, _ uint32) {}}

func main() {
	labour.Do(20, func(i int) error {
		if err := task.OnButton(&told); err != nil {
			return err
		}
		if err := task.ListenToButton(0, true); err != nil {
			return err
		}
		on := i%2 == 0
		if err := task.SetLED(0, on); err != nil {
			return err
		}
		if err := task.ToggleLED(1); err != nil {
			return err
		}
		return labour.Follows(on, func() (bool, error) { return task.Pressed(0) })
	})
}
