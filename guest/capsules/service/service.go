// Package service is driver 0xe0000: tasks serve the host, and call services of the host, by frames on a port (guest/abi/service.go). What the host sends is
// hostile: a frame that is none ends the conversation until the port is opened anew.
package service

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists = 0
	serve  = 1
	answer = 2 // the call a0, with a1 bytes of answerBuffer
	refuse = 3 // the call a0, with the error a1
	ask    = 4 // the host's service in nameBuffer, with a0 bytes of askBuffer
	usedUp = 5 // the task's memory is
)

// Subscribe numbers, and what each is told.
const (
	requestCame = 0 // call, bytes, most bytes of the answer
	answerCame  = 1 // status, bytes, call
	answerRead  = 2 // status, 0, call
	upcalls     = 3
)

// Allow numbers.
const (
	answerBuffer  = 0 // read-only
	nameBuffer    = 1
	askBuffer     = 2
	readOnly      = 3
	requestBuffer = 0 // read-write
	replyBuffer   = 1
	readWrite     = 2
)

// MemorySize is how many bytes the board gives to the driver, whole pages, and how it divides them.
const (
	MemorySize = 2 * abi.PageSize
	inputSize  = MemorySize - outputSize - abi.ServiceHeld
	outputSize = hil.PortPiece // so that no half of a frame is sent
)

// Service is the driver.
type Service struct {
	kernel   *kernel.Kernel
	tasks    capability.TaskManagement
	port     hil.Port
	grant    kernel.Grant[task]
	deferred kernel.DeferredCall
	serving  uint64 // a bit for each slot whose task serves
	usedUp   uint64 // likewise, whose task has said that its memory is used up

	calls       [abi.ServiceDepth]call
	first, last *call // of those that are open, and those whose answer is to be sent yet: the oldest first
	spare       *call // the first that is neither
	lastID      uint32

	in       input
	named    kernel.LastNamed  // the task that the host called last
	out      *[outputSize]byte // a frame that is sent
	partly   *call             // whose payload was sent in part, or nil
	greeted  bool              // the host has said Hello
	hello    bool              // and is owed an answer
	settle   bool              // it is owed Settle
	refused  bool              // it is owed a refusal, of a call that none of calls is
	refusal  uint32            // the host's number of that
	status   abi.ErrorCode
	held     []byte // the request that waits for its task
	holding  *call  // its call, or nil
	heldSize int
}

// task is what the driver knows of a task in its grant.
type task struct {
	pending kernel.Pending
}

// call is a call in either direction.
type call struct {
	next, previous *call // of those that are open, or the next that is spare

	id     uint32 // by which tasks know it, as no other; 0: it is over
	number uint32 // by which the host knows it
	task   kernel.TaskID
	faults uint64 // of the task, when it began
	stage  stage
	most   uint32        // bytes of the answer
	size   uint32        // bytes of payload to be sent
	sent   uint32        // of them
	waited bool          // the task waits until they are read
	status abi.ErrorCode // of an answer
	reason uint32
}

// stage is how far a call has come.
type stage uint8

const (
	arriving  stage = iota // a request of the host's, whose payload is not whole, and the task is to have it
	holding                // a request in held, whole or not, for a task that does not take it yet
	working                // a request that the task works on
	answering              // likewise, but its answer is to be sent
	asking                 // a request of the task's that is to be sent
	asked                  // likewise, that was sent
)

// Init ties the driver to its port, and gives it MemorySize bytes. If it is made anew, what it knew of calls is lost, and the host is told so.
func (d *Service) Init(k *kernel.Kernel, port hil.Port, memory []byte, anew bool, c capability.Set) {
	d.kernel, d.port, d.tasks = k, port, c.TaskManagement
	d.in.buffer, d.out = memory[:inputSize], (*[outputSize]byte)(memory[inputSize:])
	d.held = memory[inputSize+outputSize:][:abi.ServiceHeld]
	for i := range d.calls {
		d.calls[i].next, d.spare = d.spare, &d.calls[i]
	}
	d.deferred.Register(k, d)
	d.grant.Init(k, abi.DriverService, kernel.SlotCounts{Upcalls: upcalls, ReadOnly: readOnly, ReadWrite: readWrite,
		Ends: kernel.EndsEmpty(requestCame) | kernel.EndsFailed(answerCame) | kernel.EndsFailed(answerRead)}, c.MemoryAllocation)
	port.SetPortClient(d)
	d.greeted, d.hello = anew, anew
	d.PortChanged()
}

// Slots implements kernel.Driver.
func (d *Service) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *Service) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case serve:
		return kernel.Outcome(d.serve(id))
	case answer:
		return d.answer(id, a0, a1)
	case refuse:
		return kernel.Outcome(d.refuse(id, a0, a1))
	case ask:
		return d.ask(id, a0)
	case usedUp:
		d.usedUp |= bit(id)
		return kernel.Done()
	}
	return kernel.Failed(abi.NOSUPPORT)
}

