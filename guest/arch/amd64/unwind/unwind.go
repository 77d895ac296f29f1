// Package unwind finds the functions that were running when a capsule failed, and how the kernel goes on behind one of them: by a forced
// return. Compiled code keeps no register across a call but SP, BP, R14 and X15, and BP leads to each caller's BP and the return
// address above it. So nothing is saved where a capsule is called: what is needed to return from any of the functions is found when
// one fails (kernel.Components). It reads the processor's stack by way of the machine layer, which carries the return out.
package unwind

import (
	"kapsel/guest/abi"
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
)

// Machine is what an Unwinder reads.
type Machine interface {
	// Word is the word at an address of one of the kernel's stacks, or false if it is on none.
	Word(addr uint64) (word uint64, ok bool)
	// Code is the first bytes of the instruction at an address of the kernel's code.
	Code(pc uint64) [3]byte
	// Place sets p to where an instruction comes from, or reports false if there is none of the kernel's.
	Place(pc uint64, p *functab.Place) bool
}

// Failure is what the machine layer knows of a failure.
type Failure struct {
	Message string
	PC, FP  uint64 // the instruction, and the frame pointer there
	SP      uint64 // the stack pointer, if a trap told of the failure, else 0

	NilPointer  bool // a nil pointer was followed
	Interrupted bool // nothing failed: the watchdog's NMI came
}

// Resumption is how the kernel goes on behind a return: its address, the stack pointer and frame pointer there, the results.
type Resumption struct {
	PC, SP, FP uint64
	Results    [4]uint64
}

// An Unwinder contains failures, one at a time.
type Unwinder struct {
	machine    Machine
	components *kernel.Components
	trace      kernel.Trace
	frames     [kernel.MaxTrace]frame
	place      functab.Place // of the instruction that is looked at
	containing bool
	onward     Resumption

	// The watchdog's NMIs that came while the kernel did not return to its main loop, and the heartbeat by then.
	nmis      int
	nmisBeat  uint64
	endedBeat uint64 // when one of them last ended a capsule
	late      int    // how many may still come for that capsule: they end no other, nor the machine
}

// A frame is a function that was running: where its return address is, and its caller's frame pointer.
type frame struct{ returns, fp uint64 }

// Init ties it to what it reads, and to the capsules whose failures are theirs.
func (u *Unwinder) Init(m Machine, c *kernel.Components) {
	u.machine, u.components, u.endedBeat = m, c, ^uint64(0)
}

// Contain returns how the kernel goes on behind the call of a capsule that failed. If that is nil, it reports whether the kernel goes on
// where the watchdog interrupted it; else the machine ends. heartbeat changes whenever the kernel comes to its main loop.
func (u *Unwinder) Contain(f *Failure, heartbeat uint64) (onward *Resumption, goesOn bool) {
	if u.containing {
		return nil, f.Interrupted && u.mayWait(heartbeat)
	}
	if f.Interrupted && u.late > 0 {
		u.late--
		return nil, true
	}
	u.containing = true
	if u.walk(f) {
		if boundary := u.outermost(f); boundary >= 0 {
			onward = u.behind(boundary)
		}
	}
	switch {
	case !f.Interrupted:
	case onward != nil:
		u.endedBeat, u.late = heartbeat, lateNMIs
	default:
		goesOn = u.mayWait(heartbeat)
	}
	u.containing = false
	return onward, goesOn
}

// outermost is the function of the trace that is to return to its caller, or -1.
func (u *Unwinder) outermost(f *Failure) int {
	if f.Interrupted && u.inTransit(f.PC) {
		return -1
	}
	return u.components.Contain(&u.trace)
}

// behind is how the kernel goes on where a function of the trace returns to.
func (u *Unwinder) behind(boundary int) *Resumption {
	f := &u.frames[boundary]
	pc, _ := u.machine.Word(f.returns)
	u.onward = Resumption{PC: pc, SP: f.returns + 8, FP: f.fp}
	if u.trace.IsCommand(boundary) {
		r := &u.onward.Results
		r[0], r[1], r[2], r[3] = kernel.CommandFailed()
	}
	return &u.onward
}

// lastNMI is the one that ends the machine even where a capsule may be what does not return: whenever one came, the kernel was working for
// it. A monitor sends a few more.
const lastNMI = abi.WatchdogNMIs - 4

// lateNMIs is how many NMIs may come for a capsule that was ended: a monitor goes on to send them until it sees that the kernel has come to its
// main loop, which prints the report first. Another capsule that does not return is ended by the next.
const lateNMIs = 8

// mayWait reports whether the watchdog's next NMI may find a capsule's instruction, or is too late already, as a capsule was ended.
func (u *Unwinder) mayWait(heartbeat uint64) bool {
	if heartbeat != u.nmisBeat {
		u.nmis, u.nmisBeat = 0, heartbeat
	}
	u.nmis++
	return u.nmis < lastNMI && (u.trace.HasCapsule() || u.endedBeat == heartbeat)
}

// walk finds the functions that were running, or reports false if they are too many, or lead to what is no stack.
func (u *Unwinder) walk(f *Failure) bool {
	u.trace.Reset(f.Message)
	u.trace.Interrupted, u.trace.NilPointer = f.Interrupted, f.NilPointer
	pc, fp := f.PC, f.FP
	if f.SP != 0 && u.machine.Place(pc, &u.place) && u.place.NoFrame {
		returns, ok := u.machine.Word(f.SP)
		if !ok || !u.add(pc, frame{f.SP, fp}) {
			return false
		}
		pc = returns - 1
	}
	for {
		callers, ok := u.machine.Word(fp)
		returns, too := u.machine.Word(fp + 8)
		if !ok || !too {
			return true
		}
		if !u.add(pc, frame{fp + 8, callers}) || callers <= fp && callers != 0 {
			return false
		}
		pc, fp = returns-1, callers
	}
}

// add adds a function to the trace, or reports false if there is no room, or none at pc.
func (u *Unwinder) add(pc uint64, f frame) bool {
	if !u.machine.Place(pc, &u.place) {
		return false
	}
	name := &u.place.Function
	n := u.trace.Add(pc, name.Prefix, name.Type, name.Rest, u.components)
	if n < 0 {
		return false
	}
	u.frames[n] = f
	return true
}

// inTransit reports whether the frame pointer, or the return address on the stack, is not that of the function at pc: behind the first
// instruction of one that keeps a frame pointer (PUSHQ BP; MOVQ SP, BP), and in a thunk of a call through a register. Or it is in a function
// of the kernel, also where the compiler put that into a function of another: it would be cut.
func (u *Unwinder) inTransit(pc uint64) bool {
	const thunk = "retpoline"
	if !u.machine.Place(pc, &u.place) || u.place.File.Prefix == "kapsel/guest/kernel" {
		return true
	}
	if name := u.place.Function.Rest; len(name) > len(thunk) && name[:len(thunk)] == thunk {
		return true
	}
	return u.machine.Code(pc) == [3]byte{0x48, 0x89, 0xe5} // MOVQ SP, BP
}
