// Package ethernettap is driver 0x30007: tasks receive and send the frames of a network. Numbers and layouts are Tock's
// (capsules/extra/src/ethernet_tap.rs), and stand in guest/abi/ethernettap.go. Each task gets all frames; tasks that send take
// turns, a frame each.
package ethernettap

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// MemorySize is how much memory the driver needs for frames, in bytes.
const MemorySize = hil.MaxFrame + abi.TapHeaderSize + hil.MaxFrame

// tasksAtOnce is how many tasks get a frame in one piece of work.
const tasksAtOnce = 4

// EthernetTap is the driver.
type EthernetTap struct {
	device   hil.Ethernet
	broken   bool     // the device is
	time     hil.Time // or nil
	grant    kernel.Grant[station]
	deferred kernel.DeferredCall

	out     []byte // what the device sends
	sending bool
	sender  kernel.TaskID // whose frame it sends, while sending
	waiting bool          // perhaps: a frame waits for its turn
	tickets uint64        // turns ever waited for

	in   []byte // a header, and the frame that the device received
	size int    // of both; 0 while the device waits for a frame
	next uint32 // the slot from which on tasks have yet to get it
}

// station is what a task does on the network. Its counters wrap.
type station struct {
	pending    kernel.Pending
	ticket     uint64 // order of turns; 0: it sends nothing
	length     uint32 // of the frame that it sends
	identifier uint32

	framesSent, bytesSent                        uint32
	framesReceived, bytesReceived, framesDropped uint32
}

// Init ties the driver to its device, of which it is the only client, to a clock, or nil if there is none, and to MemorySize bytes of memory.
// The device receives from now on.
func (t *EthernetTap) Init(k *kernel.Kernel, device hil.Ethernet, time hil.Time, memory []byte, c capability.MemoryAllocation) {
	t.device, t.time = device, time
	t.out, t.in = memory[:hil.MaxFrame], memory[hil.MaxFrame:MemorySize]
	t.grant.Init(k, abi.DriverEthernetTap, kernel.SlotCounts{
		Upcalls: abi.TapSent + 1, ReadOnly: abi.TapFrame + 1, ReadWrite: abi.TapSentInfo + 1,
		Ends: kernel.EndsFailed(abi.TapSent) | kernel.EndsEmpty(abi.TapReceived)}, c)
	t.deferred.Register(k, t)
	device.SetEthernetClient(t)
	t.receive()
}

// Slots implements kernel.Driver.
func (t *EthernetTap) Slots() *kernel.Slots { return t.grant.Slots() }

// Command implements kernel.Driver.
func (t *EthernetTap) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case 0:
		return kernel.Done()
	case abi.TapReceiveCounts:
		return t.counts(id, func(s *station) kernel.Result {
			return kernel.Value3(s.framesReceived, s.bytesReceived, s.framesDropped)
		})
	case abi.TapSendCounts:
		return t.counts(id, func(s *station) kernel.Result { return kernel.Value2(s.framesSent, s.bytesSent) })
	case abi.TapSend:
		return kernel.Outcome(t.send(id, a0, a1))
	case abi.TapAddress:
		return kernel.Value64(t.address())
	case abi.TapLink:
		return kernel.Value2(uint32(t.device.MTU()), t.link())
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// counts answers with what the task's counters are.
func (t *EthernetTap) counts(id kernel.TaskID, of func(s *station) kernel.Result) (r kernel.Result) {
	e := t.grant.Enter(id, func(s *station, _ *kernel.TaskData) { r = of(s) })
	if e != abi.OK {
		return kernel.Failed(e)
	}
	return r
}

// address is the device's address as a number.
func (t *EthernetTap) address() (n uint64) {
	for i, b := range t.device.Address() {
		n |= uint64(b) << (8 * i)
	}
	return n
}

// link is 1 if the link is up.
func (t *EthernetTap) link() uint32 {
	if t.broken || !t.device.LinkUp() {
		return 0
	}
	return 1
}

// send begins to send the first n bytes that the task shares as a frame, or has it wait for its turn. It returns abi.BUSY while
// the task's last frame is sent or waits, abi.SIZE unless it shares that many and they are a frame, and the device's errors.
func (t *EthernetTap) send(id kernel.TaskID, n, identifier uint32) abi.ErrorCode {
	t.tickets++
	result := abi.OK
	e := t.grant.Enter(id, func(s *station, task *kernel.TaskData) {
		if s.ticket != 0 {
			result = abi.BUSY
			return
		}
		s.ticket, s.pending, s.length, s.identifier = t.tickets, 1<<abi.TapSent, n, identifier
		if result = t.check(s, task); result == abi.OK {
			result = t.queue(s, task)
		}
		if result != abi.OK {
			s.ticket, s.pending = 0, 0
		}
	})
	if e != abi.OK {
		return e
	}
	return result
}

// check returns abi.SIZE unless the task shares a frame as long as it says.
func (t *EthernetTap) check(s *station, task *kernel.TaskData) abi.ErrorCode {
	n := uint64(s.length)
	if n < hil.MinFrame || n > hil.EthernetHeader+uint64(t.device.MTU()) || n > uint64(len(t.out)) || n > task.ReadOnly(abi.TapFrame).Len() {
		return abi.SIZE
	}
	return abi.OK
}

