// Package digest is the drivers 0x40005 and 0x40003: SHA-2 digests of tasks' buffers, and HMACs of them. Numbers and answers are Tock's
// (capsules/extra/src/sha256_driver.rs and hmac.rs). What a task's message has come to lies in its grant, so that tasks take turns, a
// piece each, also between the parts of a message.
package digest

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

const (
	pieceSize = 512
	maxKey    = 256
)

// Subscribe numbers.
const (
	hashed   = 0 // status, 0, 0
	verified = 1 // status, 1 if they are equal, 0
)

// worker is what both drivers are: who serves requests.
type worker struct {
	engine  hil.Digest
	buffers buffers
	grant   kernel.Grant[request]
	busy    bool
	asker   kernel.TaskID // for whom the engine works, while busy
	tickets uint64        // turns ever waited for

	message hil.DigestMessage // what the engine has, while busy, as the next two
	piece   [pieceSize]byte
	sum     [hil.MaxDigest]byte
}

// buffers are a driver's allow numbers.
type buffers struct {
	data    uint32 // read-only
	compare uint32 // read-only: what the digest is to be
	digest  uint32 // read-write
	whole   bool   // the digest's buffer has just its size
}

// request is what a task asked for, and its message.
type request struct {
	pending kernel.Pending
	ticket  uint64 // order of turns; 0: nothing is asked for
	offset  uint64 // in the buffer, of what is added next
	goal    goal
	added   bool // all of the buffer
	chosen  bool // the algorithm
	open    bool // the message goes on behind an update
	next    hil.DigestAlgorithm
	message hil.DigestMessage
}

// goal is what a request is for.
type goal uint8

const (
	goOn    goal = iota // to add to the message
	give                // and to give its digest
	compare             // and to compare its digest
)

// told is the subscribe number for a request's end.
func (g goal) told() uint32 {
	if g == compare {
		return verified
	}
	return hashed
}

// init ties a driver to its engine, of which it is the only client.
func (w *worker) init(k *kernel.Kernel, number uint32, counts kernel.SlotCounts, b buffers, engine hil.Digest, c capability.MemoryAllocation) {
	w.engine, w.buffers = engine, b
	w.grant.Init(k, number, counts, c)
	engine.SetDigestClient(w)
}

// Slots implements kernel.Driver.
func (w *worker) Slots() *kernel.Slots { return w.grant.Slots() }

// ask takes a request, if start says that it can be one, and begins it if its turn has come.
func (w *worker) ask(id kernel.TaskID, g goal, start func(q *request, task *kernel.TaskData) abi.ErrorCode) abi.ErrorCode {
	why := abi.NOMEM
	e := w.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		if q.ticket != 0 {
			return
		}
		q.offset, q.added = 0, false
		if why = start(q, task); why == abi.OK {
			q.goal, q.ticket, q.pending = g, w.ticket(), 1<<g.told()
		}
	})
	if e != abi.OK {
		return e
	}
	w.serveOldest()
	return why
}

// ticket is the next turn's.
func (w *worker) ticket() uint64 {
	w.tickets++
	return w.tickets
}

// serveOldest has the engine, if it is free, do the next piece of work for the task that waits longest for its turn.
func (w *worker) serveOldest() {
	for !w.busy {
		id, ticket := w.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		w.asker = id
		w.grant.Enter(id, w.begin)
	}
}

// begin begins the next piece of work: to add what the buffer has, and behind its end to make the digest.
func (w *worker) begin(q *request, task *kernel.TaskData) {
	n := 0
	if !q.added {
		n = task.ReadOnly(w.buffers.data).ReadAt(w.piece[:], q.offset)
	}
	if n == 0 && q.goal == goOn {
		w.finish(q, task, abi.OK)
		return
	}
	w.message = q.message
	var e abi.ErrorCode
	if n != 0 {
		e = w.engine.AddToDigest(&w.message, w.piece[:n])
	} else {
		q.added, q.open = true, false
		e = w.engine.FinishDigest(&w.message, w.sum[:])
	}
	w.busy = e == abi.OK
	if !w.busy {
		w.finish(q, task, e)
	}
}

// DigestDone implements hil.DigestClient.
func (w *worker) DigestDone(_ *hil.DigestMessage, bytes []byte, e abi.ErrorCode) {
	if !w.busy {
		return
	}
	w.busy = false
	w.grant.Enter(w.asker, func(q *request, task *kernel.TaskData) {
		q.ticket = w.ticket()
		if e != abi.OK || q.added {
			w.finish(q, task, e)
			return
		}
		q.message = w.message
		q.offset += uint64(len(bytes))
	})
	w.message = hil.DigestMessage{}
	clear(w.piece[:])
	clear(w.sum[:])
	w.serveOldest()
}

// finish ends a request and tells the task. What the message was is forgotten, unless it goes on.
func (w *worker) finish(q *request, task *kernel.TaskData, e abi.ErrorCode) {
	q.ticket, q.pending = 0, 0
	q.open = q.goal == goOn && e == abi.OK
	value := uint32(0)
	if e == abi.OK {
		value, e = w.deliver(q, task)
	}
	if !q.open {
		q.message = hil.DigestMessage{}
	}
	task.ScheduleUpcall(q.goal.told(), e.Status(), value, 0)
}

// deliver gives the task its digest, or compares it. It returns the upcall's second argument.
func (w *worker) deliver(q *request, task *kernel.TaskData) (value uint32, e abi.ErrorCode) {
	digest := w.sum[:q.message.Algorithm.Size()]
	switch q.goal {
	case give:
		to := task.ReadWrite(w.buffers.digest)
		if w.buffers.whole && to.Len() != uint64(len(digest)) {
			return 0, abi.NOMEM
		}
		to.WriteAt(digest, 0)
	case compare:
		var wanted [hil.MaxDigest]byte
		n := task.ReadOnly(w.buffers.compare).ReadAt(wanted[:len(digest)], 0)
		if n == len(digest) && equal(digest, wanted[:n]) {
			value = 1
		}
	}
	return value, abi.OK
}

// equal compares bytes, as many of both, in a time that does not tell where they differ.
func equal(a, b []byte) bool {
	different := byte(0)
	for i := range a {
		different |= a[i] ^ b[i]
	}
	return different == 0
}
