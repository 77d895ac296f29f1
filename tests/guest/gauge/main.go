//go:build kapsel_task

// Command gauge reads the time-stamp counter again and again, first alone and then beside the
// task babbler, and prints by low-level debug how many reads it made in the same time, and the
// longest time between two, in microseconds.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
	"kapsel/tests/guest/gauge/phases"
)

// Commands of low-level debug.
const (
	statusCode = 1
	printOne   = 2
	printTwo   = 3
)

func main() {
	started := ticks()
	task.Sleep(phases.Alone)
	perMilli := calibrate()
	alone, _ := count(phases.Measure * perMilli)
	for ticks()-started < 1000*phases.Beside {
		task.Sleep(1)
	}
	beside, gap := count(phases.Measure * perMilli)
	task.Command(abi.DriverLowLevelDebug, printTwo, uint32(alone), uint32(beside))
	task.Command(abi.DriverLowLevelDebug, printOne, uint32(1000*gap/perMilli), 0)
	task.Command(abi.DriverLowLevelDebug, statusCode, phases.Done, 0)
	task.Exit(0)
}

// calibrate is how far the counter goes in a millisecond.
func calibrate() uint64 {
	const millis = 5
	begun, first := measure.Stamp(), ticks()
	for ticks()-first < 1000*millis {
	}
	return (measure.Stamp() - begun) / millis
}

// ticks are microseconds.
func ticks() uint32 {
	now, _ := task.Ticks()
	return now
}

// count reads the counter until it has gone on so far, and returns how often it did and the
// longest time between two reads.
func count(length uint64) (reads, gap uint64) {
	last := measure.Stamp()
	for until := last + length; last < until; reads++ {
		now := measure.Stamp()
		gap = max(gap, now-last)
		last = now
	}
	return reads, gap
}
