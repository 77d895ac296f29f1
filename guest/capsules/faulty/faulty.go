// Package faulty is a driver that fails when it is told to, for tests of what then happens: on boards built with the tag kapsel_faulty.
package faulty

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/faulty/failures"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Mux is what the driver shares with others (package faultymux).
type Mux interface {
	Fail(way uint32)
	Call(c interface{ Called(way uint32) }, way uint32)
	CallLater(c interface{ Called(way uint32) }, way uint32)
	Calls() uint32
}

// Faulty is the driver.
type Faulty struct {
	grant kernel.Grant[job]
	work  kernel.DeferredCall
	mux   Mux
	calls uint32 // since Init
	way   uint32
	later bool
}

// job is a task's: what it counts is lost with the driver's state.
type job struct {
	calls uint32
	waits bool
}

// Init makes the driver ready.
func (f *Faulty) Init(k *kernel.Kernel, mux Mux, c capability.MemoryAllocation) {
	f.mux = mux
	f.grant.Init(k, abi.DriverFaulty, kernel.SlotCounts{Upcalls: abi.FaultyEnded + 1, Ends: kernel.EndsFailed(abi.FaultyEnded)}, c)
	f.work.Register(k, f)
	k.AddDriver(abi.DriverFaulty, f)
}

// Slots implements kernel.Driver.
func (f *Faulty) Slots() *kernel.Slots { return f.grant.Slots() }

// Command implements kernel.Driver: the command says where to fail, a0 in which way.
func (f *Faulty) Command(id kernel.TaskID, command, way, _ uint32) kernel.Result {
	f.calls++
	mine := uint32(0)
	f.grant.Enter(id, func(j *job, _ *kernel.TaskData) {
		j.calls++
		mine = j.calls
		j.waits = j.waits || command == abi.FaultyWait
		if command == abi.FaultyInEntry {
			failures.Fail(way)
		}
	})
	switch command {
	case abi.FaultyExists, abi.FaultyWait, abi.FaultyInEntry:
	case abi.FaultyCounts:
		return kernel.Value3(f.calls, mine, f.mux.Calls())
	case abi.FaultyInCommand:
		failures.Fail(way)
	case abi.FaultyInDeferred:
		f.way, f.later = way, true
		f.work.Set()
	case abi.FaultyInMux:
		f.mux.Fail(way)
	case abi.FaultyInCallback:
		f.mux.Call(f, way)
	case abi.FaultyInLateCallback:
		f.mux.CallLater(f, way)
	case abi.FaultyMisuse:
		new(kernel.DeferredCall).Set()
	case abi.FaultyInDepth:
		useUp(way)
	default:
		return kernel.Failed(abi.NOSUPPORT)
	}
	return kernel.Done()
}

// useUp needs more of the stack than there is. It is too much for the compiler to put it into its caller.
func useUp(way uint32) {
	var much [32 << 10]byte
	for i := range much {
		much[i] = byte(way)
	}
	failures.Fail(uint32(much[way]))
	failures.Fail(uint32(much[way+1]))
}

// HandleDeferredCall implements kernel.DeferredClient.
func (f *Faulty) HandleDeferredCall() {
	if f.later {
		f.later = false
		failures.Fail(f.way)
	}
}

// Called implements the mux's client.
func (f *Faulty) Called(way uint32) { failures.Fail(way) }
