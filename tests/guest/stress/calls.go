//go:build kapsel_task

package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// registers are what a call starts with, and what it returns with.
type registers struct {
	rax, rdi, rsi, rdx, r10 uint64
	flags                   uint64 // before the call
	kept                    uint64 // in all registers that the call is to keep
}

// call loads the registers and traps. It reports whether the call kept what it must keep
// and cleared what it must clear. In rax it leaves RAX, R8 and R9 joined by OR.
//
//go:noescape
func call(r *registers) (intact bool)

func upcallAddress() uint64
func lose()

// Variables of the assembly.
var (
	goStack, callStack, callRegisters uint64
	upcalls                           uint64 // upcalls that ran in this life
)

// What the task knows of its memory, and what it has set: the model that answers are
// compared with.
var (
	flashStart, flashEnd, ramStart, ramEnd, grants uint64

	floor     uint64 // the break never goes below
	brk       uint64
	highWater uint64
	shared    [2][8][4]pair // for alarm and console, by class and number
)

// pair is function and userdata, or address and length.
type pair struct{ a, b uint64 }

// counts are how many numbers of each class the alarm and the console have.
var counts = [2][8]uint32{
	{abi.Subscribe: 1},
	{abi.Subscribe: 3, abi.AllowReadOnly: 2, abi.AllowReadWrite: 2},
}

const scratchSize = 8192

// scratch is the memory that drivers may write to.
var scratch [scratchSize]byte

func scratchStart() uint64 { return uint64(uintptr(unsafe.Pointer(&scratch))) }

// ask returns what a Memop tells.
func ask(operation uint32, arg uint64) uint64 {
	v, err := task.Memop(operation, arg)
	if err != nil {
		fail("Memop that tells something failed", uint64(operation), 0)
	}
	return v
}

// settle learns where its memory is, has the drivers allocate their grants, and pins the
// break above its variables and its heap by sharing them.
func settle() {
	flashStart, flashEnd = ask(abi.MemopFlashStart, 0), ask(abi.MemopFlashEnd, 0)
	ramStart, ramEnd = ask(abi.MemopRAMStart, 0), ask(abi.MemopRAMEnd, 0)
	floor = ask(abi.MemopSbrk, 0)
	brk, highWater = floor, ramStart
	for _, driver := range [...]uint64{abi.DriverAlarm, abi.DriverConsole} {
		subscribe(driver, 0, 0, 0)
	}
	grants = ask(abi.MemopGrantStart, 0)
	swap(abi.AllowReadOnly, abi.DriverConsole, 0, pair{ramStart, floor - ramStart})
}

// perform makes a call, checks the registers and counts it.
func perform(rax, r0, r1, r2, r3 uint64) [4]uint64 {
	const flags = 0x2 | 0x4cd5 // all that ring 3 can set and that does no harm: CF, PF, AF, ZF, SF, DF, OF, NT
	r := registers{rax: rax, rdi: r0, rsi: r1, rdx: r2, r10: r3, kept: next(), flags: 0x202 | next()&(flags|1<<18|1<<21)}
	before := upcalls
	intact := call(&r)
	done.made++
	if !intact {
		fail("a register changed in a call of class", rax&0xff, r0)
	}
	if upcalls != before {
		done.ran++
		return [4]uint64{}
	}
	if r.rax != 0 {
		fail("RAX, R8 or R9 after a call", r.rax, 0)
	}
	return [4]uint64{r.rdi, r.rsi, r.rdx, r.r10}
}

// class is what goes into RAX: bits above the class mean nothing.
func class(c abi.Class) uint64 { return uint64(c) | next()<<8 }

// expect fails unless the words are as wanted.
func expect(what string, got, want [4]uint64) {
	if want[0] >= uint64(abi.Success) {
		done.succeeded++
	}
	for i := range got {
		if got[i] != want[i] {
			fail(what, got[i], want[i])
		}
	}
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }

// inRAM reports whether n bytes at a are RAM below the break.
func inRAM(a, n uint64) bool { return within(a, n, ramStart, brk) }

func inFlash(a, n uint64) bool { return within(a, n, flashStart+done.protected, flashEnd) }

func within(a, n, start, end uint64) bool { return a >= start && a <= end && n <= end-a }

