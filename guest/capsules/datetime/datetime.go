// Package datetime is driver 0x90007: tasks read and set a clock with a date. Numbers, words and errors are Tock's
// (capsules/extra/src/date_time.rs). Tasks that ask take turns, so that each gets the end of what it asked for.
package datetime

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists = 0
	get    = 1
	set    = 2 // date a0, time a1
)

const done = 0 // subscribe number: status, date, time; without these two behind a set

// DateTime is the driver.
type DateTime struct {
	clock   hil.DateTime
	grant   kernel.Grant[request]
	busy    bool          // the clock does something for a task
	asker   kernel.TaskID // for whom, while busy
	setting bool          // likewise: it is being set
	tickets uint64        // turns ever waited for
}

// request is what a task asked for.
type request struct {
	ticket     uint64 // order of turns; 0: nothing is asked for
	date, time uint32 // what the clock is to be set to
	sets       bool
}

// Init ties the driver to its clock, of which it is the only client.
func (d *DateTime) Init(k *kernel.Kernel, clock hil.DateTime, c capability.MemoryAllocation) {
	d.clock = clock
	d.grant.Init(k, abi.DriverDateTime, kernel.SlotCounts{Upcalls: done + 1, Ends: kernel.EndsFailed(done)}, c)
	clock.SetDateTimeClient(d)
}

// Slots implements kernel.Driver.
func (d *DateTime) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *DateTime) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case get:
		return kernel.Outcome(d.ask(id, request{}))
	case set:
		if _, ok := unpack(a0, a1); !ok {
			return kernel.Failed(abi.INVAL)
		}
		return kernel.Outcome(d.ask(id, request{date: a0, time: a1, sets: true}))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// ask does what a task asks for, or has it wait for its turn. Who reads already gets one answer for both; it returns abi.BUSY of
// anything else that is asked for while the task's last request goes on.
func (d *DateTime) ask(id kernel.TaskID, asked request) abi.ErrorCode {
	d.tickets++
	asked.ticket = d.tickets
	result := abi.OK
	e := d.grant.Enter(id, func(q *request, _ *kernel.TaskData) {
		switch {
		case q.ticket == 0:
			*q = asked
		case q.sets || asked.sets:
			result = abi.BUSY
		}
	})
	switch {
	case e != abi.OK:
		return e
	case result != abi.OK || d.busy:
		return result
	}
	return d.begin(id)
}

// begin has the clock, which is free, do what a task asked for. If that fails nothing is asked for any more.
func (d *DateTime) begin(id kernel.TaskID) abi.ErrorCode {
	var asked request
	d.grant.Enter(id, func(q *request, _ *kernel.TaskData) { asked = *q })
	d.busy, d.asker, d.setting = true, id, asked.sets
	e := abi.OK
	if asked.sets {
		v, _ := unpack(asked.date, asked.time)
		e = d.clock.SetDateTime(v)
	} else {
		e = d.clock.GetDateTime()
	}
	if e != abi.OK {
		d.busy = false
		d.grant.Enter(id, func(q *request, _ *kernel.TaskData) { *q = request{} })
	}
	return e
}

// GetDateTimeDone implements hil.DateTimeClient.
func (d *DateTime) GetDateTimeDone(v hil.DateTimeValues, e abi.ErrorCode) {
	if !d.busy || d.setting {
		return
	}
	var date, time uint32
	if e == abi.OK {
		date, time = pack(v)
	}
	d.finish(e, date, time)
}

// SetDateTimeDone implements hil.DateTimeClient.
func (d *DateTime) SetDateTimeDone(e abi.ErrorCode) {
	if d.busy && d.setting {
		d.finish(e, 0, 0)
	}
}

// finish ends the request that the clock was busy with, and begins that of the task that waits longest.
func (d *DateTime) finish(e abi.ErrorCode, date, time uint32) {
	d.busy = false
	d.tell(d.asker, e, date, time)
	for !d.busy {
		id, ticket := d.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		if e := d.begin(id); e != abi.OK {
			d.tell(id, e, 0, 0)
		}
	}
}

// tell has a task, if it is still there, know the end of its request.
func (d *DateTime) tell(id kernel.TaskID, e abi.ErrorCode, date, time uint32) {
	d.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		*q = request{}
		task.ScheduleUpcall(done, e.Status(), date, time)
	})
}

// Bits of the two words of a date, from the lowest on: day 5, month 4, year 12; second 6, minute 6, hour 5, day of the week 3. What stands
// above is ignored.
func pack(v hil.DateTimeValues) (date, time uint32) {
	return uint32(v.Year)<<9 | uint32(v.Month)<<5 | uint32(v.Day),
		uint32(v.DayOfWeek)<<17 | uint32(v.Hour)<<12 | uint32(v.Minute)<<6 | uint32(v.Second)
}

// unpack reports false for words that Tock's driver refuses. What it lets pass need not be a date: that is for the clock to say.
func unpack(date, time uint32) (v hil.DateTimeValues, ok bool) {
	v = hil.DateTimeValues{
		Year: uint16(date >> 9 & 0xfff), Month: uint8(date >> 5 & 0xf), Day: uint8(date & 0x1f),
		DayOfWeek: uint8(time >> 17 & 7), Hour: uint8(time >> 12 & 0x1f), Minute: uint8(time >> 6 & 0x3f), Second: uint8(time & 0x3f),
	}
	return v, v.Month >= 1 && v.Month <= 12 && v.DayOfWeek <= 6 && v.Hour <= 24 && v.Minute <= 60 && v.Second <= 60
}