func bit(id kernel.TaskID) uint64 { return 1 << (id.Slot() % kernel.MaxTasks) }

// serve begins to give the task requests.
func (d *Service) serve(id kernel.TaskID) abi.ErrorCode {
	if d.serving&bit(id) != 0 {
		return abi.ALREADY
	}
	if e := d.owe(id, requestCame, true); e != abi.OK {
		return e
	}
	d.serving |= bit(id)
	d.handOver()
	return abi.OK
}

// owe notes whether the task is owed an upcall.
func (d *Service) owe(id kernel.TaskID, upcall int, owed bool) abi.ErrorCode {
	return d.grant.Enter(id, func(t *task, _ *kernel.TaskData) { t.owe(upcall, owed) })
}

func (t *task) owe(upcall int, owed bool) {
	if t.pending &^= 1 << upcall; owed {
		t.pending |= 1 << upcall
	}
}

// answer answers the task's latest call with bytes of its buffer.
func (d *Service) answer(id kernel.TaskID, call, size uint32) kernel.Result {
	c := d.working(id, call)
	if c == nil {
		return kernel.Failed(abi.INVAL)
	}
	if c.stage = answering; size > c.most || size != 0 && !d.shares(id, size) {
		c.status = abi.SIZE
	} else {
		c.size = size
	}
	tooMuch := c.status != abi.OK
	d.send()
	left := uint32(0)
	if c.id == call && c.size != c.sent {
		left, c.waited = c.size-c.sent, true
		d.owe(id, answerRead, true)
	}
	d.handOver()
	if tooMuch {
		return kernel.Failed(abi.SIZE)
	}
	return kernel.Value(left)
}

// shares reports whether the task's buffer of answers has so many bytes.
func (d *Service) shares(id kernel.TaskID, size uint32) (has bool) {
	d.grant.Enter(id, func(_ *task, data *kernel.TaskData) { has = uint64(size) <= data.ReadOnly(answerBuffer).Len() })
	return has
}

// refuse answers the task's latest call with an error.
func (d *Service) refuse(id kernel.TaskID, call, e uint32) abi.ErrorCode {
	c := d.working(id, call)
	if c == nil || e == uint32(abi.OK) || e > uint32(abi.NOACK) {
		return abi.INVAL
	}
	c.stage, c.status = answering, abi.ErrorCode(e)
	d.send()
	d.handOver()
	return abi.OK
}

// ask calls a service of the host's.
func (d *Service) ask(id kernel.TaskID, size uint32) kernel.Result {
	switch {
	case !d.up():
		return kernel.Failed(abi.OFF)
	case d.spare == nil:
		return kernel.Failed(abi.BUSY)
	}
	var most uint64
	refused := abi.OK
	e := d.grant.Enter(id, func(t *task, data *kernel.TaskData) {
		name := data.ReadOnly(nameBuffer).Len()
		switch {
		case name == 0 || name > abi.ServiceName:
			refused = abi.INVAL
			return
		case uint64(size) > data.ReadOnly(askBuffer).Len() || size > abi.ServicePayload:
			refused = abi.SIZE
			return
		}
		most = min(data.ReadWrite(replyBuffer).Len(), abi.ServicePayload)
		t.owe(answerCame, true)
	})
	switch {
	case e != abi.OK:
		return kernel.Failed(e)
	case refused != abi.OK:
		return kernel.Failed(refused)
	}
	c := d.begin(id, asking)
	c.number, c.most, c.size = c.id, uint32(most), size
	number := c.id
	d.send()
	d.handOver()
	return kernel.Value(number)
}

// begin opens a call. There is room for it.
func (d *Service) begin(id kernel.TaskID, s stage) *call {
	if d.lastID++; d.lastID == 0 {
		d.lastID = 1
	}
	c := d.spare
	d.spare = c.next
	*c = call{id: d.lastID, task: id, stage: s, faults: d.kernel.Faults(id, d.tasks)}
	d.link(c)
	return c
}

// link makes a call the latest.
func (d *Service) link(c *call) {
	c.next, c.previous = nil, d.last
	if d.last == nil {
		d.first = c
	} else {
		d.last.next = c
	}
	d.last = c
}

// unlink undoes link.
func (d *Service) unlink(c *call) {
	if c.previous == nil {
		d.first = c.next
	} else {
		c.previous.next = c.next
	}
	if c.next == nil {
		d.last = c.previous
	} else {
		c.next.previous = c.previous
	}
}

// end ends a call, whatever it was in.
func (d *Service) end(c *call) {
	d.void(c)
	if d.in.call == c {
		d.in.call = nil
	}
	d.unlink(c)
	c.id, c.next, d.spare = 0, d.spare, c
}

// void makes what is sent of a call, or held for its task, nobody's.
func (d *Service) void(c *call) {
	if d.partly == c {
		d.partly = nil
	}
	if d.holding == c {
		d.holding = nil
	}
}