// swap makes a Subscribe or an Allow and compares the answer.
func swap(c abi.Class, driver, number uint64, p pair) (swapped bool) {
	passed, replaced := abi.FailureAddrLen, abi.SuccessAddrLen
	if c == abi.Subscribe {
		passed, replaced = abi.FailureFnUserdata, abi.SuccessFnUserdata
	}
	e := refusal(c, uint32(driver), uint32(number), p)
	want := [4]uint64{uint64(passed), uint64(e), p.a, p.b}
	if e == abi.OK {
		slot := &shared[uint32(driver)][c][uint32(number)]
		want = [4]uint64{uint64(replaced), slot.a, slot.b, 0}
		*slot = p
		if c != abi.Subscribe && p.b != 0 && inRAM(p.a, p.b) {
			highWater = max(highWater, p.a+p.b)
		}
	}
	expect("answer of Subscribe or Allow", perform(class(c), driver, number, p.a, p.b), want)
	return e == abi.OK
}

// refusal is the error that the ABI wants, or OK.
func refusal(c abi.Class, driver, number uint32, p pair) abi.ErrorCode {
	switch {
	case c == abi.Subscribe && p.a != 0 && !inRAM(p.a, 8) && !inFlash(p.a, 8):
		return abi.INVAL
	case c == abi.AllowReadOnly && p.b != 0 && !inRAM(p.a, p.b) && !inFlash(p.a, p.b):
		return abi.INVAL
	case (c == abi.AllowReadWrite || c == abi.AllowUserspaceReadable) && p.b != 0 && !inRAM(p.a, p.b):
		return abi.INVAL
	case driver == abi.DriverLowLevelDebug:
		return abi.NOSUPPORT
	case driver > abi.DriverConsole:
		return abi.NODEVICE
	case number >= counts[driver][c]:
		return abi.NOSUPPORT
	}
	return abi.OK
}

// subscribe takes back a function that is none.
func subscribe(driver, number, fn, userdata uint64) {
	if next()%2 == 0 {
		fn = upcallAddress()
	}
	if swap(abi.Subscribe, driver, number, pair{fn, userdata}) && fn != upcallAddress() {
		swap(abi.Subscribe, driver, number, pair{0, userdata})
	}
}

// share takes back a buffer that a driver would write to and that holds variables, and
// one that would flood the console.
func share(c abi.Class, driver, number uint64) {
	a := address()
	n := length(a)
	if !swap(c, driver, number, pair{a, n}) {
		return
	}
	writes := c == abi.AllowReadWrite && n != 0 && !harmless(a, n)
	floods := c == abi.AllowReadOnly && uint32(number) == 1 && n > 64
	if writes || floods {
		swap(c, driver, number, pair{next(), 0})
	}
}

// harmless reports whether what is written to n bytes at a hurts nobody.
func harmless(a, n uint64) bool {
	return within(a, n, scratchStart(), scratchStart()+scratchSize) || a >= floor
}

// command can say anything that a Command may say.
func command(driver, number, arg uint64) {
	got := perform(class(abi.Command), driver, number, arg, next())
	switch d := uint32(driver); {
	case d > abi.DriverConsole && d != abi.DriverLowLevelDebug:
		expect("answer of a driver that is not there", got, failed(abi.NODEVICE))
	case uint32(number) == 0:
		expect("answer of command 0", got, [4]uint64{uint64(abi.Success)})
	case uint32(number) > 6:
		expect("answer of an unknown command", got, failed(abi.NOSUPPORT))
	case got[0] == uint64(abi.Failure):
		if got[1] == 0 || got[1] > uint64(abi.NOACK) || got[2] != 0 || got[3] != 0 {
			fail("error of a Command", got[1], 1)
		}
	case got[0] != uint64(abi.Success) && got[0] != uint64(abi.SuccessU32):
		fail("variant of a Command", got[0], uint64(abi.Success))
	default:
		done.succeeded++
	}
}

func exit(kind uint64) {
	if uint32(kind) > abi.ExitRestart {
		expect("answer of an unknown Exit", perform(class(abi.Exit), kind, next(), next(), next()), failed(abi.NOSUPPORT))
	}
}
