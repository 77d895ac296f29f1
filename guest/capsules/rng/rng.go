// Package rng is driver 0x40001: random bytes for tasks, from a source of entropy. Numbers are Tock's (capsules/core, rng).
// Tasks that ask take turns, a piece each.
package rng

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists = 0
	get    = 1 // bytes a0
)

const (
	gotten    = 0 // subscribe number: status, bytes, 0
	buffer    = 0 // read-write allow number
	pieceSize = 256
)

// RNG is the driver.
type RNG struct {
	source  hil.Entropy
	grant   kernel.Grant[request]
	piece   [pieceSize]byte // what the source fills
	busy    bool
	asker   kernel.TaskID // whose piece it is, while busy
	tickets uint64        // turns ever waited for
}

// request is what a task asked for.
type request struct {
	ticket uint64 // order of turns; 0: nothing is asked for
	length uint64
	filled uint64
}

// Init ties the driver to its source, of which it is the only client.
func (r *RNG) Init(k *kernel.Kernel, source hil.Entropy, c capability.MemoryAllocation) {
	r.source = source
	r.grant.Init(k, abi.DriverRNG, kernel.SlotCounts{Upcalls: gotten + 1, ReadWrite: buffer + 1, Ends: kernel.EndsFailed(gotten)}, c)
	source.SetEntropyClient(r)
}

// Slots implements kernel.Driver.
func (r *RNG) Slots() *kernel.Slots { return r.grant.Slots() }

// Command implements kernel.Driver.
func (r *RNG) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case get:
		return kernel.Outcome(r.get(id, uint64(a0)))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// get begins to fill the task's buffer, or length bytes of it if it has more, in the place of what the task asked for before.
// Nothing is done at once: its upcall says 0 bytes.
func (r *RNG) get(id kernel.TaskID, length uint64) abi.ErrorCode {
	r.tickets++
	e := r.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		*q = request{ticket: r.tickets, length: min(length, task.ReadWrite(buffer).Len())}
		if q.length == 0 {
			finish(q, task, abi.OK)
		}
	})
	if e == abi.OK {
		r.serveOldest()
	}
	return e
}

// serveOldest has the source, if it is free, make a piece for the task that waits longest for its turn.
func (r *RNG) serveOldest() {
	for !r.busy {
		id, ticket := r.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		n := 0
		r.grant.Enter(id, func(q *request, _ *kernel.TaskData) { n = int(min(q.length-q.filled, pieceSize)) })
		r.busy, r.asker = true, id
		if e := r.source.GetEntropy(r.piece[:], n); e != abi.OK {
			r.deliver(0, e)
		}
	}
}

// EntropyDone implements hil.EntropyClient.
func (r *RNG) EntropyDone(_ []byte, n int, e abi.ErrorCode) {
	r.deliver(n, e)
	r.serveOldest()
}

// deliver gives the task the n bytes of its piece, and tells it when its request is done: if it is filled, the source failed,
// or the buffer is not that long any more. No byte is given twice.
func (r *RNG) deliver(n int, e abi.ErrorCode) {
	r.busy = false
	r.tickets++
	r.grant.Enter(r.asker, func(q *request, task *kernel.TaskData) {
		if q.ticket == 0 {
			return
		}
		q.ticket = r.tickets
		wanted := int(min(uint64(n), q.length-q.filled))
		got := task.ReadWrite(buffer).WriteAt(r.piece[:wanted], q.filled)
		q.filled += uint64(got)
		if e != abi.OK || got < wanted || q.filled == q.length {
			finish(q, task, e)
		}
	})
	clear(r.piece[:])
}

// finish ends a request and tells the task how many bytes it got.
func finish(q *request, task *kernel.TaskData, e abi.ErrorCode) {
	filled := uint32(q.filled)
	*q = request{}
	task.ScheduleUpcall(gotten, e.Status(), filled, 0)
}
