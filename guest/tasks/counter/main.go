//go:build kapsel_task

// Command counter counts to ten while hello greets, driven by an upcall rather than by
// waiting in line, and ends.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the alarm driver.
const (
	setRelative = 5 // command: so many ticks from now
	expired     = 0 // upcall
)

var count uint64

// tick is called by the alarm driver.
var tick = task.Upcall{F: func(now, _, _ uint32) { count++ }}

func main() {
	for count < 10 {
		task.Subscribe(abi.DriverAlarm, expired, &tick)
		_, frequency := task.Ticks()
		task.Command(abi.DriverAlarm, setRelative, frequency/10, 0)
		task.Yield()
		task.Subscribe(abi.DriverAlarm, expired, nil)
		task.Print("counter: " + task.Decimal(count) + "\n")
	}
	task.Exit(0)
}