// queue gives the device the task's frame, or has it wait if another is sent or waits.
func (t *EthernetTap) queue(s *station, task *kernel.TaskData) abi.ErrorCode {
	if t.sending || t.waiting {
		t.waiting = true
		return abi.OK
	}
	return t.transmit(s, task)
}

// transmit gives the device, which is free, the task's frame.
func (t *EthernetTap) transmit(s *station, task *kernel.TaskData) abi.ErrorCode {
	n := task.ReadOnly(abi.TapFrame).ReadAt(t.out[:s.length], 0)
	e := t.device.SendFrame(t.out, n)
	if e == abi.OK {
		t.sending, t.sender = true, task.ID()
	}
	return e
}

// FrameSent implements hil.EthernetClient.
func (t *EthernetTap) FrameSent(_ []byte, e abi.ErrorCode) {
	t.sending = false
	t.grant.Enter(t.sender, func(s *station, task *kernel.TaskData) { t.finish(s, task, e) })
	t.sendOldest()
}

// finish tells a task what became of its frame.
func (t *EthernetTap) finish(s *station, task *kernel.TaskData, e abi.ErrorCode) {
	s.ticket, s.pending = 0, 0
	if e != abi.OK {
		task.ScheduleUpcall(abi.TapSent, e.Status(), 0, s.identifier)
		return
	}
	s.framesSent++
	s.bytesSent += s.length
	flags := s.length
	now, ok := t.now()
	if ok {
		flags |= abi.TapSentTime
	}
	if info := task.ReadWrite(abi.TapSentInfo); info.Len() >= 8 {
		var b [8]byte
		for i := range b {
			b[i] = byte(now >> (56 - 8*i))
		}
		info.WriteAt(b[:], 0)
	}
	task.ScheduleUpcall(abi.TapSent, 0, flags, s.identifier)
}

// now is the time, or 0 and false if there is no clock.
func (t *EthernetTap) now() (ticks uint64, ok bool) {
	if t.time == nil {
		return 0, false
	}
	return t.time.Now(), true
}

// sendOldest gives the device, if it is free, the frame that waits longest. If that is none any more, because the task shares less
// by now, the task is told, and the next one's turn is a piece of work of its own.
func (t *EthernetTap) sendOldest() {
	if t.sending || !t.waiting {
		return
	}
	id, ticket := t.grant.Oldest(func(s *station) uint64 { return s.ticket })
	t.waiting = ticket != 0
	if !t.waiting {
		return
	}
	t.grant.Enter(id, func(s *station, task *kernel.TaskData) {
		e := t.check(s, task)
		if e == abi.OK {
			e = t.transmit(s, task)
		}
		if e != abi.OK {
			t.finish(s, task, e)
		}
	})
	if !t.sending {
		t.deferred.Set()
	}
}

// HandleDeferredCall goes on with what was left.
func (t *EthernetTap) HandleDeferredCall() {
	t.sendOldest()
	t.passOn()
}

// receive has the device receive the next frame.
func (t *EthernetTap) receive() {
	if t.device.ReceiveFrame(t.in[abi.TapHeaderSize:]) != abi.OK {
		t.broken = true
	}
}

// FrameReceived implements hil.EthernetClient.
func (t *EthernetTap) FrameReceived(_ []byte, n int, e abi.ErrorCode) {
	if e != abi.OK {
		t.broken = true
		return
	}
	header := t.in[:abi.TapHeaderSize]
	clear(header)
	now, ok := t.now()
	if ok {
		header[abi.TapFlags] = abi.TapFlagTime
	}
	put16(header[abi.TapLength:], uint16(n))
	put64(header[abi.TapTime:], now)
	t.size, t.next = abi.TapHeaderSize+n, 0
	t.passOn()
}

// passOn gives the frame that came, if there is one, to the next few tasks, and then, once all have it, its room to the device.
func (t *EthernetTap) passOn() {
	if t.size == 0 {
		return
	}
	for range tasksAtOnce {
		t.next = t.grant.Next(t.next, func(s *station, task *kernel.TaskData) { t.give(s, task) })
		if t.next == 0 {
			t.size = 0
			t.receive()
			return
		}
	}
	t.deferred.Set()
}

// give appends the frame to a task's stream. It is told of the first one in a buffer alone: the others it finds there.
func (t *EthernetTap) give(s *station, task *kernel.TaskData) {
	first, e := appendChunk(task.ReadWrite(abi.TapFrames), t.in[:t.size])
	if e != abi.OK {
		s.framesDropped++
		return
	}
	s.framesReceived++
	s.bytesReceived += uint32(t.size - abi.TapHeaderSize)
	if first {
		task.ScheduleUpcall(abi.TapReceived, 0, 0, 0)
	}
}

// LinkChanged implements hil.EthernetClient. Tasks ask.
func (t *EthernetTap) LinkChanged() {}
