package kernel

import "kapsel/guest/abi"

// pair is what Subscribe and Allow swap: function and userdata, or address and length.
type pair struct{ a, b uint64 }

// swapped is the result of Subscribe or Allow: the pair that was replaced, or with an error the
// pair that was passed.
func swapped(success, failure abi.Variant, e abi.ErrorCode, p pair) Result {
	if e != abi.OK {
		return Result{failure, uint64(e), p.a, p.b}
	}
	return Result{success, p.a, p.b, 0}
}

// subscribe makes a function, passed with its userdata, the upcall of an event, or none if
// it is 0, and drops the events that waited for the one before. Notifications stay.
//
//go:nosplit
func (k *Kernel) subscribe(t *Task, to event, passed pair) Result {
	old, e := k.swapUpcall(t, to, passed)
	return swapped(abi.SuccessFnUserdata, abi.FailureFnUserdata, e, old)
}

// swapUpcall returns the pair that was replaced, or the passed one with an error.
//
//go:nosplit
func (k *Kernel) swapUpcall(t *Task, to event, passed pair) (pair, abi.ErrorCode) {
	if _, ok := t.memory.readOnly(passed.a, t.functionSize()); !ok && passed.a != 0 {
		return passed, abi.INVAL
	}
	s, e := k.slots(t, to.driver)
	if e != abi.OK {
		return passed, e
	}
	if to.number >= uint32(s.counts.Upcalls) {
		return passed, abi.NOSUPPORT
	}
	if !s.allocate(t) {
		return passed, abi.NOMEM
	}
	slot := s.upcall(t, to.number)
	old := pair{load64(slot[slotFn:]), load64(slot[slotUserdata:])}
	peers := uint64(0)
	if t.newest.event == to {
		t.newest.waits = false
	}
	if t.queue.count != 0 || slot.waiting() != 0 {
		peers = t.forget(to, slot)
	}
	store64(slot[slotFn:], passed.a)
	store64(slot[slotUserdata:], passed.b)
	if peers != 0 {
		t.setWaiting(slot, peers)
	}
	if t.late != 0 {
		k.refill(t)
	}
	return old, abi.OK
}

// allow shares a buffer, address and length, with a driver, or takes it back if the new
// one is empty.
//
//go:nosplit
func (k *Kernel) allow(t *Task, class abi.Class, to event, passed pair) Result {
	old, e := k.swapBuffer(t, class, to, passed)
	return swapped(abi.SuccessAddrLen, abi.FailureAddrLen, e, old)
}

// swapBuffer returns the pair that was replaced, or the passed one with an error.
//
//go:nosplit
func (k *Kernel) swapBuffer(t *Task, class abi.Class, to event, passed pair) (pair, abi.ErrorCode) {
	if !t.memory.mayShare(class, passed) {
		return passed, abi.INVAL
	}
	s, e := k.slots(t, to.driver)
	if e != abi.OK {
		return passed, e
	}
	slot, e := s.bufferSlot(t, class, to.number)
	if e != abi.OK {
		return passed, e
	}
	old := pair{load64(slot[slotAddr:]), load64(slot[slotLen:])}
	store64(slot[slotAddr:], passed.a)
	store64(slot[slotLen:], passed.b)
	t.memory.keepShared(passed.a, passed.b)
	if class == abi.AllowReadWrite && t.lends != 0 {
		k.endLoansOf(t, s.shared(to.number))
	}
	return old, abi.OK
}

// mayShare reports whether the task may share that buffer. An empty one may lie anywhere,
// for nothing is ever done with its address but to hand it back.
//
//go:nosplit
func (m *Memory) mayShare(class abi.Class, buffer pair) bool {
	if buffer.b == 0 {
		return true
	}
	if class == abi.AllowReadOnly {
		_, ok := m.readOnly(buffer.a, buffer.b)
		return ok
	}
	_, ok := m.readWrite(buffer.a, buffer.b)
	return ok
}

// bufferSlot is the slot of an allow number, its grant allocated.
//
//go:nosplit
func (s *Slots) bufferSlot(t *Task, class abi.Class, n uint32) (*bufferSlot, abi.ErrorCode) {
	at, count := s.at.readOnly, s.counts.ReadOnly
	switch class {
	case abi.AllowReadWrite:
		at, count = s.at.readWrite, s.counts.ReadWrite
	case abi.AllowUserspaceReadable:
		at, count = s.at.userspaceReadable, s.counts.UserspaceReadable
	}
	if n >= uint32(count) {
		return nil, abi.NOSUPPORT
	}
	if !s.allocate(t) {
		return nil, abi.NOMEM
	}
	return s.buffer(t, at, n), abi.OK
}

// slots finds the grant of a driver that the task may use: abi.NODEVICE if there is no
// such driver, abi.NOSUPPORT if it has no grant.
func (k *Kernel) slots(t *Task, driver uint32) (*Slots, abi.ErrorCode) {
	if t.restricted() && !t.object.AllowsDriver(driver) {
		return nil, abi.NODEVICE
	}
	d := k.drivers.find(driver)
	if d == nil {
		return nil, abi.NODEVICE
	}
	s := d.Slots()
	if s == nil {
		return nil, abi.NOSUPPORT
	}
	return s, abi.OK
}
