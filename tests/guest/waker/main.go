//go:build kapsel_task

// Command waker notifies the task woken, again and again, and prints when it did: the
// time-stamp counter before each of its calls.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

const notifyService = 2 // command of IPC

func main() {
	service, err := task.Discover("woken")
	if err != nil {
		task.Print("waker: " + err.Error() + "\n")
		task.Exit(1)
	}
	notify := measure.Command(abi.DriverIPC, notifyService, uint64(service), 0)
	var at [20]uint64
	for i := range at {
		measure.Once(&notify)
		at[i] = notify.Begin
	}
	for _, ticks := range at {
		task.Print("waker: " + task.Decimal(ticks) + "\n")
	}
	task.Exit(0)
}
