// Package console is driver 1: tasks write to and read from a serial line. A write is
// sent whole before the next task's begins; one task reads at a time.
package console

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists    = 0
	write     = 1 // length a0
	read      = 2 // length a0
	abortRead = 3
)

// Subscribe and allow numbers; number 0 is not used.
const (
	wrote       = 1 // upcall: bytes written, 0, 0
	readDone    = 2 // upcall: status, bytes read, 0
	writeBuffer = 1 // read-only
	readBuffer  = 1 // read-write
)

// maxReadBytes is how many bytes a task reads at once at most.
const maxReadBytes = 64

// Console is the driver.
type Console struct {
	line  hil.UART
	grant kernel.Grant[session]

	chunk   []byte // what the line is sending
	busy    bool
	waiting bool          // perhaps: a write waits for the line
	writer  kernel.TaskID // whose chunk it is, while busy
	tickets uint64        // writes ever begun

	input     [1]byte // what the line fills
	listening bool
	reading   bool
	reader    kernel.TaskID // who reads, while reading
	wanted    int
	got       int
	bytes     [maxReadBytes]byte // what was read so far
}

// session is a task's write under way, and whether it reads.
type session struct {
	pending kernel.Pending
	ticket  uint64 // order among all writes; 0: no write
	length  uint64
	sent    uint64
}

// Init ties the driver to its line, of which it is the only client, and gives it memory for what is sent at once.
func (c *Console) Init(k *kernel.Kernel, line hil.UART, chunk []byte, m capability.MemoryAllocation) {
	c.line, c.chunk = line, chunk
	counts := kernel.SlotCounts{Upcalls: readDone + 1, ReadOnly: writeBuffer + 1, ReadWrite: readBuffer + 1,
		Ends: kernel.EndsEmpty(wrote) | kernel.EndsFailed(readDone)}
	c.grant.Init(k, abi.DriverConsole, counts, m)
	line.SetTransmitClient(c)
	line.SetReceiveClient(c)
}

// Slots implements kernel.Driver.
func (c *Console) Slots() *kernel.Slots { return c.grant.Slots() }

// Command implements kernel.Driver.
func (c *Console) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case write:
		return kernel.Outcome(c.write(id, uint64(a0)))
	case read:
		return kernel.Outcome(c.read(id, uint64(a0)))
	case abortRead:
		c.abortRead(id)
		return kernel.Done()
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// write begins to send the task's buffer, or length bytes of it if it has more. It
// returns abi.BUSY while the task's last write goes on. A write of nothing is done at
// once: its upcall says 0 bytes.
func (c *Console) write(id kernel.TaskID, length uint64) abi.ErrorCode {
	c.tickets++
	busy, n := false, 0
	e := c.grant.Enter(id, func(s *session, task *kernel.TaskData) {
		busy = s.ticket != 0
		if busy {
			return
		}
		buffer := task.ReadOnly(writeBuffer)
		length = min(length, buffer.Len())
		if length == 0 {
			task.ScheduleUpcall(wrote, 0, 0, 0)
			return
		}
		*s = session{pending: s.pending | 1<<wrote, ticket: c.tickets, length: length}
		if c.busy || c.waiting {
			c.waiting = true
			return
		}
		n = buffer.ReadAt(c.chunk[:min(length, uint64(len(c.chunk)))], 0)
	})
	switch {
	case e != abi.OK:
		return e
	case busy:
		return abi.BUSY
	case n != 0:
		c.sendChunk(id, n)
	}
	if c.waiting {
		c.sendOldest()
	}
	return abi.OK
}

// sendOldest gives the line, if it is free, the first chunk of the write that waits longest.
func (c *Console) sendOldest() {
	for c.waiting && !c.busy {
		id, ticket := c.grant.Oldest(func(s *session) uint64 { return s.ticket })
		if ticket == 0 {
			c.waiting = false
			return
		}
		n := 0
		c.grant.Enter(id, func(s *session, task *kernel.TaskData) { n = c.fillChunk(s, task) })
		if n != 0 {
			c.sendChunk(id, n)
		}
	}
}

