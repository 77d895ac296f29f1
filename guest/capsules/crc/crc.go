// Package crc is driver 0x40002: checksums of tasks' buffers. Numbers and answers are Tock's (capsules/extra/src/crc.rs). Tasks that ask
// take turns, a piece each.
package crc

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists  = 0
	compute = 1 // algorithm a0, of bytes a1
)

const (
	computed  = 0 // subscribe number: status, checksum, algorithm
	buffer    = 0 // read-only allow number
	pieceSize = 1024
)

// CRC is the driver.
type CRC struct {
	engine  hil.CRC
	grant   kernel.Grant[request]
	piece   [pieceSize]byte // what the engine has
	busy    bool
	asker   kernel.TaskID // whose piece it is, while busy
	tickets uint64        // turns ever waited for
}

// request is what a task asked for.
type request struct {
	ticket    uint64 // order of turns; 0: nothing is asked for
	length    uint64
	done      uint64
	sum       uint32 // of what is done
	algorithm hil.CRCAlgorithm
}

// Init ties the driver to its engine, of which it is the only client.
func (c *CRC) Init(k *kernel.Kernel, engine hil.CRC, memory capability.MemoryAllocation) {
	c.engine = engine
	c.grant.Init(k, abi.DriverCRC, kernel.SlotCounts{Upcalls: computed + 1, ReadOnly: buffer + 1, Ends: kernel.EndsFailed(computed)}, memory)
	engine.SetCRCClient(c)
}

// Slots implements kernel.Driver.
func (c *CRC) Slots() *kernel.Slots { return c.grant.Slots() }

// Command implements kernel.Driver.
func (c *CRC) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch {
	case command == exists:
		return kernel.Done()
	case command != compute:
		return kernel.Failed(abi.NOSUPPORT)
	case a0 >= uint32(hil.CRCAlgorithms):
		return kernel.Failed(abi.INVAL)
	}
	return kernel.Outcome(c.ask(id, hil.CRCAlgorithm(a0), uint64(a1)))
}

// ask takes a request, if it can be one now, and begins it if its turn has come.
func (c *CRC) ask(id kernel.TaskID, algorithm hil.CRCAlgorithm, length uint64) abi.ErrorCode {
	why := abi.OK
	e := c.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		switch {
		case q.ticket != 0:
			why = abi.BUSY
		case length == 0 || length > task.ReadOnly(buffer).Len():
			why = abi.SIZE
		default:
			*q = request{ticket: c.ticket(), length: length, sum: c.engine.EmptyCRC(algorithm), algorithm: algorithm}
		}
	})
	if e != abi.OK {
		return e
	}
	c.serveOldest()
	return why
}

// ticket is the next turn's.
func (c *CRC) ticket() uint64 {
	c.tickets++
	return c.tickets
}

// serveOldest has the engine, if it is free, do a piece for the task that waits longest for its turn.
func (c *CRC) serveOldest() {
	for !c.busy {
		id, ticket := c.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		c.asker = id
		c.grant.Enter(id, c.begin)
	}
}

// begin begins the next piece. A request is done where its buffer ends by now.
func (c *CRC) begin(q *request, task *kernel.TaskData) {
	n := task.ReadOnly(buffer).ReadAt(c.piece[:min(q.length-q.done, pieceSize)], q.done)
	if n == 0 {
		finish(q, task, abi.OK)
		return
	}
	e := c.engine.AddToCRC(q.algorithm, q.sum, c.piece[:n])
	c.busy = e == abi.OK
	if !c.busy {
		finish(q, task, e)
	}
}

// CRCDone implements hil.CRCClient.
func (c *CRC) CRCDone(data []byte, sum uint32, e abi.ErrorCode) {
	if !c.busy {
		return
	}
	c.busy = false
	c.grant.Enter(c.asker, func(q *request, task *kernel.TaskData) {
		q.ticket = c.ticket()
		q.done += uint64(len(data))
		q.sum = sum
		if e != abi.OK || q.done >= q.length {
			finish(q, task, e)
		}
	})
	c.serveOldest()
}

// finish ends a request and tells the task the checksum.
func finish(q *request, task *kernel.TaskData, e abi.ErrorCode) {
	sum, algorithm := q.sum, uint32(q.algorithm)
	if e != abi.OK {
		sum, algorithm = 0, 0
	}
	*q = request{}
	task.ScheduleUpcall(computed, e.Status(), sum, algorithm)
}
