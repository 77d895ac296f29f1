//go:build kapsel_task

package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the drivers.
const (
	absent = 0x7fff // no driver has it

	alarmNow      = 2
	alarmStop     = 3
	alarmRelative = 5
	alarmAbsolute = 6
	alarmFired    = 0 // subscribe number

	consoleWrite  = 1
	consoleRead   = 2
	consoleAbort  = 3
	consoleWrote  = 1 // subscribe number
	consoleHasGot = 2 // subscribe number
	consoleBuffer = 1 // allow numbers
	spareBuffer   = 0 // an allow number that the driver does not use
)

// words is what a system call answers: r0 to r3.
type words [4]uint64

func call(class abi.Class, r0, r1, r2, r3 uint64) words {
	a, b, c, d := task.Raw(class, r0, r1, r2, r3)
	return words{a, b, c, d}
}

func command(driver, number, arg0, arg1 uint32) words {
	return call(abi.Command, uint64(driver), uint64(number), uint64(arg0), uint64(arg1))
}

func subscribe(driver, number uint32, fn, userdata uint64) words {
	return call(abi.Subscribe, uint64(driver), uint64(number), fn, userdata)
}

func allowRW(driver, number uint32, addr, length uint64) words {
	return call(abi.AllowReadWrite, uint64(driver), uint64(number), addr, length)
}

func allowRO(driver, number uint32, addr, length uint64) words {
	return call(abi.AllowReadOnly, uint64(driver), uint64(number), addr, length)
}

func brk(addr uint64) words { return call(abi.Memop, abi.MemopBrk, addr, 0, 0) }

// sbrk moves the break by a signed number of bytes.
func sbrk(delta int64) words { return call(abi.Memop, abi.MemopSbrk, uint64(delta), 0, 0) }

// appBreak is where the break is.
func appBreak() uint64 { return sbrk(0)[1] }

// The answers there are.

func success() words { return words{uint64(abi.Success)} }

func failure(e abi.ErrorCode) words { return words{uint64(abi.Failure), uint64(e)} }

// was is what Subscribe answers with the pair that was replaced.
func was(fn, userdata uint64) words { return words{uint64(abi.SuccessFnUserdata), fn, userdata} }

// notSubscribed is what Subscribe answers with the pair that was passed.
func notSubscribed(e abi.ErrorCode, fn, userdata uint64) words {
	return words{uint64(abi.FailureFnUserdata), uint64(e), fn, userdata}
}

// had is what Allow answers with the buffer that was replaced.
func had(addr, length uint64) words { return words{uint64(abi.SuccessAddrLen), addr, length} }

// notShared is what Allow answers with the buffer that was passed.
func notShared(e abi.ErrorCode, addr, length uint64) words {
	return words{uint64(abi.FailureAddrLen), uint64(e), addr, length}
}

func isAddress(v uint64) words { return words{uint64(abi.SuccessAddress), v} }

// A record is one call of an upcall: its three arguments and the userdata.
type record [4]uint64

// What recorder wrote down.
var (
	calls [32]record
	count uint64 // of calls, with those that found no room
)

// recorder is the address of a function that can be subscribed and adds to calls
// (conformance_amd64.s).
func recorder() uint64

// other is the address of another one.
func other() uint64 { return recorder() + 1 }

// forget empties calls.
func forget() { count, calls = 0, [32]record{} }

// yield makes the system call with RSP aligned and reports by how much RSP differs behind it.
func yield(kind, r1, r2 uint64) (r0, s1, s2, s3, drift uint64)

// flag is where Yield-NoWait says whether an upcall ran.
var flag byte

func flagAddress() uint64 { return uint64(uintptr(unsafe.Pointer(&flag))) }

// ranUpcall makes a Yield-NoWait and reports whether an upcall ran.
func ranUpcall() bool {
	flag = 0xff
	yield(abi.YieldNoWait, flagAddress(), 0)
	if flag > 1 {
		fail("Yield-NoWait's byte", 0, uint64(flag))
	}
	return flag == 1
}

// runAll runs the upcalls that wait, at most 32, and returns how many did.
func runAll() uint64 {
	n := uint64(0)
	for n < 32 && ranUpcall() {
		n++
	}
	return n
}

// waitFor is Yield-WaitFor.
func waitFor(driver, number uint32) words {
	a, b, c, d, _ := yield(abi.YieldWaitFor, uint64(driver), uint64(number))
	return words{a, b, c, d}
}

// consoleEvent makes an event of driver 1, subscribe number 1, with arguments 0: the end
// of a write of nothing. It has happened when the call is back.
func consoleEvent() {
	answers("a write of nothing", success(), command(abi.DriverConsole, consoleWrite, 0, 0))
}

// alarmEvent makes an event of driver 0, subscribe number 0. It has happened when the
// function is back, which returns the event's second argument.
func alarmEvent() (expiry uint64) {
	for patience := 1000; ; patience *= 2 {
		expiry = command(abi.DriverAlarm, alarmRelative, 0, 0)[1]
		for range patience {
			spun++
		}
		// a disarmed alarm does not fire; one that has fired cannot be disarmed
		if command(abi.DriverAlarm, alarmStop, 0, 0) == failure(abi.ALREADY) {
			return expiry
		}
	}
}

var spun uint64

func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
