//go:build kapsel_task

// Command fails has the driver faulty fail at each place in each way but an endless loop (spins is for that), and says how often that was contained:
// the command that fails is answered NODEVICE, the driver is made anew with nothing in it, what it shares lives on, unless that failed.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

func main() {
	contained, wrong := uint64(0), uint64(0)
	for place := uint32(abi.FaultyInCommand); place <= abi.FaultyInDepth; place++ {
		for way := uint32(0); way < abi.FaultyWays; way++ {
			if way == abi.FaultyLoop {
				continue
			}
			if counts().Err() != nil {
				task.Print("fails: it stays off after " + task.Decimal(contained) + "\n")
				task.Exit(0)
			}
			if problem := fail(place, way); problem != "" {
				task.Print("fails: place " + task.Decimal(uint64(place)) + " way " + task.Decimal(uint64(way)) + ": " + problem + "\n")
				wrong++
				continue
			}
			contained++
		}
	}
	task.Print("fails: " + task.Decimal(contained) + " contained, " + task.Decimal(wrong) + " not\n")
	task.Exit(0)
}

// fail has the driver fail, and returns what was wrong.
func fail(place, way uint32) string {
	counts()
	before := counts()
	later := place == abi.FaultyInDeferred || place == abi.FaultyInLateCallback
	r := task.Command(abi.DriverFaulty, place, way, 0)
	if later != (r.Variant == abi.Success) || !later && r.Words[0] != uint64(abi.NODEVICE) {
		return "answered variant " + task.Decimal(uint64(r.Variant)) + " " + task.Decimal(r.Words[0])
	}
	asked := before.Words[2]
	switch place {
	case abi.FaultyInMux, abi.FaultyInCallback: // in which the mux is cut off as well
		asked = 0
	case abi.FaultyInLateCallback:
		asked++
	}
	after := counts()
	if after.Err() != nil {
		return "it stays off"
	}
	for i := 0; after.Words[1] > 1; i++ { // until it has failed
		if i == 100 {
			return "it does not fail"
		}
		task.Sleep(10)
		after = counts()
	}
	if after.Words[1] != 1 || after.Words[2] != asked {
		return "counts " + task.Decimal(after.Words[1]) + " and " + task.Decimal(after.Words[2])
	}
	return ""
}

// counts asks the driver what it counted, as soon as it is there again.
func counts() task.Result {
	for range 100 {
		if r := task.Command(abi.DriverFaulty, abi.FaultyCounts, 0, 0); r.Err() == nil {
			return r
		}
		task.Sleep(10)
	}
	return task.Result{Variant: abi.Failure, Words: [3]uint64{uint64(abi.NODEVICE)}}
}
