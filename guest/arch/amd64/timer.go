package amd64

import (
	"math/bits"

	"kapsel/guest/kernel/hil"
)

// Interrupt lines behind the I/O APIC's.
const (
	LineTimer = IOAPICPins + iota // the local APIC's timer, which CPU serves
	LineAlarm                     // no hardware's: the alarm is due
)

// Timer is the machine's clock and its only timer, which serves three: the kernel's time
// slice, the end of its rest, and one alarm, a hil.Alarm in microseconds. The hardware is set
// to the earliest of them.
//
// Setting the hardware is an exit to the monitor on most machines, so it is done only to be
// interrupted earlier than it already will be: an interrupt too many costs no more.
type Timer struct {
	_        [0]func() // not comparable: no function is made for it
	clock    clock
	apic     *localAPIC
	deadline bool   // the timer takes a time-stamp counter value
	hz       uint64 // else its frequency

	perTick uint64 // counts of that timer in a tick of the counter, times 2^perTickShift, rounded up

	slice    uint64 // when the running slice ends, by the counter; 0: there is none
	now      uint64 // the counter when kernel work began, or the kernel's rest was looked at
	alarm    uint64 // when the alarm fires, by the counter; 0: never
	armed    uint64 // when the hardware will interrupt, by the counter; 0: it will not
	client   hil.AlarmClient
	duration struct{ micros, ticks uint64 } // of the last slice: they are mostly the same

	// While clock is not set, the counters at the start of its measurement.
	measureTSC   uint64
	measureCount uint32
}

// perTickShift is the most with which perTick fits 64 bits at any frequency up to maxHz.
const perTickShift = 23

// startMeasuring starts the measurement of the time-stamp counter that running ends.
func (t *Timer) startMeasuring() {
	t.apic.write(apicInitialCount, 1<<32-1)
	t.measureCount, t.measureTSC = t.apic.read(apicCurrentCount), rdtsc()
}

// measure waits until the measurement has lasted for measureMicros and returns the
// time-stamp counter's frequency.
func (t *Timer) measure() uint64 {
	const measureMicros = 30 // booting takes longer: mostly there is nothing to wait for
	least := ticks(measureMicros, t.hz)
	for {
		count, now := t.apic.read(apicCurrentCount), rdtsc()
		if count == 0 { // the timer ran out, and the other counter went on
			t.startMeasuring()
			continue
		}
		if passed := uint64(t.measureCount - count); passed >= least {
			return (now - t.measureTSC) * t.hz / passed
		}
	}
}

// start sets the clock, whose time-stamp counter has the given frequency, and makes the
// local APIC's timer interrupt on its line when it is armed.
func (t *Timer) start(hz uint64) {
	t.clock = newClock(bootTSC, hz)
	t.perTick = (t.hz<<perTickShift + hz - 1) / hz
	const vector = vectorLine0 + LineTimer
	if t.deadline {
		t.apic.write(apicTimer, vector|apicTSCDeadline)
		return
	}
	t.apic.write(apicInitialCount, 0)
	t.apic.write(apicTimer, vector)
}

// running makes sure that the clock is set.
func (t *Timer) running() {
	if t.clock.hz == 0 {
		t.startMeasured()
	}
}

// startMeasured is start with the frequency that the measurement gives.
func (t *Timer) startMeasured() { t.start(t.measure()) }

// Now implements hil.Time: microseconds since boot.
//
//go:nosplit
func (t *Timer) Now() uint64 {
	t.running()
	return t.clock.micros(rdtsc())
}

// ticksIn is how many counts of the counter so many microseconds are.
func (t *Timer) ticksIn(micros uint64) uint64 {
	t.running()
	return ticks(micros, t.clock.hz)
}

// Cycles implements hil.CycleCounter: the time-stamp counter.
//
//go:nosplit
func (t *Timer) Cycles() uint64 { return rdtsc() }

