package task

import "kapsel/guest/abi"

// Numbers of the alarm driver.
const (
	alarmFrequency = 1
	alarmNow       = 2
	alarmRelative  = 5
	alarmFired     = 0 // subscribe
)

// longestAlarm is how far ahead the alarm is set at most, in microseconds: half of the 71 minutes after which its clock wraps.
const longestAlarm = 1 << 31

// Never is a time that does not come.
const Never = ^uint64(0)

// clock is what Now returned last.
var clock uint64

// The alarm of SetAlarm, and the time that it is for: 0 if there is none.
var (
	alarm      = Upcall{alarmRang}
	alarmAt    uint64
	subscribed bool
)

// Ticks returns the alarm's clock, which wraps at 2^32, and its ticks in a second.
func Ticks() (now, frequency uint32) {
	return uint32(Command(abi.DriverAlarm, alarmNow, 0, 0).Words[0]),
		uint32(Command(abi.DriverAlarm, alarmFrequency, 0, 0).Words[0])
}

// Now returns a time in microseconds, from a start that is the same while the task runs. It never goes back. What the kernel has
// is 32 bits of it, which wrap after 71 minutes: as many as pass between two calls are not seen. A task
// that waits by YieldUntil and Sleep sees all.
func Now() uint64 {
	if r := Command(abi.DriverAlarm, alarmNow, 0, 0); r.Err() == nil { // else it stands still: an error is no time
		clock = after(clock, uint32(r.Words[0]))
	}
	return clock
}

// after is the first time at or after another that ends with 32 bits.
func after(time uint64, low uint32) uint64 { return time + uint64(low-uint32(time)) }

// SetAlarm has Yield return at a time, in place of what was set before. It does not wait. With Never, or a time far ahead, the alarm
// rings each 36 minutes all the same, so that Now sees each wrap.
func SetAlarm(at uint64) error {
	if !subscribed {
		if err := Subscribe(abi.DriverAlarm, alarmFired, &alarm); err != nil {
			return err
		}
		subscribed = true
	}
	alarmAt = at
	return again()
}

// again has the alarm of SetAlarm ring. With an error there is none: who waits for it would wait for ever.
func again() error {
	err := ring(alarmAt)
	if err != nil {
		alarmAt = 0
	}
	return err
}

// ring has the alarm ring at a time, or earlier if that is far ahead.
func ring(at uint64) error {
	interval := min(at-min(Now(), at), longestAlarm)
	return Command(abi.DriverAlarm, alarmRelative, uint32(interval), 0).Err()
}

// alarmRang is called when the alarm rings, for the time that is set or an earlier one.
func alarmRang(_, _, _ uint32) {
	if Now() < alarmAt {
		again()
	} else {
		alarmAt = 0
	}
}

// YieldUntil waits until an upcall has run, but not beyond a time, and reports whether the time has yet to come. It sets the alarm. Where
// there is none, it does not wait, but for Never: who calls it again and again has to count.
func YieldUntil(at uint64) bool {
	if Now() >= at || alarmAt != at && SetAlarm(at) != nil && at != Never {
		YieldNoWait()
	} else {
		Yield()
	}
	return Now() < at
}

// Sleep waits for a number of milliseconds. No upcall runs meanwhile.
func Sleep(milliseconds uint32) {
	until := Now() + 1000*uint64(milliseconds)
	for Now() < until && ring(until) == nil {
		WaitFor(abi.DriverAlarm, alarmFired) // it may be what SetAlarm set
	}
	if alarmAt != 0 {
		again()
	}
}
