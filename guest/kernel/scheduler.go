package kernel

import "math/bits"

// StopReason says why a task no longer has the CPU.
type StopReason uint8

// Reasons.
const (
	StopNone      StopReason = iota // no task has run yet
	StopNoWork                      // it waits, or it ended
	StopExpired                     // its slice was over
	StopPreempted                   // the kernel has interrupts or deferred calls to serve
)

// Stop is the end of a task's turn.
type Stop struct {
	Slot   int
	Reason StopReason
}

// Scheduler decides which task runs.
type Scheduler interface {
	// Next chooses among the ready tasks: bit s of ready stands for slot s, and ready is
	// not 0. last is how the turn before ended. It returns the slot and the length of its
	// slice in microseconds, 0 for no limit. A task that is chosen again after
	// StopPreempted goes on with the rest of its slice.
	Next(ready uint32, last Stop) (slot int, slice uint64)
}

// DefaultSlice is the round-robin slice in microseconds: Tock's 10 ms.
const DefaultSlice = 10_000

// RoundRobin gives each ready task a slice in turn, in the order of slots. A task that
// the kernel preempted goes on first.
type RoundRobin struct {
	Slice uint64 // microseconds; 0 means DefaultSlice
}

// Next implements Scheduler.
func (r *RoundRobin) Next(ready uint32, last Stop) (int, uint64) {
	slice := r.Slice
	if slice == 0 {
		slice = DefaultSlice
	}
	if last.Reason == StopPreempted && ready>>last.Slot&1 != 0 {
		return last.Slot, slice
	}
	later := ready &^ (1<<(last.Slot+1) - 1)
	if last.Reason == StopNone || later == 0 {
		later = ready
	}
	return bits.TrailingZeros32(later), slice
}