// fillChunk copies the next part of the task's write, and returns how much that is. If nothing is left,
// or the task took its buffer back, the write is done.
func (c *Console) fillChunk(s *session, task *kernel.TaskData) int {
	most := min(s.length-s.sent, uint64(len(c.chunk)))
	n := task.ReadOnly(writeBuffer).ReadAt(c.chunk[:most], s.sent)
	if n == 0 {
		finish(s, task)
	}
	return n
}

// sendChunk gives the line the n bytes of the chunk, which are the task's.
func (c *Console) sendChunk(id kernel.TaskID, n int) {
	if c.line.Transmit(c.chunk, n) != abi.OK {
		c.grant.Enter(id, finish)
		return
	}
	c.busy = true
	c.writer = id
}

// finish ends a write and tells the task how much of it was sent.
func finish(s *session, task *kernel.TaskData) {
	sent := uint32(s.sent)
	*s = session{pending: s.pending &^ (1 << wrote)}
	task.ScheduleUpcall(wrote, sent, 0, 0)
}

// Transmitted implements hil.TransmitClient.
func (c *Console) Transmitted(_ []byte, n int, e abi.ErrorCode) {
	c.busy = false
	next := 0
	c.grant.Enter(c.writer, func(s *session, task *kernel.TaskData) {
		s.sent += uint64(n)
		if e != abi.OK || s.sent == s.length {
			finish(s, task)
			return
		}
		next = c.fillChunk(s, task)
	})
	if next != 0 {
		c.sendChunk(c.writer, next)
	}
	if c.waiting {
		c.sendOldest()
	}
}

// read begins to fill the task's buffer, or length bytes of it if it has more. It returns
// abi.BUSY while a living task reads, abi.SIZE for nothing, abi.INVAL for more than 64.
func (c *Console) read(id kernel.TaskID, length uint64) abi.ErrorCode {
	alive := func(*session, *kernel.TaskData) {}
	if c.reading && c.grant.Enter(c.reader, alive) == abi.OK {
		return abi.BUSY
	}
	var refused abi.ErrorCode
	e := c.grant.Enter(id, func(s *session, task *kernel.TaskData) {
		length = min(length, task.ReadWrite(readBuffer).Len())
		switch {
		case length == 0:
			refused = abi.SIZE
		case length > maxReadBytes:
			refused = abi.INVAL
		default:
			if refused = c.listen(); refused == abi.OK {
				s.pending |= 1 << readDone
			}
		}
	})
	if e == abi.OK {
		e = refused
	}
	if e == abi.OK {
		c.reading, c.reader, c.wanted, c.got = true, id, int(length), 0
	}
	return e
}

// listen makes the line receive a byte.
func (c *Console) listen() abi.ErrorCode {
	if c.listening {
		return abi.OK
	}
	e := c.line.Receive(c.input[:], 1)
	c.listening = e == abi.OK
	return e
}

// Received implements hil.ReceiveClient.
func (c *Console) Received(buf []byte, n int, _ abi.ErrorCode) {
	c.listening = false
	if !c.reading {
		return
	}
	if n == 1 {
		c.bytes[c.got] = buf[0]
		c.got++
	}
	if c.got == c.wanted {
		c.finishRead(abi.OK)
	} else if e := c.listen(); e != abi.OK {
		c.finishRead(e)
	}
}

// finishRead gives the task what was read, and tells it. If it has ended, the bytes are
// lost with it.
func (c *Console) finishRead(e abi.ErrorCode) {
	c.reading = false
	c.grant.Enter(c.reader, func(s *session, task *kernel.TaskData) {
		s.pending &^= 1 << readDone
		n := task.ReadWrite(readBuffer).WriteAt(c.bytes[:c.got], 0)
		task.ScheduleUpcall(readDone, e.Status(), uint32(n), 0)
	})
}

// abortRead ends the task's read with what came until now. There may be none to end: it
// may have ended by itself just before.
func (c *Console) abortRead(id kernel.TaskID) {
	if c.reading && c.reader == id {
		c.finishRead(abi.CANCEL)
		c.line.AbortReceive()
	}
}
