// Package buzzer is driver 0x90000: tones for tasks. Commands and errors are Tock's (capsules/extra/src/buzzer_driver.rs). Tasks whose
// tones have to wait take turns.
package buzzer

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists  = 0
	buzz    = 1 // frequency a0 in hertz, a1 milliseconds, when the buzzer is free
	buzzNow = 2 // likewise, at once
	stop    = 3
)

const (
	done            = 0    // subscribe number: status
	maxMilliseconds = 5000 // of a tone
)

// Buzzer is the driver.
type Buzzer struct {
	buzzer  hil.Buzzer
	grant   kernel.Grant[request]
	busy    bool
	owner   kernel.TaskID // whose tone goes on, while busy
	tickets uint64        // turns ever waited for
}

// request is a tone that waits for its turn, and whether the task has one that goes on or waits.
type request struct {
	pending                 kernel.Pending
	ticket                  uint64 // order of turns; 0: nothing waits
	frequency, milliseconds uint32
}

// Init ties the driver to its buzzer, of which it is the only client.
func (b *Buzzer) Init(k *kernel.Kernel, buzzer hil.Buzzer, c capability.MemoryAllocation) {
	b.buzzer = buzzer
	b.grant.Init(k, abi.DriverBuzzer, kernel.SlotCounts{Upcalls: done + 1, Ends: kernel.EndsFailed(done)}, c)
	buzzer.SetBuzzerClient(b)
}

// Slots implements kernel.Driver.
func (b *Buzzer) Slots() *kernel.Slots { return b.grant.Slots() }

// Command implements kernel.Driver.
func (b *Buzzer) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case buzz:
		return kernel.Outcome(b.enqueue(id, a0, min(a1, maxMilliseconds)))
	case buzzNow:
		return kernel.Outcome(b.now(id, a0, a1))
	case stop:
		return kernel.Outcome(b.stop(id))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// now begins a tone, in the place of the same task's that goes on.
func (b *Buzzer) now(id kernel.TaskID, frequency, milliseconds uint32) abi.ErrorCode {
	if b.busy && b.owner != id {
		return abi.RESERVE
	}
	if e := b.grant.Enter(id, func(q *request, _ *kernel.TaskData) { q.pending = 1 << done }); e != abi.OK {
		return e
	}
	e := b.buzzer.Buzz(frequency, milliseconds)
	if e == abi.OK {
		b.busy, b.owner = true, id
	}
	if !b.busy {
		b.grant.Enter(id, settle)
	}
	return e
}

// settle notes that no tone of the task goes on.
func settle(q *request, _ *kernel.TaskData) {
	if q.ticket == 0 {
		q.pending = 0
	}
}

// enqueue begins a tone, or has it wait while one goes on. One of each task may wait.
func (b *Buzzer) enqueue(id kernel.TaskID, frequency, milliseconds uint32) abi.ErrorCode {
	if !b.busy {
		return b.now(id, frequency, milliseconds)
	}
	full := false
	e := b.grant.Enter(id, func(q *request, _ *kernel.TaskData) {
		if full = q.ticket != 0; !full {
			b.tickets++
			*q = request{1 << done, b.tickets, frequency, milliseconds}
		}
	})
	if e == abi.OK && full {
		return abi.NOMEM
	}
	return e
}

// stop ends the task's tone.
func (b *Buzzer) stop(id kernel.TaskID) abi.ErrorCode {
	switch {
	case !b.busy:
		return abi.OFF
	case b.owner != id:
		return abi.RESERVE
	}
	return b.buzzer.Stop()
}

// BuzzerDone implements hil.BuzzerClient.
func (b *Buzzer) BuzzerDone(e abi.ErrorCode) {
	if !b.busy {
		return
	}
	b.busy = false
	b.grant.Enter(b.owner, settle)
	b.grant.Slots().ScheduleUpcall(b.owner, done, e.Status(), 0, 0)
	b.serveOldest()
}

// serveOldest begins the tone that waits longest. One that cannot be made ends with its error.
func (b *Buzzer) serveOldest() {
	for !b.busy {
		id, ticket := b.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		var r request
		b.grant.Enter(id, func(q *request, _ *kernel.TaskData) { r, *q = *q, request{} })
		if e := b.now(id, r.frequency, r.milliseconds); e != abi.OK {
			b.grant.Slots().ScheduleUpcall(id, done, e.Status(), 0, 0)
		}
	}
}
