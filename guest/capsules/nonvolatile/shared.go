package nonvolatile

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Shared is driver 0x50001. Its upcalls are SN 0, read, and 1, written: bytes, 0, 0. (Tock's has one space for all tasks.)
type Shared struct{ front }

func (d *Shared) init(s *Server, c capability.MemoryAllocation) {
	d.front.init(s, abi.DriverNonvolatileStorage, 0, kernel.EndsEmpty(0)|kernel.EndsEmpty(1), c)
}

// Command implements kernel.Driver. A read and a write take offset a0 and length a1.
func (d *Shared) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	if command == exists {
		return kernel.Done()
	}
	owner, ok := d.owner(id, command)
	switch {
	case command > write || !ok:
		return kernel.Failed(abi.NOSUPPORT)
	case command == size:
		n := d.size(owner)
		if n == 0 {
			return kernel.Failed(abi.NOMEM)
		}
		return kernel.Value(uint32(min(n, 1<<32-1)))
	}
	asked := request{owner: owner, writes: command == write, offset: uint64(a0), length: uint64(a1)}
	return kernel.Outcome(d.ask(id, &asked))
}

// ask begins a request of a task, or of as much as the buffer has. It returns abi.NOMEM while another goes on, or if there is no
// room for a region, abi.INVAL for bytes that are not in it, and abi.RESERVE without a buffer.
func (d *Shared) ask(id kernel.TaskID, asked *request) abi.ErrorCode {
	if e := d.check(asked); e != abi.OK {
		return e
	}
	result := abi.OK
	e := d.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		room := asked.room(task)
		switch {
		case room == 0:
			result = abi.RESERVE
		case q.ticket != 0:
			result = abi.NOMEM
		default:
			asked.length = min(asked.length, room)
			d.begin(q, task, asked)
		}
	})
	d.server.serve()
	if e == abi.OK {
		e = result
	}
	return e
}
