// Package aes is driver 0x40006: tasks' buffers encrypted and decrypted by AES-128. Numbers and answers are Tock's
// (capsules/extra/src/symmetric_encryption/aes.rs). What a task's message has come to lies in its grant, so that tasks take turns, a piece
// each, also between the parts of a message.
package aes

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists          = 0
	setAlgorithm    = 1 // a0; encrypts unless a1 is 0
	setup           = 2 // begins a message with the source buffer's bytes
	crypt           = 3 // goes on with it
	finish          = 4
	setAuthOffset   = 5 // a0, as the next three
	setOffset       = 6
	setTagSize      = 7
	setConfidential = 8
)

// Subscribe and allow numbers.
const (
	crypted     = 0 // status, bytes of the source, 1 if the tag is right
	key         = 0 // read-only, as the next two
	iv          = 1
	source      = 2
	destination = 0 // read-write
)

// algorithm is what a task chooses with setAlgorithm.
type algorithm uint8

const (
	ctr algorithm = iota
	cbc
	ecb
	ccm
	gcm // which the driver does not have
	algorithms
)

const pieceSize = 512

// AES is the driver.
type AES struct {
	engine  hil.AES
	grant   kernel.Grant[request]
	busy    bool
	asker   kernel.TaskID // for whom the engine works, while busy
	tickets uint64        // turns ever waited for

	message hil.AESMessage // what the engine has, while busy, as the next
	piece   [pieceSize]byte
	length  int    // of what of the task's is in the piece
	second  bool   // the piece was worked on once, and is again
	served  uint64 // the ticket of the request that it is of
}

// request is what a task asked for, and its message.
type request struct {
	ticket     uint64 // order of turns; 0: nothing is asked for
	chosen     bool   // the next two
	algorithm  algorithm
	encrypt    bool
	parameters parameters

	offset  uint64 // in the source, of what is worked on next
	open    bool   // a message goes on
	message hil.AESMessage
	ccm     ccmMessage
}

// Init ties the driver to its engine, of which it is the only client.
func (a *AES) Init(k *kernel.Kernel, engine hil.AES, c capability.MemoryAllocation) {
	a.engine = engine
	a.grant.Init(k, abi.DriverAES, kernel.SlotCounts{Upcalls: crypted + 1, ReadOnly: source + 1, ReadWrite: destination + 1,
		Ends: kernel.EndsFailed(crypted)}, c)
	engine.SetAESClient(a)
}

// Slots implements kernel.Driver.
func (a *AES) Slots() *kernel.Slots { return a.grant.Slots() }

// Command implements kernel.Driver.
func (a *AES) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch {
	case command == exists:
		return kernel.Done()
	case command > setConfidential || command == setAlgorithm && a0 >= uint32(algorithms):
		return kernel.Failed(abi.NOSUPPORT)
	}
	why := abi.OK
	e := a.grant.Enter(id, func(q *request, task *kernel.TaskData) { why = a.command(q, task, command, a0, a1) })
	if e != abi.OK {
		return kernel.Failed(e)
	}
	a.serveOldest()
	return kernel.Outcome(why)
}

func (a *AES) command(q *request, task *kernel.TaskData, command, a0, a1 uint32) abi.ErrorCode {
	switch command {
	case setAlgorithm:
		q.algorithm, q.encrypt, q.chosen = algorithm(a0), a1 != 0, true
	case setup:
		return a.setup(q, task)
	case crypt:
		return a.goOn(q, task)
	case finish:
		if !q.open {
			return abi.OFF
		}
		q.forget()
	case setAuthOffset:
		q.parameters.authOffset = a0
	case setOffset:
		q.parameters.offset = a0
	case setTagSize:
		q.parameters.tagSize = a0
	case setConfidential:
		q.parameters.plain = a0 == 0
	}
	return abi.OK
}

// setup begins a message, by the key and vector that the task's buffers have.
func (a *AES) setup(q *request, task *kernel.TaskData) abi.ErrorCode {
	switch {
	case q.ticket != 0:
		return abi.NOMEM
	case !q.chosen:
		return abi.INVAL
	case q.algorithm == gcm:
		return abi.NOSUPPORT
	}
	e := a.begin(q, task)
	q.open = e == abi.OK
	if !q.open {
		q.forget()
	}
	return e
}

