//go:build kapsel_task

// Command greets waits for tasks that the host loads, one after another, each with the name visitor, and ends the first as a fault does.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	last := uint32(0)
	labour.Do(3, func(i int) error {
		begun := task.Now()
		for n := 0; n < 100_000 && task.Now()-begun < labour.HostPatience; n++ {
			if found := labour.PID("visitor"); found > last {
				if last = found; i == 0 {
					task.Control(found, task.FaultTask) // or it has ended
				}
				return nil
			}
			task.Sleep(5)
		}
		task.Exit(labour.Gone) // there are no more
		return abi.FAIL
	})
}
