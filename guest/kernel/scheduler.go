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
	Left   uint64 // what was left of the slice, in microseconds; 0 if it had no limit
}

// Scheduler decides which task runs.
type Scheduler interface {
	// Next chooses among the ready tasks: bit s of ready stands for slot s, and ready is
	// not 0. last is how the turn before ended. It is called once for each turn, and again
	// whenever the kernel has worked or, if Preemptive, a task woke another. It returns the slot and the
	// length of its slice in microseconds, 0 for no limit. A task that is chosen again after
	// StopPreempted goes on with the rest of its slice.
	Next(ready uint64, last Stop) (slot int, slice uint64)
	// Timed reports whether Next looks at Stop.Left. It is always the same. If it is false,
	// Left is 0, and the clock is not read for it.
	Timed() bool
	// InTurn reports whether Next, behind a task that waits or has ended, always chooses the next
	// ready slot, around the end, for a slice of one length, and behind a task that the kernel
	// preempted that one, if it is ready. It is always the same. Then the kernel goes on with that
	// task itself: behind one that waits as long as it has no other work, in what is left of the
	// slice, so that the clock need not be read; a task that this preempts gets a slice of its own.
	InTurn() bool
	// Preemptive reports whether a task that another wakes may take the CPU from it at once.
	// It is always the same. If it is false a turn does not end by that.
	Preemptive() bool
}

// DefaultSlice is the round-robin slice in microseconds: Tock's 10 ms.
const DefaultSlice = 10_000

// RoundRobin gives each ready task a slice in turn, in the order of slots. A task that
// the kernel preempted goes on first.
type RoundRobin struct {
	Slice uint64 // microseconds; 0 means DefaultSlice
}

// Next implements Scheduler.
func (r *RoundRobin) Next(ready uint64, last Stop) (int, uint64) {
	slice := r.Slice
	if slice == 0 {
		slice = DefaultSlice
	}
	return inTurn(ready, last), slice
}

// Timed implements Scheduler.
func (*RoundRobin) Timed() bool { return false }

// InTurn implements Scheduler.
func (*RoundRobin) InTurn() bool { return true }

// Preemptive implements Scheduler.
func (*RoundRobin) Preemptive() bool { return false }

// inTurn is the next ready slot behind the last one, or that again if the kernel
// preempted it.
func inTurn(ready uint64, last Stop) int {
	from := uint(last.Slot)
	if last.Reason != StopNone && (last.Reason != StopPreempted || ready>>(from&63)&1 == 0) {
		from++
	}
	return atOrAfter(ready, from)
}

// atOrAfter is the first slot of the set at or behind slot, around the end. The set is not
// empty.
func atOrAfter(set uint64, slot uint) int {
	if later := set >> (slot & 63) << (slot & 63); later != 0 {
		set = later
	}
	return bits.TrailingZeros64(set)
}

// Cooperative lets each ready task run until it waits, in the order of slots. A task that
// never waits keeps the CPU from all others.
type Cooperative struct{}

// Next implements Scheduler.
func (*Cooperative) Next(ready uint64, last Stop) (int, uint64) { return inTurn(ready, last), 0 }

// Timed implements Scheduler.
func (*Cooperative) Timed() bool { return false }

// InTurn implements Scheduler.
func (*Cooperative) InTurn() bool { return true }

// Preemptive implements Scheduler.
func (*Cooperative) Preemptive() bool { return false }

// Priority lets the ready task in the lowest slot run until it waits, or until a task in a
// lower slot is ready. A task that never waits keeps the CPU from all behind it.
type Priority struct{}

// Next implements Scheduler.
func (*Priority) Next(ready uint64, _ Stop) (int, uint64) { return bits.TrailingZeros64(ready), 0 }

// Timed implements Scheduler.
func (*Priority) Timed() bool { return false }

// InTurn implements Scheduler.
func (*Priority) InTurn() bool { return false }

// Preemptive implements Scheduler.
func (*Priority) Preemptive() bool { return true }