// begin begins a message that can be one.
func (a *AES) begin(q *request, task *kernel.TaskData) abi.ErrorCode {
	q.forget()
	m := &q.message
	if task.ReadOnly(key).ReadAt(m.Key[:], 0) < len(m.Key) {
		return abi.INVAL
	}
	m.Decrypt = !q.encrypt
	vector, wanted := task.ReadOnly(iv).ReadAt(m.Chain[:], 0), len(m.Chain)
	switch q.algorithm {
	case ctr:
		m.Mode = hil.AESCTR
	case cbc:
		m.Mode = hil.AESCBC
	case ecb:
		m.Mode, wanted = hil.AESECB, 0
	case ccm:
		wanted = nonceSize
	}
	switch {
	case vector < wanted:
		return abi.INVAL
	case q.algorithm == ccm:
		return a.takeCCM(q, task)
	}
	return a.take(q, task)
}

// goOn goes on with a message.
func (a *AES) goOn(q *request, task *kernel.TaskData) abi.ErrorCode {
	switch {
	case !q.open:
		return abi.OFF
	case q.ticket != 0:
		return abi.NOMEM
	case q.isCCM():
		return abi.NOSUPPORT // its message is one buffer
	}
	return a.take(q, task)
}

// take makes a request for what the source buffer has wait for its turn.
func (a *AES) take(q *request, task *kernel.TaskData) abi.ErrorCode {
	if q.message.Mode != hil.AESCTR && task.ReadOnly(source).Len()%hil.AESBlockSize != 0 {
		return abi.INVAL
	}
	q.offset, q.ticket = 0, a.ticket()
	return abi.OK
}

// forget forgets the message, and what was asked for it.
func (q *request) forget() {
	q.ticket, q.open = 0, false
	q.message = hil.AESMessage{}
	q.ccm = ccmMessage{}
}

// ticket is the next turn's.
func (a *AES) ticket() uint64 {
	a.tickets++
	return a.tickets
}

// serveOldest has the engine, if it is free, do the next piece of work for the task that waits longest for its turn.
func (a *AES) serveOldest() {
	for !a.busy {
		id, ticket := a.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		a.asker = id
		a.grant.Enter(id, a.serve)
	}
}

// serve begins the next piece of work.
func (a *AES) serve(q *request, task *kernel.TaskData) {
	a.served, a.second = q.ticket, false
	if q.isCCM() {
		a.start(q, task, a.prepareCCM(q, task))
		return
	}
	a.length = task.ReadOnly(source).ReadAt(a.piece[:], q.offset)
	if a.length == 0 {
		a.end(q, task, abi.OK, 0)
		return
	}
	a.message = q.message
	a.start(q, task, a.length)
}

// start has the engine work on the first n bytes of the piece.
func (a *AES) start(q *request, task *kernel.TaskData, n int) {
	e := a.engine.CryptAES(&a.message, a.piece[:n])
	a.busy = e == abi.OK
	if !a.busy {
		a.end(q, task, e, 0)
	}
}

// AESDone implements hil.AESClient.
func (a *AES) AESDone(_ *hil.AESMessage, _ []byte, e abi.ErrorCode) {
	if !a.busy {
		return
	}
	a.busy = false
	a.grant.Enter(a.asker, func(q *request, task *kernel.TaskData) {
		switch {
		case q.ticket != a.served: // the task finished it meanwhile
		case e != abi.OK:
			a.end(q, task, e, 0)
		case q.isCCM():
			a.goOnCCM(q, task)
		default:
			q.message = a.message
			a.deliver(q, task)
		}
	})
	if !a.busy {
		a.message = hil.AESMessage{}
		clear(a.piece[:])
		a.serveOldest()
	}
}

// deliver gives the task what was made of its bytes, as far as its buffer has room, and makes what is behind them wait for its turn.
func (a *AES) deliver(q *request, task *kernel.TaskData) {
	task.ReadWrite(destination).WriteAt(a.piece[:a.length], q.offset)
	q.offset += uint64(a.length)
	q.ticket = a.ticket()
}

// end ends a request and tells the task.
func (a *AES) end(q *request, task *kernel.TaskData, e abi.ErrorCode, right uint32) {
	done := uint32(q.offset)
	if e != abi.OK {
		done = 0
	}
	q.ticket = 0
	task.ScheduleUpcall(crypted, e.Status(), done, right)
}
