// Package alarm is driver 0: an alarm for each task, all on one hardware alarm.
//
// Tasks see 32-bit ticks that wrap; a reference and an interval together mean a point in
// time without doubt, as long as the task asks within one wrap of its reference.
package alarm

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands. Number 4 was dropped by Tock and is not supported.
const (
	exists      = 0
	frequency   = 1 // -> ticks in a second
	now         = 2 // -> ticks
	stop        = 3
	setRelative = 5 // interval a0 -> ticks at expiry
	setAbsolute = 6 // reference a0, interval a1 -> ticks at expiry
)

// fired is the subscribe number: ticks now, ticks at expiry, 0.
const fired = 0

// never is a deadline that does not come.
const never = ^uint64(0)

// Alarm is the driver.
type Alarm struct {
	hardware hil.Alarm
	grant    kernel.Grant[timer]
	next     uint64 // what the hardware is set to
}

// timer is a task's alarm.
type timer struct {
	armed    kernel.Pending
	deadline uint64 // in hardware ticks
	expiry   uint32 // the same as the task knows it
}

// Init ties the driver to the hardware alarm, of which it is the only client.
func (a *Alarm) Init(k *kernel.Kernel, hardware hil.Alarm, c capability.MemoryAllocation) {
	a.hardware = hardware
	a.next = never
	a.grant.Init(k, abi.DriverAlarm, kernel.SlotCounts{Upcalls: fired + 1, Ends: kernel.EndsEmpty(fired)}, c)
	hardware.SetAlarmClient(a)
}

// Slots implements kernel.Driver.
func (a *Alarm) Slots() *kernel.Slots { return a.grant.Slots() }

// Command implements kernel.Driver.
func (a *Alarm) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case frequency:
		return kernel.Value(a.hardware.Frequency())
	case now:
		return kernel.Value(uint32(a.hardware.Now()))
	case stop:
		return a.stop(id)
	case setRelative:
		ticks := a.hardware.Now()
		return a.set(id, ticks, uint32(ticks), a0)
	case setAbsolute:
		return a.set(id, a.hardware.Now(), a0, a1)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// set arms the task's alarm for reference+interval, in place of an earlier one. If that
// has passed, the alarm fires at once. The reference lies in the past: one that seems to
// lie ahead is nearly a wrap old.
func (a *Alarm) set(id kernel.TaskID, ticks uint64, reference, interval uint32) kernel.Result {
	deadline := ticks
	if elapsed := uint32(ticks) - reference; elapsed < interval {
		deadline += uint64(interval - elapsed)
	}
	expiry := reference + interval
	e := a.grant.Enter(id, func(t *timer, _ *kernel.TaskData) {
		*t = timer{armed: 1 << fired, deadline: deadline, expiry: expiry}
	})
	if e != abi.OK {
		return kernel.Failed(e)
	}
	if deadline < a.next {
		a.next = deadline
		a.hardware.SetAlarm(deadline)
	}
	return kernel.Value(expiry)
}

// stop disarms the task's alarm. The hardware may still fire for it, which is harmless.
func (a *Alarm) stop(id kernel.TaskID) kernel.Result {
	was := false
	e := a.grant.Enter(id, func(t *timer, _ *kernel.TaskData) {
		was = t.armed != 0
		t.armed = 0
	})
	if e == abi.OK && !was {
		e = abi.ALREADY
	}
	return kernel.Outcome(e)
}

// Ongoing implements kernel.Resumer: the deadline, and how the task knows it.
func (a *Alarm) Ongoing(id kernel.TaskID) (deadline, expiry uint64, ok bool) {
	a.grant.Enter(id, func(t *timer, _ *kernel.TaskData) {
		deadline, expiry, ok = t.deadline, uint64(t.expiry), t.armed != 0
	})
	return deadline, expiry, ok
}

// Resume implements kernel.Resumer. An alarm whose time has come meanwhile fires at once.
func (a *Alarm) Resume(id kernel.TaskID, deadline, expiry uint64) {
	ticks, left := a.hardware.Now(), uint32(0)
	if deadline > ticks {
		left = uint32(min(deadline-ticks, 1<<32-1))
	}
	a.set(id, ticks, uint32(expiry)-left, left)
}

// AlarmFired implements hil.AlarmClient: it tells every task whose time has come, and
// sets the hardware to the next.
func (a *Alarm) AlarmFired() {
	a.next = never
	ticks := a.hardware.Now()
	a.grant.Each(func(t *timer, task *kernel.TaskData) {
		if t.armed != 0 && t.deadline <= ticks {
			t.armed = 0
			task.ScheduleUpcall(fired, uint32(ticks), t.expiry, 0)
		}
		if t.armed != 0 {
			a.next = min(a.next, t.deadline)
		}
	})
	if a.next != never {
		a.hardware.SetAlarm(a.next)
	}
}
