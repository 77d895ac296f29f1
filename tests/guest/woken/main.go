//go:build kapsel_task

// Command woken waits until it is notified, again and again, and prints when it went on: the
// time-stamp counter behind each of its calls.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

func main() {
	own, err := task.Discover("woken")
	if err != nil {
		task.Print("woken: " + err.Error() + "\n")
		task.Exit(1)
	}
	var empty measure.Call
	measure.Empty(&empty)
	wait := measure.WaitFor(abi.DriverIPC, uint64(own))
	var at [20]uint64
	for i := range at {
		measure.Once(&wait)
		at[i] = wait.End
	}
	task.Print("woken: measuring takes " + task.Decimal(empty.Ticks()) + "\n")
	for _, ticks := range at {
		task.Print("woken: " + task.Decimal(ticks) + "\n")
	}
	task.Exit(0)
}
