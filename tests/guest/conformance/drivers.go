//go:build kapsel_task

package main

import "kapsel/guest/abi"

// buffer is something to share.
var buffer [128]byte

// drivers are those of the board.
var drivers = [...]uint32{abi.DriverAlarm, abi.DriverConsole, abi.DriverLowLevelDebug, abi.DriverReadOnlyState, abi.DriverIPC}

// 1: command 0 asks whether a driver is there. An absent one is NODEVICE for every class.
func presence() {
	for _, driver := range drivers {
		answers("command 0 of a driver", success(), command(driver, 0, 0, 0))
	}
	const above = 1 << 32 // what stands above 32 bits is ignored
	answers("command 0 with words above", success(), call(abi.Command, abi.DriverConsole|above, above, 0, 0))

	addr, fn := address(buffer[:]), recorder()
	answers("command 0 of no driver", failure(abi.NODEVICE), command(absent, 0, 0, 0))
	answers("command 1 of no driver", failure(abi.NODEVICE), command(absent, 1, 2, 3))
	answers("Subscribe to no driver", notSubscribed(abi.NODEVICE, fn, 0x1234), subscribe(absent, 0, fn, 0x1234))
	answers("Allow Read-Write for no driver", notShared(abi.NODEVICE, addr, 9), allowRW(absent, 0, addr, 9))
	answers("Allow Read-Only for no driver", notShared(abi.NODEVICE, addr, 9), allowRO(absent, 0, addr, 9))
}

// 2: numbers that a driver does not know are NOSUPPORT.
func unknownNumbers() {
	addr, fn := address(buffer[:]), recorder()
	for _, driver := range drivers {
		for _, number := range [...]uint32{99, 1 << 31, ^uint32(0)} {
			n := failure(abi.NOSUPPORT)
			answers("unknown command", n, command(driver, number, 0, 0))
			answers("unknown subscribe number", notSubscribed(abi.NOSUPPORT, fn, 7), subscribe(driver, number, fn, 7))
			answers("unknown read-write number", notShared(abi.NOSUPPORT, addr, 9), allowRW(driver, number, addr, 9))
			answers("unknown read-only number", notShared(abi.NOSUPPORT, addr, 9), allowRO(driver, number, addr, 9))
			answers("class 7", notShared(abi.NOSUPPORT, addr, 9),
				call(abi.AllowUserspaceReadable, uint64(driver), uint64(number), addr, 9))
		}
	}
	answers("the alarm's command 4", failure(abi.NOSUPPORT), command(abi.DriverAlarm, 4, 0, 0))
	answers("the first number too large", notSubscribed(abi.NOSUPPORT, fn, 7),
		subscribe(abi.DriverAlarm, alarmFired+1, fn, 7))
	answers("a driver without upcalls", notSubscribed(abi.NOSUPPORT, fn, 7), subscribe(abi.DriverLowLevelDebug, 0, fn, 7))
}

// 26: a task whose RAM is full gets NOMEM for what needs a grant, until it makes room.
// A restart frees the grants, and nothing of the life before comes to the next.
func grants() {
	*life()++
	if *life() == 1 {
		grantsWithoutRoom()
		if failures != 0 {
			return
		}
		subscribe(abi.DriverAlarm, alarmFired, recorder(), 1)
		command(abi.DriverAlarm, alarmRelative, 1000, 0)
		call(abi.Exit, abi.ExitRestart, 0, 0, 0)
	}
	equal("life", 2, *life())
	answers("Subscribe after a restart", was(0, 0), subscribe(abi.DriverAlarm, alarmFired, recorder(), 2))
	answers("stop after a restart", failure(abi.ALREADY), command(abi.DriverAlarm, alarmStop, 0, 0))
	expiry := command(abi.DriverAlarm, alarmRelative, 50_000, 0)[1]
	yield(abi.YieldWait, 0, 0)
	equal("upcalls", 1, count)
	equal("the alarm that fired is this life's", expiry, calls[0][1])
	equal("userdata", 2, calls[0][3])
}

func grantsWithoutRoom() {
	old := appBreak()
	end := memop(abi.MemopRAMEnd, 0)
	equal("no grant before a driver is used", end, memop(abi.MemopGrantStart, 0))
	answers("brk to the last byte of RAM", success(), brk(end-1))
	addr, fn := address(buffer[:]), recorder()
	answers("Subscribe without room", notSubscribed(abi.NOMEM, fn, 7), subscribe(abi.DriverAlarm, alarmFired, fn, 7))
	answers("Allow Read-Only without room", notShared(abi.NOMEM, addr, 9), allowRO(abi.DriverConsole, 0, addr, 9))
	answers("Allow Read-Write without room", notShared(abi.NOMEM, addr, 9), allowRW(abi.DriverConsole, 0, addr, 9))
	answers("alarm without room", failure(abi.NOMEM), command(abi.DriverAlarm, alarmRelative, 1, 0))
	answers("write without room", failure(abi.NOMEM), command(abi.DriverConsole, consoleWrite, 1, 0))
	answers("a command that needs no grant", success(), command(abi.DriverAlarm, 0, 0, 0))
	answers("brk down", success(), brk(old))
	answers("Subscribe with room", was(0, 0), subscribe(abi.DriverAlarm, alarmFired, fn, 7))
	isTrue("the grant lies below the end of RAM", memop(abi.MemopGrantStart, 0) < end)
}

// 27, part p: the test gave the object a list of commands: 0 to 3 of the alarm, 1 of the
// console.
func permissions() {
	if rolePart == 0 {
		return // another part of the test: that this task is loaded at all
	}
	fn := recorder()
	answers("command on the list", success(), command(abi.DriverAlarm, 0, 0, 0))
	answers("command not on the list", failure(abi.NODEVICE), command(abi.DriverAlarm, alarmRelative, 1, 0))
	answers("command 0 not on the list", failure(abi.NODEVICE), command(abi.DriverConsole, 0, 0, 0))
	answers("command 64 above one on the list", failure(abi.NODEVICE), command(abi.DriverConsole, 64+consoleWrite, 0, 0))
	answers("driver not on the list", failure(abi.NODEVICE), command(abi.DriverLowLevelDebug, 0, 0, 0))
	answers("Subscribe to a driver on the list", was(0, 0), subscribe(abi.DriverAlarm, alarmFired, fn, 1))
	answers("Subscribe to a driver not on the list", notSubscribed(abi.NODEVICE, fn, 1),
		subscribe(abi.DriverLowLevelDebug, 0, fn, 1))
}
