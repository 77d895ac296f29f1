package nonvolatile

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// sized is the subscribe number of driver 0x50004 for the size.
const sized = 0

// Isolated is driver 0x50004. Its upcalls are SN 0, the size, 1, read, and 2, written: status, bytes, 0. A size has its high word
// behind the low one.
type Isolated struct{ front }

func (d *Isolated) init(s *Server, c capability.MemoryAllocation) {
	d.front.init(s, abi.DriverIsolatedNonvolatile, sized+1, kernel.EndsFailed(sized)|kernel.EndsFailed(sized+1)|kernel.EndsFailed(sized+2), c)
	d.status = true
}

// Command implements kernel.Driver. A read and a write take an offset, a0 its low word, a1 its high one; they are about the whole
// buffer.
func (d *Isolated) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	if command == exists {
		return kernel.Done()
	}
	owner, ok := d.owner(id, command)
	if command > write || !ok {
		return kernel.Failed(abi.NOSUPPORT)
	}
	asked := request{owner: owner, writes: command == write, offset: uint64(a1)<<32 | uint64(a0)}
	return kernel.Outcome(d.ask(id, command, &asked))
}

// ask begins a request of a task. It returns abi.BUSY while another goes on. What else is wrong, its upcall tells.
func (d *Isolated) ask(id kernel.TaskID, command uint32, asked *request) abi.ErrorCode {
	busy := false
	e := d.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		busy = q.ticket != 0
		switch {
		case busy:
		case command == size:
			d.tellSize(task, d.size(asked.owner))
		default:
			asked.length = asked.room(task)
			d.beginChecked(q, task, asked)
		}
	})
	if busy {
		e = abi.BUSY
	}
	d.server.serve()
	return e
}

// tellSize tells how many bytes the task's region has, or abi.NOMEM if there is no room for it.
func (d *Isolated) tellSize(task *kernel.TaskData, n uint64) {
	e := abi.OK
	if n == 0 {
		e = abi.NOMEM
	}
	task.ScheduleUpcall(sized, e.Status(), uint32(n), uint32(n>>32))
}

// beginChecked begins a request, or ends it with abi.RESERVE without a buffer, abi.NOMEM if there is no room for a region, or
// abi.INVAL for bytes that are not in it.
func (d *Isolated) beginChecked(q *request, task *kernel.TaskData, asked *request) {
	e := d.check(asked)
	if asked.length == 0 {
		e = abi.RESERVE
	}
	if e != abi.OK {
		*q = *asked
		d.finish(q, task, e)
		return
	}
	d.begin(q, task, asked)
}
