//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// 28: alarms across the wrap of the ticks and in the past; parts a and b write lines longer
// than the console's own buffer, which are whole.
func alarmAndConsole() {
	if rolePart != 0 {
		longLines(rolePart)
		return
	}
	now := func() uint32 { return uint32(command(abi.DriverAlarm, alarmNow, 0, 0)[1]) }
	for _, alarm := range [...]struct {
		what             string
		before, interval uint32 // reference, in ticks before now
	}{
		{"the reference and the end in the past", 5000, 10},
		{"an end far in the past", 1 << 31, 0},
		{"an end ahead", 100, 20_000},
		{"a reference half a wrap ago", 1 << 31, 1<<31 + 20_000},
		{"a reference nearly a wrap ago", ^uint32(1_000_000), ^uint32(1_000_000) + 20_000},
		{"a reference that seems to lie ahead", ^uint32(1_000_000), 10},
	} {
		reference := now() - alarm.before
		set := command(abi.DriverAlarm, alarmAbsolute, reference, alarm.interval)
		expiry := uint64(reference + alarm.interval)
		answers(alarm.what, words{uint64(abi.SuccessU32), expiry}, set)
		fired := waitFor(abi.DriverAlarm, alarmFired)
		equal(alarm.what, expiry, fired[1])
		if alarm.interval > alarm.before {
			isTrue(alarm.what, int32(uint32(fired[0])-uint32(expiry)) >= 0)
		}
	}
	set := command(abi.DriverAlarm, alarmRelative, 1<<31, 0)
	equal("an alarm in 36 minutes", uint64(abi.SuccessU32), set[0])
	answers("disarming it", success(), command(abi.DriverAlarm, alarmStop, 0, 0))
	answers("disarming it again", failure(abi.ALREADY), command(abi.DriverAlarm, alarmStop, 0, 0))
}

const longLine = 700

var line [longLine + 1]byte

func longLines(letter byte) {
	for i := range longLine {
		line[i] = letter
	}
	line[longLine] = '\n'
	for range 8 {
		task.Write(line[:])
	}
}

// keeps makes a system call with patterns in the registers that the kernel keeps, and in the
// others. changed has a bit for each kept one that is not what it was; loose is not 0 if a
// register that is 0 after a call is not.
func keeps(pattern, class, r0, r1, r2, r3 uint64) (changed, loose uint64)

// 29: the registers that a call does not answer in are as docs/abi.md says.
func registers() {
	const pattern = 0x0123_4567_89ab_cdef
	addr := address(buffer[:])
	for _, c := range [...]struct {
		what           string
		class          abi.Class
		r0, r1, r2, r3 uint64
	}{
		{"Command", abi.Command, abi.DriverConsole, 0, 0, 0},
		{"failing Command", abi.Command, absent, 0, 0, 0},
		{"Subscribe", abi.Subscribe, abi.DriverConsole, consoleWrote, recorder(), 0},
		{"Allow", abi.AllowReadWrite, abi.DriverConsole, spareBuffer, addr, 8},
		{"Memop", abi.Memop, abi.MemopRAMStart, 0, 0, 0},
		{"failing Exit", abi.Exit, 2, 0, 0, 0},
		{"Yield-NoWait", abi.Yield, abi.YieldNoWait, 0, 0, 0},
		{"Yield of an unknown kind", abi.Yield, 9, 0, 0, 0},
	} {
		changed, loose := keeps(pattern, uint64(c.class), c.r0, c.r1, c.r2, c.r3)
		equal(c.what, 0, changed)
		equal(c.what, 0, loose)
	}
	command(abi.DriverAlarm, alarmRelative, 20_000, 0)
	changed, loose := keeps(pattern, uint64(abi.Yield), abi.YieldWaitFor, abi.DriverAlarm, alarmFired, 0)
	equal("Yield-WaitFor that sleeps", 0, changed|loose)
}
