//go:build kapsel_task

package main

import "kapsel/guest/abi"

// memop makes a Memop and compares the answer.
func memop(operation, arg uint64) {
	var want [4]uint64
	old := brk
	switch op := uint32(operation); op {
	case abi.MemopBrk:
		want = failed(abi.NOMEM)
		if moveBreak(arg) {
			want = [4]uint64{uint64(abi.Success)}
		}
	case abi.MemopSbrk:
		if next()%2 == 0 {
			arg = arg - brk // to that address
		}
		want = failed(abi.NOMEM)
		to := brk + arg
		if (to < brk) == (int64(arg) < 0) && moveBreak(to) {
			want = tells(old)
		}
	case abi.MemopRAMStart:
		want = tells(ramStart)
	case abi.MemopRAMEnd:
		want = tells(ramEnd)
	case abi.MemopFlashStart:
		want = tells(flashStart)
	case abi.MemopFlashEnd:
		want = tells(flashEnd)
	case abi.MemopGrantStart:
		want = tells(grants)
	case abi.MemopFlashRegions:
		want = [4]uint64{uint64(abi.SuccessU32), 1}
	case abi.MemopRegionStart, abi.MemopRegionEnd:
		want = failed(abi.FAIL)
		if arg == 0 {
			want = tells(ask(op, 0))
		}
	case abi.MemopSetStackTop, abi.MemopSetHeapStart:
		want = [4]uint64{uint64(abi.Success)}
	case abi.MemopSetFSBase, abi.MemopSetGSBase:
		want = failed(abi.INVAL)
		if arg < abi.UserMax {
			want = [4]uint64{uint64(abi.Success)}
		}
	default:
		want = failed(abi.NOSUPPORT)
	}
	expect("answer of Memop", perform(class(abi.Memop), operation, arg, next(), next()), want)
	if brk > old {
		exposed(old)
	}
}

func tells(a uint64) [4]uint64 { return [4]uint64{uint64(abi.SuccessAddress), a} }

// moveBreak moves the model's break, or reports false.
func moveBreak(to uint64) bool {
	if to < highWater || to >= grants || pageUp(to) > grants {
		return false
	}
	brk = to
	return true
}

// exposed checks that the first and the last byte between an old break and the new one
// are 0, and leaves something there.
func exposed(old uint64) {
	for _, a := range [...]uint64{old, brk - 1} {
		p := (*byte)(pointer(a))
		if *p != 0 {
			fail("a byte that the break exposes", uint64(*p), 0)
		}
	}
	*(*byte)(pointer(old)) = 0x5a
	*(*byte)(pointer(brk - 1)) = 0x5a
}

// yieldNoWait makes a Yield that does not wait, or one of unknown kind.
func yieldNoWait(flag, kind uint64) {
	if uint32(kind) == abi.YieldWait || uint32(kind) == abi.YieldWaitFor {
		return
	}
	if kind%8 != 0 {
		kind &^= 0xffff_ffff // NoWait
	}
	if inRAM(flag, 1) && !harmless(flag, 1) {
		flag = scratchStart()
	}
	seen := inRAM(flag, 1) && uint32(kind) == abi.YieldNoWait
	if seen {
		*(*byte)(pointer(flag)) = 7
	}
	before := upcalls
	expect("answer of Yield", perform(class(abi.Yield), kind, flag, next(), next()), [4]uint64{})
	if !seen {
		return
	}
	if got := uint64(*(*byte)(pointer(flag))); got != upcalls-before {
		fail("flag of Yield-NoWait", got, upcalls-before)
	}
}

// wait sleeps until an alarm, in either of the two ways.
func wait() {
	if next()%2 == 0 {
		await()
		before := upcalls
		perform(class(abi.Yield), abi.YieldWait, next(), next(), next())
		if upcalls != before+1 {
			fail("upcalls in a Yield-Wait", upcalls-before, 1)
		}
		return
	}
	await()
	before := upcalls
	got := perform(class(abi.Yield), abi.YieldWaitFor, abi.DriverAlarm, 0, next())
	if upcalls != before || got[2] != 0 || got[3] != 0 {
		fail("answer of Yield-WaitFor", got[2]|got[3], 0)
	}
}

// await empties the queue and arms the alarm, its upcall subscribed.
func await() {
	swap(abi.Subscribe, abi.DriverAlarm, 0, pair{upcallAddress(), 0})
	for range 10 {
		perform(class(abi.Yield), abi.YieldNoWait, 0, 0, 0)
	}
	arm()
}

// arm sets the alarm to soon.
func arm() {
	got := perform(class(abi.Command), abi.DriverAlarm, 5, 50, 0)
	if got[0] != uint64(abi.SuccessU32) {
		fail("arming the alarm", got[1], 0)
	}
}
