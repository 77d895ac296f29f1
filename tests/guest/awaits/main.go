//go:build kapsel_task

// Command awaits waits three times for an upcall of the driver faulty, which never comes: it is told when that fails, by Yield-WaitFor and by a
// function.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

var told bool

var upcall = task.Upcall{F: func(status, a, b uint32) {
	told = true
	say("a function", status)
}}

func main() {
	for range 2 {
		task.Command(abi.DriverFaulty, abi.FaultyWait, 0, 0)
		status, _, _ := task.WaitFor(abi.DriverFaulty, abi.FaultyEnded)
		say("Yield-WaitFor", status)
	}
	task.Subscribe(abi.DriverFaulty, abi.FaultyEnded, &upcall)
	for !told {
		task.Yield()
	}
	task.Print("awaits: ends\n")
	task.Exit(0)
}

func say(how string, status uint32) {
	task.Print("awaits: " + how + " was told " + task.Decimal(uint64(status)) + "\n")
}
