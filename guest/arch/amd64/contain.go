package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
)

// A capsule's failure is contained by a forced return: compiled code keeps no register across a call but SP, BP, R14 and X15, and BP leads to
// each caller's BP and the return address above it. So nothing is saved where a capsule is called, and what is needed to return from any
// of the functions that were running is found when one fails (kernel.Components).

// components are the capsules whose failures are theirs, or nil.
var components *kernel.Components

// Contain makes failures of capsules theirs.
func (m *Machine) Contain(c *kernel.Components) { components, contain = c, tryContain }

// A frame is a function that was running: where its return address is, and its caller's frame pointer.
type frame struct{ returns, fp uint64 }

// A resumption is how the kernel goes on behind a return: its address, the stack pointer and frame pointer there, the results.
type resumption struct {
	pc, sp, fp uint64
	results    [4]uint64
}

// What is known of the failure that is being looked at: there is one at a time.
var (
	trace      kernel.Trace
	frames     [kernel.MaxTrace]frame
	containing bool
	onward     resumption
)

// The watchdog's NMIs that came while the kernel did not return to its main loop, and the heartbeat by then.
var (
	nmis     int
	nmisBeat uint64

	endedBeat = ^uint64(0) // when one of them last ended a capsule
)

// lastNMI is the one that ends the machine even where a capsule may be what does not return: whenever one came, the kernel was working for
// it. A monitor sends a few more.
const lastNMI = abi.WatchdogNMIs - 4

// tryContain goes on behind the call of a capsule that failed. Else it returns true if the kernel is to go on where the watchdog interrupted
// it, and false if the machine ends.
func tryContain(message string, pc, fp uint64, x *context) (goesOn bool) {
	if containing && x != nil && x.vector == vectorNMI {
		return mayWait()
	}
	if containing || panicking || x != nil && x.aborts() {
		return false
	}
	containing = true
	trace.Reset(message)
	if x != nil {
		trace.Interrupted = x.vector == vectorNMI
		trace.NilPointer = x.vector == vectorPageFault && readCR2() < pageSize
	}
	if walk(pc, fp, x) {
		if boundary := outermost(pc); boundary >= 0 {
			goOnBehind(boundary)
		}
		goesOn = trace.Interrupted && mayWait()
	}
	containing = false
	return goesOn
}

// aborts reports whether the exception is of the class of aborts: it is the machine's, or that of who set up stacks and tables, whichever
// function it found (SDM vol. 3, 7.5).
func (x *context) aborts() bool {
	return x.vector == vectorDoubleFault || x.vector == vectorMachineCheck
}

// outermost is the function of the trace that is to return to its caller, or -1.
func outermost(pc uint64) int {
	if trace.Interrupted && inTransit(pc) {
		return -1
	}
	return components.Contain(&trace)
}

// goOnBehind goes on where a function of the trace returns to.
func goOnBehind(boundary int) {
	if trace.Interrupted {
		endedBeat = heartbeat
	}
	f := &frames[boundary]
	onward = resumption{pc: *pointer[uint64](f.returns), sp: f.returns + 8, fp: f.fp}
	if trace.IsCommand(boundary) {
		r := &onward.results
		r[0], r[1], r[2], r[3] = kernel.CommandFailed()
	}
	containing = false
	resume(&onward)
}

// mayWait reports whether the watchdog's next NMI may find a capsule's instruction, or is too late already, as a capsule was ended.
func mayWait() bool {
	if heartbeat != nmisBeat {
		nmis, nmisBeat = 0, heartbeat
	}
	nmis++
	return nmis < lastNMI && (trace.HasCapsule() || endedBeat == heartbeat)
}

// walk finds the functions that were running, or reports false if they are too many, or lead to what is no stack.
func walk(pc, fp uint64, x *context) bool {
	var p functab.Place
	if x != nil && place(pc, &p) && p.NoFrame {
		if !onStack(x.rsp, 8) || !add(pc, frame{x.rsp, fp}) {
			return false
		}
		pc = *pointer[uint64](x.rsp) - 1
	}
	for onStack(fp, 16) {
		words := pointer[[2]uint64](fp)
		if !add(pc, frame{fp + 8, words[0]}) || words[0] <= fp && words[0] != 0 {
			return false
		}
		pc, fp = words[1]-1, words[0]
	}
	return true
}

// add adds a function to the trace, or reports false if there is no room, or none at pc.
func add(pc uint64, f frame) bool {
	var p functab.Place
	if !place(pc, &p) {
		return false
	}
	n := trace.Add(pc, p.Function.Prefix, p.Function.Rest, components)
	if n < 0 {
		return false
	}
	frames[n] = f
	return true
}

// inTransit reports whether the frame pointer, or the return address on the stack, is not that of the function at pc: behind the first
// instruction of one that keeps a frame pointer (PUSHQ BP; MOVQ SP, BP), and in a thunk of a call through a register. Or it is in a function
// of the kernel, which would be cut.
func inTransit(pc uint64) bool {
	const thunk = ".retpoline"
	var p functab.Place
	if !place(pc, &p) || len(p.Function.Rest) > len(thunk) && p.Function.Rest[:len(thunk)] == thunk || ofKernel(&p) {
		return true
	}
	code := pointer[[3]byte](pc)
	return *code == [3]byte{0x48, 0x89, 0xe5} // MOVQ SP, BP
}

// ofKernel reports whether an instruction is one of the kernel's, also where the compiler put it into a function of another.
func ofKernel(p *functab.Place) bool { return p.File.Prefix == "kapsel/guest/kernel" }

// PrintFrame writes the function, file and line of an instruction of the kernel.
func (m *Machine) PrintFrame(w kernel.Writer, pc uint64) { printFrame(w, pc) }

// Polled is the polled serial line, as a writer.
func (m *Machine) Polled() kernel.Writer { return serial }
