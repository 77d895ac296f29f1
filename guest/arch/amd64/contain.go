package amd64

import (
	"kapsel/guest/arch/amd64/unwind"
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
)

// unwinder makes failures of capsules theirs.
var unwinder unwind.Unwinder

// Contain makes failures of capsules theirs.
func (m *Machine) Contain(c *kernel.Components) {
	unwinder.Init(&ownStacks, c)
	contain = tryContain
}

// tryContain goes on behind the call of a capsule that failed. Else it returns true if the kernel is to go on where the watchdog interrupted
// it, and false if the machine ends.
func tryContain(message string, pc, fp uint64, x *context) (goesOn bool) {
	if panicking || x != nil && aborts(x.vector) {
		return false
	}
	f := unwind.Failure{Message: message, PC: pc, FP: fp}
	if x != nil {
		f.SP, f.Interrupted = x.rsp, x.vector == vectorNMI
		f.NilPointer = x.vector == vectorPageFault && readCR2() < pageSize
	}
	onward, goesOn := unwinder.Contain(&f, heartbeat)
	if onward != nil {
		resume((*resumption)(onward))
	}
	return goesOn
}

// ownStack implements unwind.Machine.
type ownStack struct{}

var ownStacks ownStack

func (*ownStack) Word(addr uint64) (word uint64, ok bool) {
	if !onStack(addr, 8) {
		return 0, false
	}
	return *pointer[uint64](addr), true
}

func (*ownStack) Code(pc uint64) [3]byte { return *pointer[[3]byte](pc) }

func (*ownStack) Place(pc uint64, p *functab.Place) bool { return place(pc, p) }

// A resumption is an unwind.Resumption whose offsets resume has, by go_asm.h.
type resumption unwind.Resumption

// PrintFrame writes the function, file and line of an instruction of the kernel.
func (m *Machine) PrintFrame(w kernel.Writer, pc uint64) { printFrame(w, pc) }

// Polled is the polled serial line, as a writer.
func (m *Machine) Polled() kernel.Writer { return serial }
