//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// 16: Yield-NoWait runs one upcall or none and tells which; it never sleeps.
func yieldNoWait() {
	f := recorder()
	flag = 0xff
	a, b, c, d, drift := yield(abi.YieldNoWait, flagAddress(), 0)
	answers("Yield-NoWait without an upcall", words{}, words{a, b, c, d})
	equal("its byte", 0, uint64(flag))
	equal("RSP", 0, drift)

	consoleEvent() // nobody is subscribed
	isTrue("an event without a function is not an upcall", !ranUpcall())

	subscribe(abi.DriverConsole, consoleWrote, f, 1)
	consoleEvent()
	consoleEvent()
	for i := range uint64(2) {
		isTrue("an upcall runs", ranUpcall())
		equal("upcalls", i+1, count)
	}
	isTrue("no third upcall", !ranUpcall())
	forget()

	bad := [...]uint64{
		0, 1, recorder(), memop(abi.MemopFlashStart, 0), memop(abi.MemopRAMEnd, 0) - 1, appBreak(), abi.UserMax,
		abi.DirectMap, abi.KernelBase, ^uint64(0),
	}
	code := *wordAt(recorder())
	for i, at := range bad {
		yield(abi.YieldNoWait, at, 0) // nothing waits
		consoleEvent()
		yield(abi.YieldNoWait, at, 0)
		equal("upcalls with a bad byte", uint64(i+1), count)
	}
	equal("code", code, *wordAt(recorder()))

	for _, kind := range [...]uint64{3, 99, 1<<32 - 1} {
		consoleEvent()
		count = 0
		a, b, c, d, _ := yield(kind, flagAddress(), 0)
		answers("Yield of an unknown kind", words{}, words{a, b, c, d})
		equal("upcalls it ran", 0, count)
		isTrue("the upcall waits on", ranUpcall())
	}
}

// 17: Yield-Wait sleeps until an upcall has run. An event without a function does not wake it,
// and it writes nothing.
func yieldWait() {
	subscribe(abi.DriverAlarm, alarmFired, recorder(), 5)
	for i := range uint64(3) {
		flag = 0xff
		consoleEvent() // nobody is subscribed
		command(abi.DriverAlarm, alarmRelative, 20_000, 0)
		_, _, _, _, drift := yield(abi.YieldWait, flagAddress(), 0)
		equal("upcalls", i+1, count)
		equal("byte at r1", 0xff, uint64(flag))
		equal("RSP", 0, drift)
	}
	equal("userdata", 5, calls[0][3])
}

// 18: Yield-WaitFor is answered with the arguments of the event, whether it happens before or
// after the call, and whether or not a function is subscribed, which is not called.
func yieldWaitFor() {
	for _, fn := range [...]uint64{0, recorder()} {
		subscribe(abi.DriverAlarm, alarmFired, fn, 5)
		subscribe(abi.DriverConsole, consoleWrote, fn, 5)
		expiry := command(abi.DriverAlarm, alarmRelative, 20_000, 0)[1]
		later := waitFor(abi.DriverAlarm, alarmFired)
		answers("an event that comes later", words{later[0], expiry, 0, 0}, later)
		isTrue("it comes when it is due", int32(uint32(later[0])-uint32(expiry)) >= 0)

		expiry = alarmEvent()
		before := waitFor(abi.DriverAlarm, alarmFired)
		answers("an event that came before", words{before[0], expiry, 0, 0}, before)

		consoleEvent()
		answers("another driver's event", words{}, waitFor(abi.DriverConsole, consoleWrote))
		equal("upcalls", 0, runAll()+count)
	}
	subscribe(abi.DriverAlarm, alarmFired, 0, 0)
	alarmEvent()
	newest := alarmEvent()
	equal("the newest event without a function is kept", newest, waitFor(abi.DriverAlarm, alarmFired)[1])
}

// 19: Yield-WaitFor leaves other upcalls where they are, in order. No other task of the
// machine may read from the console.
func waitForLeavesOthers() {
	f := recorder()
	subscribe(abi.DriverConsole, consoleWrote, f, 1)
	subscribe(abi.DriverConsole, consoleHasGot, f, 2)
	allowRW(abi.DriverConsole, consoleBuffer, address(buffer[:]), 16)
	for _, fn := range [...]uint64{0, f} { // with and without a function
		forget()
		subscribe(abi.DriverAlarm, alarmFired, fn, 3)
		consoleEvent()
		cancelledRead()
		expiry := alarmEvent()
		consoleEvent()
		equal("event in the midst", expiry, waitFor(abi.DriverAlarm, alarmFired)[1])
		expiry = command(abi.DriverAlarm, alarmRelative, 20_000, 0)[1]
		equal("event that comes later", expiry, waitFor(abi.DriverAlarm, alarmFired)[1])
		equal("upcalls until now", 0, count)
		equal("upcalls that waited", 3, runAll())
		for i, userdata := range [...]uint64{1, 2, 1} {
			equal("userdata in order", userdata, calls[i][3])
		}
		equal("status of the read", uint64(abi.CANCEL), calls[1][0])
	}
}

func cancelledRead() {
	answers("a read", success(), command(abi.DriverConsole, consoleRead, 16, 0))
	answers("its end", success(), command(abi.DriverConsole, consoleAbort, 0, 0))
}

// 20: ten upcalls queue at most; the newest for which there is no room waits in the place of those
// before it, which are counted, as the test looks for. A WaitFor is answered all the same.
func fullQueue() {
	subscribe(abi.DriverConsole, consoleWrote, recorder(), 1)
	for range 13 {
		consoleEvent()
	}
	equal("upcalls that waited", 11, runAll())
	for range 10 {
		consoleEvent()
	}
	for _, fn := range [...]uint64{0, recorder()} { // with and without a function
		subscribe(abi.DriverAlarm, alarmFired, fn, 2)
		// far enough away that the task waits by then, whoever has the CPU meanwhile
		expiry := command(abi.DriverAlarm, alarmRelative, 500_000, 0)[1]
		equal("WaitFor with a full queue", expiry, waitFor(abi.DriverAlarm, alarmFired)[1])
	}
	equal("upcalls that waited on", 10, runAll())
}

// 21: an upcall may yield; the upcalls that run in it end in the opposite order, and every
// stack pointer is what it was.
func nestedYields() {
	nesting.F = nest
	isTrue("Subscribe", task.Subscribe(abi.DriverConsole, consoleWrote, &nesting) == nil)
	for range depth {
		consoleEvent()
	}
	_, _, _, _, drift := yield(abi.YieldWait, 0, 0)
	equal("RSP", 0, drift)
	equal("upcalls that began", depth, uint64(began))
	equal("upcalls that ended", depth, uint64(ended))
	for i := range ended {
		equal("upcall that ended", uint64(depth-i), uint64(order[i]))
	}
	isTrue("nothing is left", !ranUpcall())
}

const depth = 8

var (
	nesting      task.Upcall
	began, ended int
	order        [depth]int
)

func nest(_, _, _ uint32) {
	began++
	me := began
	if me < depth {
		_, _, _, _, drift := yield(abi.YieldWait, 0, 0)
		equal("RSP in an upcall", 0, drift)
	}
	if ended < depth {
		order[ended] = me
	}
	ended++
}
