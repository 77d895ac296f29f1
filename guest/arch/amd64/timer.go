package amd64

import "kapsel/guest/kernel/hil"

// LineTimer is the interrupt line of the local APIC's timer, behind the I/O APIC's.
const LineTimer = IOAPICPins

// Timer is the machine's clock and its only timer, which serves two: the kernel's time
// slice and one alarm, a hil.Alarm in microseconds. The hardware is set to the
// earlier of the two.
//
// Setting the hardware is an exit to the monitor on most machines, so it is done only to be
// interrupted earlier than it already will be: an interrupt too many costs no more.
type Timer struct {
	_        [0]func() // not comparable: no function is made for it
	clock    clock
	apic     *localAPIC
	deadline bool   // the timer takes a time-stamp counter value
	hz       uint64 // else its frequency

	slice, alarm uint64 // microseconds, 0: none
	armed        uint64 // when the hardware will interrupt, 0: it will not
	client       hil.AlarmClient

	// While clock is not set, the counters at the start of its measurement.
	measureTSC   uint64
	measureCount uint32
}

// startMeasuring starts the measurement of the time-stamp counter that Now ends.
func (t *Timer) startMeasuring() {
	t.apic.write(apicInitialCount, 1<<32-1)
	t.measureCount, t.measureTSC = t.apic.read(apicCurrentCount), rdtsc()
}

// measure waits until the measurement has lasted for measureMicros and returns the
// time-stamp counter's frequency.
func (t *Timer) measure() uint64 {
	const measureMicros = 50 // reading both counters takes an emulator less than 1
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
	const vector = vectorLine0 + LineTimer
	if t.deadline {
		t.apic.write(apicTimer, vector|apicTSCDeadline)
		return
	}
	t.apic.write(apicInitialCount, 0)
	t.apic.write(apicTimer, vector)
}

// Now implements hil.Time: microseconds since boot.
func (t *Timer) Now() uint64 {
	if t.clock.hz == 0 {
		t.start(t.measure())
	}
	return t.clock.micros(rdtsc())
}

// Cycles implements hil.CycleCounter: the time-stamp counter.
func (t *Timer) Cycles() uint64 { return rdtsc() }

// CyclesAt implements hil.CycleCounter.
func (t *Timer) CyclesAt(micros uint64) uint64 { return t.clock.tsc(micros) }

// Frequency implements hil.Time.
func (t *Timer) Frequency() uint32 { return microsecond }

// SetAlarmClient implements hil.Alarm.
func (t *Timer) SetAlarmClient(client hil.AlarmClient) { t.client = client }

// SetAlarm implements hil.Alarm.
func (t *Timer) SetAlarm(deadline uint64) {
	t.alarm = max(deadline, 1)
	t.arm()
}

// Disarm implements hil.Alarm.
func (t *Timer) Disarm() { t.alarm = 0 }

// setSlice sets the end of the running task's slice, 0 for none.
func (t *Timer) setSlice(deadline uint64) {
	t.slice = deadline
	t.arm()
}

// next is the earlier deadline, 0 if there is none.
func (t *Timer) next() uint64 {
	if t.alarm == 0 || t.slice != 0 && t.slice < t.alarm {
		return t.slice
	}
	return t.alarm
}

// arm sets the hardware if it would interrupt too late.
func (t *Timer) arm() {
	next := t.next()
	if next == 0 || t.armed != 0 && t.armed <= next {
		return
	}
	t.armed = next
	now := t.Now() // this also starts a timer that waits for its clock to be measured
	if t.deadline {
		wrmsr(msrTSCDeadline, t.clock.tsc(next))
		return
	}
	const longest = 1<<32 - 1 // it interrupts too early, and is armed again
	wait := next - min(next, now)
	t.apic.write(apicInitialCount, uint32(min(ticks(wait, t.hz)+1, longest)))
}

// Interrupt serves LineTimer.
func (t *Timer) Interrupt() {
	now := t.Now()
	t.armed = 0
	if t.slice <= now {
		t.slice = 0 // the kernel looks at the time itself
	}
	if t.alarm != 0 && t.alarm <= now {
		t.alarm = 0
		if t.client != nil {
			t.client.AlarmFired()
		}
	}
	t.arm()
}