// latest is the task's latest call that it has a part in, or nil: none that is held for it, or that it has answered.
func (d *Service) latest(id kernel.TaskID) *call {
	for c := d.last; c != nil; c = c.previous {
		if c.task == id && c.stage != holding && c.stage != answering {
			return c
		}
	}
	return nil
}

// working is the task's latest call if that is a request, of that identifier, which it works on; else nil.
func (d *Service) working(id kernel.TaskID, call uint32) *call {
	if c := d.latest(id); c != nil && c.stage == working && c.id == call {
		return c
	}
	return nil
}

// takes reports whether the task takes a request now: it works on none, nor are buffers of a call of its own in use.
func (d *Service) takes(id kernel.TaskID) bool {
	if d.serving&bit(id) == 0 {
		return false
	}
	c := d.latest(id)
	return c == nil || c.stage == asked && d.in.call != c
}

// handOver gives a task the request that is held for it, if that is whole and the task takes it.
func (d *Service) handOver() {
	if d.holding != nil {
		d.handOverHeld()
	}
}

func (d *Service) handOverHeld() {
	c := d.holding
	if d.in.call == c || !d.takes(c.task) {
		return
	}
	d.holding = nil
	d.unlink(c)
	d.link(c)
	d.fill(c, d.held[:d.heldSize], 0)
	d.came(c, uint32(d.heldSize))
}

// fill writes a piece of a request or an answer into the task's buffer. If that ends before, the call is over, or is to be refused.
func (d *Service) fill(c *call, piece []byte, at uint64) {
	n := 0
	number := uint32(requestBuffer)
	if c.stage == asked {
		number = replyBuffer
	}
	d.grant.Enter(c.task, func(_ *task, data *kernel.TaskData) { n = data.ReadWrite(number).WriteAt(piece, at) })
	if n == len(piece) {
		return
	}
	c.status = abi.SIZE
	if c.stage != asked {
		c.stage = answering
		d.deferred.Set()
	}
}

// came gives the task a request that is whole, unless it was refused.
func (d *Service) came(c *call, size uint32) {
	if c.stage == answering {
		return
	}
	c.stage = working
	if d.grant.Slots().ScheduleUpcall(c.task, requestCame, c.id, size, c.most) != abi.OK {
		c.stage, c.status = answering, abi.NOMEM
		d.deferred.Set()
	}
}

// finish tells a task how its call of the host's ended, and ends that.
func (d *Service) finish(c *call, e abi.ErrorCode, size uint32) {
	id := c.id
	d.end(c)
	more := d.asks(c.task)
	d.grant.Enter(c.task, func(t *task, data *kernel.TaskData) {
		t.owe(answerCame, more)
		data.ScheduleUpcall(answerCame, e.Status(), size, id)
	})
}

// asks reports whether a task waits for the host.
func (d *Service) asks(id kernel.TaskID) bool {
	for c := d.first; c != nil; c = c.next {
		if c.task == id && (c.stage == asking || c.stage == asked) {
			return true
		}
	}
	return false
}

// forget forgets all calls that the host knew of, and lets the tasks know that wait for it.
func (d *Service) forget(all bool) {
	for c := d.last; c != nil; {
		this := c
		c = c.previous
		switch {
		case this.stage == asking && this.sent == 0 && !all: // it knows nothing of that
		case this.stage == asking || this.stage == asked:
			d.finish(this, abi.CANCEL, 0)
		default:
			if this.waited {
				d.wasRead(this, abi.CANCEL)
			}
			d.end(this)
		}
	}
	d.refused, d.settle = false, false
}

// wasRead tells a task that its answer was read, or will not be.
func (d *Service) wasRead(c *call, e abi.ErrorCode) {
	d.grant.Enter(c.task, func(t *task, data *kernel.TaskData) {
		t.owe(answerRead, false)
		data.ScheduleUpcall(answerRead, e.Status(), 0, c.id)
	})
}

// TaskEnded implements kernel.TaskEndCallback, as which the board has it called: the host is told of what the task did not answer.
func (d *Service) TaskEnded(id kernel.TaskID) {
	for c := d.last; c != nil; {
		this := c
		c = c.previous
		switch {
		case this.task != id:
		case this.stage == asking || this.stage == asked:
			d.end(this)
		case this.stage != answering || this.sent != this.size:
			reason := d.reason(this)
			d.void(this)
			this.stage, this.status, this.reason, this.size, this.sent, this.waited = answering, abi.FAIL, reason, 0, 0, false
			d.deferred.Set()
		}
	}
	d.serving &^= bit(id)
	d.usedUp &^= bit(id)
}

// reason is why a call's task ends.
func (d *Service) reason(c *call) uint32 {
	switch {
	case d.usedUp&bit(c.task) != 0:
		return abi.ServiceMemory
	case d.kernel.Faults(c.task, d.tasks) != c.faults:
		return abi.ServiceFaulted
	}
	return abi.ServiceEnded
}

// HandleDeferredCall goes on with what waited for another piece of work.
func (d *Service) HandleDeferredCall() {
	d.send()
	d.read()
}
