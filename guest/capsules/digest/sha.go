package digest

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands of driver 0x40005.
const (
	shaExists       = 0
	shaSetAlgorithm = 1 // a0
	shaHash         = 2
)

// Allow numbers of driver 0x40005.
const (
	shaData   = 0 // read-only
	shaDigest = 0 // read-write
)

// SHA is driver 0x40005: digests.
type SHA struct{ worker }

// Init ties the driver to its engine, of which it is the only client.
func (s *SHA) Init(k *kernel.Kernel, engine hil.Digest, c capability.MemoryAllocation) {
	s.init(k, abi.DriverSHA, kernel.SlotCounts{Upcalls: hashed + 1, ReadOnly: shaData + 1, ReadWrite: shaDigest + 1,
		Ends: kernel.EndsFailed(hashed)},
		buffers{data: shaData, digest: shaDigest, whole: true}, engine, c)
}

// Command implements kernel.Driver.
func (s *SHA) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case shaExists:
		return kernel.Done()
	case shaSetAlgorithm:
		return kernel.Outcome(s.setAlgorithm(id, a0))
	case shaHash:
		return kernel.Outcome(s.ask(id, give, func(q *request, _ *kernel.TaskData) abi.ErrorCode {
			return s.engine.StartDigest(&q.message, q.next)
		}))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// setAlgorithm sets what the task's next message is hashed by: SHA-256, unless it says something else.
func (s *SHA) setAlgorithm(id kernel.TaskID, algorithm uint32) abi.ErrorCode {
	if algorithm > uint32(hil.SHA512) {
		return abi.NOSUPPORT
	}
	return s.grant.Enter(id, func(q *request, _ *kernel.TaskData) { q.next = hil.DigestAlgorithm(algorithm) })
}
