package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
)

// Notify makes the event of subscribe number n happen to the task in a slot, the peer. Its
// arguments are the slot of the task id, and length and address of what that lends to the peer
// when the peer is told: by its upcall or its Yield-WaitFor. If nothing is lent by then, length
// and address are 0. If no function is subscribed the notification waits for one, and for a
// Yield-WaitFor. It is gone if the peer ends before, or the task id starts anew. Each peer has a
// notification of its own that waits for the event when the queue is full, so that none is in
// the way of others: a second one then is the same as the first, and counted.
//
// The buffer that id shares by the Allow Read-Write number buffer, if there is one, is lent to
// the peer, which may read and write it. It consists of whole pages, of at most abi.LoanSize
// bytes, so that nothing else is lent with it. A task lends one buffer to each other at a time.
// A loan ends when either task ends or restarts, and when the lender puts another buffer, or
// none, into the place of this one. The borrower cannot share with drivers what was lent to it.
// With an error nothing has changed. The errors are
//   - abi.INVAL if id is stale, the peer is the task itself or there is no task in that slot, a
//     number is out of range, or the buffer does not begin and end on pages,
//   - abi.NODEVICE if the peer is not alive,
//   - abi.SIZE if the buffer is too large,
//   - abi.NOMEM if there is no memory for what the peer needs to borrow, or its RAM has no room
//     for the grant.
//
//go:nosplit
func (s *Slots) Notify(id TaskID, slot, n, buffer uint32, c capability.MemorySharing) abi.ErrorCode {
	c.Require()
	k := s.kernel
	t := k.task(id)
	if t == nil || slot >= MaxTasks || n >= uint32(s.counts.Upcalls) || buffer >= uint32(s.counts.ReadWrite) {
		return abi.INVAL
	}
	peer := k.tasks[slot]
	if !s.awaited(peer, n) {
		return s.notifyLater(t, peer, n, buffer)
	}
	if t.loans[slot].mapped != 0 || *s.of(t) != nil && load64(s.readWrite(t, buffer)[slotLen:]) != 0 {
		return s.notifyLending(t, peer, buffer)
	}
	k.answerAwaited(peer, uint32(t.slot), 0, 0)
	return abi.OK
}

// notifyLater notifies a peer that does not wait for it.
//
//go:nosplit
func (s *Slots) notifyLater(t, peer *Task, n, buffer uint32) abi.ErrorCode {
	if e := s.mayWait(t, peer); e != abi.OK {
		return e
	}
	if e := s.lendShared(t, peer, buffer); e != abi.OK {
		return e
	}
	s.leave(t, peer, n)
	return abi.OK
}

// notifyLending notifies a peer that waits for it, and to which something is lent or was.
//
//go:nosplit
func (s *Slots) notifyLending(t, peer *Task, buffer uint32) abi.ErrorCode {
	if e := s.lendShared(t, peer, buffer); e != abi.OK {
		return e
	}
	length, addr := s.kernel.tellLoan(t, peer)
	s.kernel.answerAwaited(peer, uint32(t.slot), length, addr)
	return abi.OK
}

// lendShared lends to the peer what the task shares by that number, if anything.
//
//go:nosplit
func (s *Slots) lendShared(t, peer *Task, buffer uint32) abi.ErrorCode {
	if *s.of(t) == nil { // it never shared anything
		return abi.OK
	}
	b := s.readWrite(t, buffer)
	length := load64(b[slotLen:])
	if length == 0 {
		return abi.OK
	}
	return s.kernel.lend(t, peer, s.shared(buffer), load64(b[slotAddr:]), length)
}

// mayWait makes sure that a notification can wait for the peer, which does not wait for it.
func (s *Slots) mayWait(t, peer *Task) abi.ErrorCode {
	switch {
	case peer == t || peer.state == Unused:
		return abi.INVAL
	case !peer.alive():
		return abi.NODEVICE
	case !s.allocate(peer):
		return abi.NOMEM
	}
	return abi.OK
}

// leave makes a notification of an event wait until the peer can be told.
//
//go:nosplit
func (s *Slots) leave(t, peer *Task, n uint32) {
	t.notified |= peer.bit
	slot := s.upcall(peer, n)
	late := slot.function() != 0
	if late && s.enqueue(peer, n, slot, t, 0, 0, 0) {
		return
	}
	w := slot.waiting()
	if late && w&t.bit != 0 {
		peer.dropped++
	}
	peer.setWaiting(slot, w|t.bit)
}

// forgetNotifications takes back what the last run of a task that starts anew notified others of
// who do not know yet: they know it by its slot, and would answer the new run.
func (k *Kernel) forgetNotifications(t *Task) {
	for ; t.notified != 0; t.notified &= t.notified - 1 {
		k.forgetPeer(k.first(t.notified), t)
	}
}

// forgetPeer takes back the notifications of a peer that the task does not know of yet.
func (k *Kernel) forgetPeer(t, peer *Task) {
	t.queue.removeFrom(peer)
	for grant := 0; grant < k.grants && t.older|t.late != 0; grant++ {
		s := k.allSlots[grant]
		for n := uint32(0); *s.of(t) != nil && n < uint32(s.counts.Upcalls); n++ {
			if slot := s.upcall(t, n); slot.waiting()&peer.bit != 0 {
				t.setWaiting(slot, slot.waiting()&^peer.bit)
			}
		}
	}
	k.refill(t)
	k.update(t)
}

// TaskNamed finds the task with that package name for the task asker. As a name says nothing
// of who gave it, one that several tasks have, alive or not, belongs to none of them: then it
// returns abi.FAIL, and the kernel prints why. If no task of that name is alive it returns
// abi.NODEVICE.
func (k *Kernel) TaskNamed(name []byte, asker TaskID) (TaskID, abi.ErrorCode) {
	var found *Task
	for set := k.present; set != 0; set &= set - 1 {
		t := k.first(set)
		switch {
		case !t.NameIs(name):
		case found == nil:
			found = t
		default:
			if a := k.task(asker); a != nil {
				k.advise(a, adviceSameName, t, uint64(found.slot), uint64(t.slot))
			}
			return TaskID{}, abi.FAIL
		}
	}
	if found == nil || !found.alive() {
		return TaskID{}, abi.NODEVICE
	}
	return found.id, abi.OK
}

// advice is what the kernel tells the people behind a task, of each kind once in all the runs of
// the task, because programs ignore the error and then wait for ever.
type advice uint8

const (
	adviceWholePages advice = 1 << iota
	adviceTooLarge
	adviceSameName
)

// advise prints why what a task does with a peer fails. The numbers are the buffer's address and
// length, or the slots of two tasks that have the peer's name.
//
//go:noinline
func (k *Kernel) advise(t *Task, a advice, peer *Task, x, y uint64) {
	if t.advised&a != 0 {
		return
	}
	t.advised |= a
	w := k.debug
	t.printLabel(w)
	if a == adviceSameName {
		w.WriteString(" asks for a task named ")
		peer.printName(w)
		format.Print(w, ": not found, because several have that name, the first two in slots %d and %d\n", x, y)
		return
	}
	w.WriteString(" did not notify ")
	peer.printName(w)
	format.Print(w, ": the buffer to lend, 0x%x with %d bytes, ", x, y)
	if a == adviceTooLarge {
		format.Print(w, "has more than %d bytes\n", uint64(abi.LoanSize))
		return
	}
	format.Print(w, "does not begin and end on pages of %d bytes\n", uint64(abi.PageSize))
}
