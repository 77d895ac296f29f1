//go:build kapsel_task

// Command levels gives a pin levels, and looks whether another follows that the machine's board ties to it.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// told is called when the pin changes: the driver tells of what happens.
var told = task.Upcall{F: func(_, _, _ uint32) {}}

func main() {
	labour.Do(20, func(i int) error {
		if err := task.OnPin(&told); err != nil {
			return err
		}
		if err := task.MakeInput(1); err != nil {
			return err
		}
		if err := task.ListenToPin(1, task.EitherEdge); err != nil {
			return err
		}
		if err := task.MakeOutput(0); err != nil {
			return err
		}
		if err := task.SetPin(0, i%2 == 0); err != nil {
			return err
		}
		return labour.Follows(i%2 == 0, func() (bool, error) { return task.PinLevel(1) })
	})
}
