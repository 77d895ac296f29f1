//go:build kapsel_task

// Command ends waits until the host asks it to end, and until the task sums has ended: with its end the machine's comes.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// patience is how often it is looked whether the host asks.
const patience = 800

func main() {
	asked := false
	labour.Do(1, func(int) error {
		if err := task.OnTerminate(func() { asked = true }); err != nil {
			return err
		}
		for n := 0; !asked; n++ {
			if n == patience {
				task.Exit(labour.Gone) // nobody asks
			}
			task.YieldUntil(task.Now() + 10_000)
		}
		for labour.Alive("sums") {
			task.Sleep(1)
		}
		return nil
	})
}