// CyclesAt implements hil.CycleCounter.
func (t *Timer) CyclesAt(micros uint64) uint64 { return t.clock.tsc(micros) }

// Frequency implements hil.Time.
func (t *Timer) Frequency() uint32 { return microsecond }

// SetAlarmClient implements hil.Alarm.
func (t *Timer) SetAlarmClient(client hil.AlarmClient) { t.client = client }

// SetAlarm implements hil.Alarm.
func (t *Timer) SetAlarm(deadline uint64) {
	t.running()
	t.alarm = t.clock.tsc(deadline)
	t.arm(t.alarm, rdtsc())
}

// Disarm implements hil.Alarm.
func (t *Timer) Disarm() { t.alarm = 0 }

// setSlice begins a slice of that length in microseconds, in place of the one before; 0: none.
//
//go:nosplit
func (t *Timer) setSlice(micros uint64) {
	t.slice = 0
	if micros == 0 {
		return
	}
	if t.duration.micros != micros {
		t.duration.micros, t.duration.ticks = micros, t.ticksIn(micros)
	}
	now := rdtsc()
	t.slice = now + t.duration.ticks
	t.arm(t.slice, now)
}

// stopSlice makes the running slice stand still, if goOn follows. It reports whether the slice
// is over: then there is none any more.
//
//go:nosplit
func (t *Timer) stopSlice() (over bool) {
	t.now = rdtsc()
	over = t.slice-1 < t.now // not if it is 0
	if over {
		t.slice = 0
	}
	return over
}

// goOn makes the slice go on, and returns by the counter from when to when it stood still. If the
// hardware is set already, it interrupts too early by as much.
//
//go:nosplit
func (t *Timer) goOn() (from, to uint64) {
	from, to = t.now, rdtsc()
	if t.slice != 0 {
		t.slice += to - from
		t.arm(t.slice, to)
	}
	return from, to
}

// sliceLeft is what is left of the running slice in microseconds, 0 if there is none.
func (t *Timer) sliceLeft() uint64 {
	return t.clock.micros(t.clock.base + t.slice - min(rdtsc(), t.slice))
}

// arm sets the hardware if it would interrupt later than at that count of the counter, which stands
// at now.
func (t *Timer) arm(at, now uint64) {
	if t.armed-1 >= at { // it is later, or 0
		t.program(at, now)
	}
}

// program sets the hardware to interrupt at that count of the counter, which stands at now.
//
//go:nosplit
func (t *Timer) program(at, now uint64) {
	t.armed = at
	if t.deadline {
		wrmsr(msrTSCDeadline, at)
		return
	}
	const longest = 1<<32 - 1 // it interrupts too early, and is armed again
	high, low := bits.Mul64(at-min(at, now), t.perTick)
	count := uint64(longest)
	if high == 0 {
		count = min(low>>perTickShift+1, longest)
	}
	t.apic.write(apicInitialCount, uint32(count))
}

// startRest begins a rest of the kernel's, and reports whether its end lies ahead. The slice goes on
// meanwhile.
func (t *Timer) startRest(until uint64) bool {
	if until <= t.now {
		return false
	}
	if t.slice-1 < until { // not if it is 0
		until = t.slice
	}
	t.arm(until, rdtsc()) // what is between it and now may have been an exit
	return true
}

// interrupted says what the hardware's interrupt was for: it reports whether the alarm is due, which
// is off then. For an alarm that is to come it sets the hardware; for a slice goOn does, or startRest.
//
//go:nosplit
func (t *Timer) interrupted() (alarm bool) {
	t.armed = 0
	alarm = t.alarm-1 < t.now // not if it is 0
	if alarm {
		t.alarm = 0
	} else if t.alarm != 0 {
		t.arm(t.alarm, rdtsc())
	}
	return alarm
}

// Interrupt serves LineAlarm.
func (t *Timer) Interrupt() { t.client.AlarmFired() }
