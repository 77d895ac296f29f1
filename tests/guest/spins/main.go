//go:build kapsel_task

// Command spins has the driver faulty not return, at each place, and says what it is answered.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

func main() {
	for _, place := range [...]uint32{abi.FaultyInCommand, abi.FaultyInEntry, abi.FaultyInDeferred, abi.FaultyInMux, abi.FaultyInLateCallback} {
		r := task.Command(abi.DriverFaulty, place, abi.FaultyLoop, 0)
		task.Print("spins: place " + task.Decimal(uint64(place)) + ": " + task.Decimal(uint64(r.Variant)) + " " + task.Decimal(r.Words[0]) + "\n")
		for task.Command(abi.DriverFaulty, abi.FaultyExists, 0, 0).Err() != nil {
			task.Sleep(1)
		}
	}
	task.Print("spins: ends\n")
	task.Exit(0)
}
