//go:build kapsel_task

package main

import "kapsel/guest/abi"

// 3: Subscribe answers with the pair that was set before.
func subscribeReturnsThePairBefore() {
	f, g := recorder(), other()
	answers("first Subscribe", was(0, 0), subscribe(abi.DriverAlarm, alarmFired, f, 1))
	answers("second Subscribe", was(f, 1), subscribe(abi.DriverAlarm, alarmFired, g, 1<<63))
	answers("unsubscribing", was(g, 1<<63), subscribe(abi.DriverAlarm, alarmFired, 0, 3))
	answers("Subscribe after that", was(0, 3), subscribe(abi.DriverAlarm, alarmFired, f, 4))
	answers("another number", was(0, 0), subscribe(abi.DriverConsole, consoleHasGot, f, 5))
}

// 4: a function outside of the task's memory is INVAL; the one before stays, with the
// upcalls that wait for it.
func badFunction() {
	f := recorder()
	subscribe(abi.DriverConsole, consoleWrote, f, 77)
	consoleEvent()
	header := memop(abi.MemopFlashStart, 0)
	for _, bad := range [...]uint64{
		1, 8, abi.UserMin - 8, // nothing is there
		header, header + 128, // protected
		memop(abi.MemopFlashEnd, 0) - 7, // its 8 bytes cross from flash into RAM
		appBreak() - 7, appBreak(), memop(abi.MemopRAMEnd, 0) - 8,
		abi.UserMax - 8, abi.UserMax, abi.DirectMap, abi.KernelBase + 0x20_0000,
		^uint64(0) - 7, ^uint64(0),
	} {
		answers("Subscribe with a bad function", notSubscribed(abi.INVAL, bad, 5),
			subscribe(abi.DriverConsole, consoleWrote, bad, 5))
		answers("a bad function for no driver", notSubscribed(abi.INVAL, bad, 5), subscribe(absent, 0, bad, 5))
	}
	equal("upcalls that wait", 1, runAll())
	equal("upcalls", 1, count)
	equal("userdata", 77, calls[0][3])
	answers("the last 8 bytes below the break", was(f, 77), subscribe(abi.DriverConsole, consoleWrote, appBreak()-8, 6))
	answers("the last 8 bytes of flash", was(appBreak()-8, 6),
		subscribe(abi.DriverConsole, consoleWrote, memop(abi.MemopFlashEnd, 0)-8, 7))
}

// 5: a new subscription drops the upcalls that wait for the old one, and no others.
func resubscribing() {
	f := recorder()
	subscribe(abi.DriverAlarm, alarmFired, f, 1)
	subscribe(abi.DriverConsole, consoleWrote, f, 2)
	consoleEvent()
	consoleEvent()
	alarmEvent()
	consoleEvent()
	subscribe(abi.DriverConsole, consoleWrote, f, 3)
	equal("upcalls that wait after Subscribe", 1, runAll())
	equal("the alarm's userdata", 1, calls[0][3])
	forget()

	consoleEvent()
	alarmEvent()
	subscribe(abi.DriverAlarm, alarmFired, 0, 0)
	equal("upcalls that wait after unsubscribing", 1, runAll())
	equal("the console's userdata", 3, calls[0][3])
	forget()

	subscribe(abi.DriverConsole, consoleWrote, 0, 0)
	consoleEvent() // kept for a WaitFor alone
	subscribe(abi.DriverConsole, consoleWrote, f, 4)
	equal("events from before the subscription", 0, runAll())
}

// 6: an upcall gets its three arguments and its userdata, all bits of it; upcalls run in
// the order in which their events happened, whichever drivers they are of.
func upcallArguments() {
	const userdata = 0xfedc_ba98_7654_3210
	f := recorder()
	subscribe(abi.DriverAlarm, alarmFired, f, userdata)
	subscribe(abi.DriverConsole, consoleWrote, f, ^uint64(0))
	expiries := [3]uint64{}
	for i := range expiries {
		expiries[i] = alarmEvent()
		consoleEvent()
	}
	equal("upcalls", 6, runAll())
	for i, expiry := range expiries {
		alarm, console := calls[2*i], calls[2*i+1]
		isTrue("the alarm fires when it is due", int32(uint32(alarm[0])-uint32(expiry)) >= 0 && alarm[0]>>32 == 0)
		answers("the alarm's upcall", words{alarm[0], expiry, 0, userdata}, words(alarm))
		answers("the console's upcall", words{0, 0, 0, ^uint64(0)}, words(console))
	}
	forget()

	text := [...]byte{'6', ':', ' ', 'x', '\n'}
	copy(buffer[:], text[:])
	allowRO(abi.DriverConsole, consoleBuffer, address(buffer[:]), 5)
	command(abi.DriverConsole, consoleWrite, 100, 0)
	yield(abi.YieldWait, 0, 0)
	answers("the upcall of a write", words{5, 0, 0, ^uint64(0)}, words(calls[0]))
}
