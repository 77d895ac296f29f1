// Package readonlystate is driver 9: a task reads, in memory that it shares and without a
// system call, what the kernel knows of it. Number and layout are Tock's (capsules/extra,
// read_only_state).
package readonlystate

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists  = 0
	version = 1 // of the layout
)

// Userspace-readable allow number.
const state = 0

// Layout of the buffer, little-endian. A buffer that ends before a field does not get it.
const (
	layoutVersion = 1

	turns   = 0 // u32: turns that the task has begun since it first shared a buffer; wraps
	pending = 4 // u32: upcalls that wait for it
	ticks   = 8 // u64: ticks since boot
	size    = 16
)

// State is the driver. The board gives it to Kernel.OnContextSwitch.
type State struct {
	time  hil.Time
	grant kernel.Grant[uint32] // the number of the task's next turn
}

// Init ties the driver to the kernel and to the clock of its ticks.
func (s *State) Init(k *kernel.Kernel, time hil.Time, c capability.MemoryAllocation) {
	s.time = time
	s.grant.Init(k, abi.DriverReadOnlyState, kernel.SlotCounts{UserspaceReadable: state + 1}, c)
}

// Slots implements kernel.Driver.
func (s *State) Slots() *kernel.Slots { return s.grant.Slots() }

// Command implements kernel.Driver.
func (s *State) Command(_ kernel.TaskID, command, _, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case version:
		return kernel.Value(layoutVersion)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// ContextSwitch implements kernel.ContextSwitchCallback: it writes the buffer of a task
// that has shared one. Others it does not touch.
func (s *State) ContextSwitch(id kernel.TaskID) {
	s.grant.Enter(id, func(turn *uint32, task *kernel.TaskData) {
		var b [size]byte
		put32(b[turns:], *turn)
		put32(b[pending:], uint32(task.Pending()))
		now := s.time.Now()
		put32(b[ticks:], uint32(now))
		put32(b[ticks+4:], uint32(now>>32))
		buffer := task.UserspaceReadable(state)
		buffer.WriteAt(b[:whole(buffer.Len())], 0)
		*turn++
	})
}

// whole is the size of the fields that a buffer of that length holds.
func whole(length uint64) int {
	switch {
	case length < pending:
		return 0
	case length < ticks:
		return pending
	case length < size:
		return ticks
	}
	return size
}

func put32(b []byte, v uint32) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
