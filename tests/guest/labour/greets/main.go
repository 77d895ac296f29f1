//go:build kapsel_task

// Command greets waits for tasks that the host loads, one after another, each with the name visitor.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// patience is how long one is waited for, in microseconds.
const patience = 8_000_000

func main() {
	last := uint32(0)
	labour.Do(3, func(int) error {
		begun := task.Now()
		for n := 0; n < 100_000 && task.Now()-begun < patience; n++ {
			if found := labour.PID("visitor"); found > last {
				last = found
				return nil
			}
			task.Sleep(5)
		}
		task.Exit(labour.Gone) // there are no more
		return abi.FAIL
	})
}
