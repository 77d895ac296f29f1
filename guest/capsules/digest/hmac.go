package digest

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands of driver 0x40003. There is none that only asks whether it is there: command 0 with 0 succeeds.
const (
	hmacSetAlgorithm = 0 // a0
	hmacRun          = 1
	hmacUpdate       = 2
	hmacFinish       = 3
	hmacVerify       = 4
	hmacVerifyFinish = 5
)

// Allow numbers of driver 0x40003.
const (
	hmacKey     = 0 // read-only, as the next two
	hmacData    = 1
	hmacCompare = 2
	hmacDigest  = 2 // read-write
)

// hmacAlgorithms is how many algorithms Tock knows by number. The engine has the first three; that it lacks one is told when it is to be used.
const hmacAlgorithms = 6

// HMAC is driver 0x40003: keyed digests.
type HMAC struct {
	worker
	key [maxKey]byte // while a message is started
}

// Init ties the driver to its engine, of which it is the only client.
func (h *HMAC) Init(k *kernel.Kernel, engine hil.Digest, c capability.MemoryAllocation) {
	h.init(k, abi.DriverHMAC, kernel.SlotCounts{Upcalls: verified + 1, ReadOnly: hmacCompare + 1, ReadWrite: hmacDigest + 1,
		Ends: kernel.EndsFailed(hashed) | kernel.EndsFailed(verified)},
		buffers{data: hmacData, compare: hmacCompare, digest: hmacDigest}, engine, c)
}

// Command implements kernel.Driver.
func (h *HMAC) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	return kernel.Outcome(h.command(id, command, a0))
}

func (h *HMAC) command(id kernel.TaskID, command, a0 uint32) abi.ErrorCode {
	switch command {
	case hmacSetAlgorithm:
		return h.setAlgorithm(id, a0)
	case hmacRun:
		return h.ask(id, give, h.start)
	case hmacUpdate:
		return h.ask(id, goOn, h.startOrGoOn)
	case hmacFinish:
		return h.ask(id, give, end)
	case hmacVerify:
		return h.ask(id, compare, h.start)
	case hmacVerifyFinish:
		return h.ask(id, compare, end)
	}
	return abi.NOSUPPORT
}

// setAlgorithm sets what the task's next message is hashed by.
func (h *HMAC) setAlgorithm(id kernel.TaskID, algorithm uint32) abi.ErrorCode {
	if algorithm >= hmacAlgorithms {
		return abi.NOSUPPORT
	}
	return h.grant.Enter(id, func(q *request, _ *kernel.TaskData) { q.next, q.chosen = hil.DigestAlgorithm(algorithm), true })
}

// start starts a message, with the key that the task's buffer has.
func (h *HMAC) start(q *request, task *kernel.TaskData) abi.ErrorCode {
	key := task.ReadOnly(hmacKey)
	switch {
	case !q.chosen:
		return abi.INVAL
	case key.Len() > maxKey:
		return abi.SIZE
	}
	q.open = false
	e := h.engine.StartHMAC(&q.message, q.next, h.key[:key.ReadAt(h.key[:], 0)])
	clear(h.key[:])
	return e
}

// startOrGoOn goes on with a message that an update left, or starts one.
func (h *HMAC) startOrGoOn(q *request, task *kernel.TaskData) abi.ErrorCode {
	if q.open {
		return abi.OK
	}
	return h.start(q, task)
}

// end ends a message that an update left: nothing is added to it.
func end(q *request, _ *kernel.TaskData) abi.ErrorCode {
	if !q.open {
		return abi.OFF
	}
	q.added = true
	return abi.OK
}
