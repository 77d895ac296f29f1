package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// Mourner is told of a panic, to print what it knows, after the trace. The board is it.
type Mourner interface {
	KernelPanicked(w kernel.Writer)
}

var (
	mourner   Mourner
	panicking bool
)

// contain makes a failure a capsule's (contain.go), on a board that has it: else it is not linked. pc and fp are as die has them; x is nil
// there.
var contain func(message string, pc, fp uint64, x *context) (goesOn bool)

// OnPanic sets who is told of a panic.
func (m *Machine) OnPanic(who Mourner) { mourner = who }

// kernelFault is entered from trap_amd64.s: an exception in ring 0, or a machine check. It returns where the kernel is to go on, for a while.
func kernelFault(x *context) {
	message := faultName(uint8(x.vector), x.code)
	if contain != nil && !x.aborts() && contain(message, x.rip, x.rbp, x) {
		return
	}
	w := startPanic(message)
	format.Print(w, "  vector %d, error code 0x%x, address 0x%x", x.vector, x.code, readCR2())
	if x.vector == vectorDoubleFault {
		w.WriteString(" (no stack to push a fault on)")
	}
	w.WriteString("\n")
	if printFrame(w, x.rip) && onStack(x.rsp, 8) { // a function that keeps no frame pointer
		printFrame(w, *pointer[uint64](x.rsp)-1)
	}
	printTrace(w, x.rbp)
	x.print(w)
	endPanic(w)
}

// aborts reports whether the exception is of the class of aborts: it is the machine's, or that of who set up stacks and tables, whichever
// function it found (SDM vol. 3, 7.5).
func (x *context) aborts() bool {
	return x.vector == vectorDoubleFault || x.vector == vectorMachineCheck
}

// die takes the panics of package runtime. pc and fp tell where to begin the trace.
func die(message string, pc, fp uintptr) {
	if contain != nil {
		contain(message, uint64(pc), uint64(fp), nil)
	}
	w := startPanic(message)
	printFrame(w, uint64(pc))
	printTrace(w, uint64(fp))
	endPanic(w)
}

func startPanic(message string) kernel.Writer {
	what := "\nkapsel: kernel panic: "
	if panicking {
		what = "\nkapsel: panic while panicking: "
	}
	serial.WriteString(what)
	serial.WriteString(message)
	serial.WriteString("\n")
	if panicking {
		Exit(abi.ExitPanic)
	}
	panicking = true
	return serial
}

func endPanic(w kernel.Writer) {
	if mourner != nil {
		mourner.KernelPanicked(w)
	}
	Exit(abi.ExitPanic)
}

// onStack reports whether size bytes at addr are among the kernel's variables, as its stacks are.
func onStack(addr, size uint64) bool {
	return addr%8 == 0 && addr >= image.Data && addr <= image.DataEnd-size
}

// printTrace walks the chain of frame pointers: each points to the caller's frame pointer,
// with the return address above it. It stops at anything that is not on a kernel stack,
// and says how often a frame comes again rather than printing it.
func printTrace(w kernel.Writer, fp uint64) {
	const deepest = 1 << 16
	last, again := uint64(0), uint64(0)
	for n := 0; n < deepest && onStack(fp, 16); n++ {
		frame := pointer[[2]uint64](fp)
		if frame[1] == last {
			again++
		} else {
			printAgain(w, again)
			printFrame(w, frame[1]-1)
			last, again = frame[1], 0
		}
		if frame[0] <= fp {
			break
		}
		fp = frame[0]
	}
	printAgain(w, again)
}

// printFrame prints the function, file and line of an instruction. It reports whether the return
// address is known to be on top of the stack there.
func printFrame(w kernel.Writer, pc uint64) (noFrame bool) {
	var p functab.Place
	if !place(pc, &p) {
		format.Print(w, "  0x%x: not in the kernel's code\n", pc)
		return false
	}
	printPlace(w, &p)
	return p.NoFrame
}
