package kernel

import "kapsel/guest/abi"

// TaskData is a task as a capsule sees it from within a grant entry: its upcalls and the
// buffers that it shared with the driver. Kept beyond the entry it is dead: buffers have
// length 0 and upcalls fail.
type TaskData struct {
	_     notComparable
	slots *Slots
	task  *Task // nil outside an entry
	run   uint64
	entry uint64 // counts entries, so that buffers of an earlier one are told apart
}

func (d *TaskData) open(t *Task) {
	d.task = t
	d.run = t.run
	d.entry++
}

func (d *TaskData) close() { d.task = nil }

// live reports whether the entry goes on and the task with it.
func (d *TaskData) live() bool { return d.task != nil && d.task.run == d.run }

// ID names the task. Once the entry is over it names none.
func (d *TaskData) ID() TaskID {
	if !d.live() {
		return TaskID{}
	}
	return d.task.id
}

// Pending is how many upcalls wait for the task to yield, of all drivers. It is 0 if the
// entry is over.
func (d *TaskData) Pending() int {
	if !d.live() {
		return 0
	}
	return d.task.pending()
}

// ScheduleUpcall makes an event of subscribe number n happen: the task runs its upcall
// with these arguments in a later Yield, or gets them as the answer to its Yield-WaitFor.
// Without a subscription the event waits for a Yield-WaitFor alone, and a newer one
// replaces it. So does an event that finds the task's queue full, until there is room: then
// the one that is replaced is counted. It returns abi.INVAL if the entry is over or n is out
// of range.
//
//go:nosplit
func (d *TaskData) ScheduleUpcall(n uint32, a0, a1, a2 uint32) abi.ErrorCode {
	if !d.live() || n >= uint32(d.slots.counts.Upcalls) {
		return abi.INVAL
	}
	return d.slots.happen(d.task, n, a0, a1, a2)
}

// happen makes an event of the driver happen to a task that has the grant. There is that number.
//
//go:nosplit
func (s *Slots) happen(t *Task, n uint32, a0, a1, a2 uint32) abi.ErrorCode {
	if s.awaited(t, n) {
		s.kernel.answerAwaited(t, a0, a1, a2)
		return abi.OK
	}
	slot := s.upcall(t, n)
	if slot.function() == 0 {
		t.keep(event{s.driver, n}, slot, a0, a1, a2)
		return abi.OK
	}
	if !s.enqueue(t, n, slot, nil, a0, a1, a2) && t.put(slot, a0, a1, a2) {
		t.dropped++
	}
	return abi.OK
}

// awaited reports whether the task waits for exactly that event.
func (s *Slots) awaited(t *Task, n uint32) bool {
	return t.state == YieldedFor && t.awaited.number == n && t.awaited.driver == s.driver
}

// answerAwaited ends a Yield-WaitFor.
//
//go:nosplit
func (k *Kernel) answerAwaited(t *Task, a0, a1, a2 uint32) {
	*t.results = [4]uint64{uint64(a0), uint64(a1), uint64(a2)}
	t.state = Running
	k.wake(t)
}

// enqueue makes the event's upcall wait for a Yield, or reports false if the queue is full.
// from is the peer of a notification, else nil.
//
//go:nosplit
func (s *Slots) enqueue(t *Task, n uint32, slot *upcallSlot, from *Task, a0, a1, a2 uint32) bool {
	u := t.queue.push()
	if u == nil {
		return false
	}
	u.event.driver, u.event.number, u.from = s.driver, n, from
	c := &u.call
	c.Fn, c.Userdata = slot.function(), load64(slot[slotUserdata:])
	c.Args[0], c.Args[1], c.Args[2] = a0, a1, a2
	s.kernel.wake(t)
	return true
}

// ReadOnly is the buffer that the task shares by Allow Read-Only number n. Where there is
// none its length is 0. It is valid until the entry ends.
func (d *TaskData) ReadOnly(n uint32) ReadOnlyBuffer {
	return ReadOnlyBuffer{d.buffer(d.slots.at.readOnly, d.slots.counts.ReadOnly, n)}
}

// ReadWrite is the buffer that the task shares by Allow Read-Write number n. Where there
// is none its length is 0. It is valid until the entry ends.
func (d *TaskData) ReadWrite(n uint32) ReadWriteBuffer {
	return ReadWriteBuffer{ReadOnlyBuffer{d.buffer(d.slots.at.readWrite, d.slots.counts.ReadWrite, n)}}
}

// UserspaceReadable is the buffer that the task shares by Allow Userspace-Readable number
// n: one that the driver writes while the task reads it. Where there is none its length is
// 0. It is valid until the entry ends.
func (d *TaskData) UserspaceReadable(n uint32) ReadWriteBuffer {
	return ReadWriteBuffer{ReadOnlyBuffer{d.buffer(d.slots.at.userspaceReadable, d.slots.counts.UserspaceReadable, n)}}
}

// buffer is the n-th of count buffers whose slots lie at an offset.
func (d *TaskData) buffer(at uint32, count uint8, n uint32) buffer {
	if !d.live() || n >= uint32(count) {
		return buffer{}
	}
	slot := d.slots.buffer(d.task, at, n)
	return buffer{d, d.entry, load64(slot[slotAddr:]), load64(slot[slotLen:])}
}

// buffer is a stretch of a task's memory. Each access checks that the entry it came from
// still goes on and that the task may still use the bytes.
type buffer struct {
	data      *TaskData
	entry     uint64
	addr, len uint64
}

func (b *buffer) live() bool {
	return b.data != nil && b.data.entry == b.entry && b.data.live()
}

// ReadOnlyBuffer is a task's buffer that a driver may read.
type ReadOnlyBuffer struct{ b buffer }

// ReadWriteBuffer is a task's buffer that a driver may read and write.
type ReadWriteBuffer struct{ ReadOnlyBuffer }

// Len is the buffer's length in bytes.
func (r ReadOnlyBuffer) Len() uint64 {
	if !r.b.live() {
		return 0
	}
	return r.b.len
}

// ReadAt copies bytes from the buffer's offset on to p, and returns how many: less than
// len(p) where the buffer ends before.
func (r ReadOnlyBuffer) ReadAt(p []byte, offset uint64) int {
	return copy(p, r.b.from(offset, (*Memory).readOnly))
}

// WriteAt copies p to the buffer's offset on, and returns how many bytes: less than
// len(p) where the buffer ends before.
func (w ReadWriteBuffer) WriteAt(p []byte, offset uint64) int {
	return copy(w.b.from(offset, (*Memory).readWrite), p)
}

// from is the buffer's bytes from an offset on, if the task may still use all of it so.
//
//go:nosplit
func (b *buffer) from(offset uint64, use func(m *Memory, addr, n uint64) ([]byte, bool)) []byte {
	if !b.live() || offset >= b.len {
		return nil
	}
	bytes, ok := use(&b.data.task.memory, b.addr, b.len)
	if !ok {
		return nil
	}
	return bytes[offset:]
}
