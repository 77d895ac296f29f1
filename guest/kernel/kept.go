package kernel

// What cannot be told at once waits in the upcall slot of its event: the newest event, in the
// place of an older one, and one notification of each peer. Where no function is subscribed it
// is kept for a Yield-WaitFor alone. Elsewhere it found the queue full: it is late, and moves to
// the queue as soon as there is room. So while something is late the queue is full.
//
// The newest of all kept events is in the task's record, for it is mostly the one that is waited
// for.

// keptEvent is an event that is kept in the task's record.
type keptEvent struct {
	_     notComparable
	event event
	args  [3]uint32
	waits bool        // there is one
	slot  *upcallSlot // the event's upcall slot
}

func (s *upcallSlot) function() uint64 { return load64(s[slotFn:]) }

// waiting is the set of what waits in the slot: a bit for each peer that notified the task, by its
// slot, and for an event the task's own, as no task notifies itself.
func (s *upcallSlot) waiting() uint64 { return load64(s[slotWaiting:]) }

// keep keeps an event whose upcall slot that is.
//
//go:nosplit
func (t *Task) keep(e event, slot *upcallSlot, a0, a1, a2 uint32) {
	n := &t.newest
	if n.waits && n.event != e || t.older != 0 {
		t.displace(e, slot)
	}
	n.event, n.slot, n.waits = e, slot, true
	n.args[0], n.args[1], n.args[2] = a0, a1, a2
}

// displace makes room for an event in the task's record: another one goes to its slot, and an older one
// of the same event is dropped there.
func (t *Task) displace(e event, slot *upcallSlot) {
	n := &t.newest
	if n.waits && n.event != e {
		t.put(n.slot, n.args[0], n.args[1], n.args[2])
	}
	if t.older != 0 {
		t.setWaiting(slot, slot.waiting()&^t.bit)
	}
}

// put lets an event wait in its slot, and reports whether an older one waited there.
//
//go:nosplit
func (t *Task) put(slot *upcallSlot, a0, a1, a2 uint32) (replaced bool) {
	w := slot.waiting()
	store64(slot[slotArgs:], uint64(a0)|uint64(a1)<<32)
	store32(slot[slotArgs+8:], a2)
	t.setWaiting(slot, w|t.bit)
	return w&t.bit != 0
}

// setWaiting says what waits in a slot, and counts the slots that keep something and those
// where something is late.
func (t *Task) setWaiting(slot *upcallSlot, set uint64) {
	n := &t.older
	if slot.function() != 0 {
		n = &t.late
	}
	if slot.waiting() != 0 {
		*n--
	}
	if set != 0 {
		*n++
	}
	store64(slot[slotWaiting:], set)
}

// forget drops the calls of an event and what waits in its slot. It returns the set of peers
// whose notifications were among them.
func (t *Task) forget(e event, slot *upcallSlot) (peers uint64) {
	peers = slot.waiting() &^ t.bit
	t.setWaiting(slot, 0)
	return peers | t.queue.remove(e)
}

// takeFrom takes from a slot where something waits the event, or else the notification of a
// peer, the peers in turn.
func (k *Kernel) takeFrom(t *Task, slot *upcallSlot, u *queuedUpcall) {
	w := slot.waiting()
	u.call.Fn, u.call.Userdata = slot.function(), load64(slot[slotUserdata:])
	if w&t.bit != 0 {
		u.from = nil
		for i := range u.call.Args {
			u.call.Args[i] = load32(slot[slotArgs+4*i:])
		}
		t.setWaiting(slot, w&^t.bit)
		return
	}
	next := w >> slot[slotTurn] << slot[slotTurn]
	if next == 0 {
		next = w
	}
	u.from = k.first(next)
	slot[slotTurn] = byte(u.from.slot + 1)
	t.setWaiting(slot, w&^u.from.bit)
}

// takeWaiting takes what waits in the slot of an event, or reports false if nothing does.
func (k *Kernel) takeWaiting(t *Task, e event) (args [3]uint32, ok bool) {
	d := k.drivers.find(e.driver)
	if d == nil {
		return args, false
	}
	s := d.Slots()
	if s == nil || e.number >= uint32(s.counts.Upcalls) || *s.of(t) == nil {
		return args, false
	}
	slot := s.upcall(t, e.number)
	if slot.waiting() == 0 {
		return args, false
	}
	var u queuedUpcall
	k.takeFrom(t, slot, &u)
	if u.from != nil {
		k.tell(&u, t)
	}
	return u.call.Args, true
}

// refill moves what is late to the queue as long as there is room, from each slot in turn.
func (k *Kernel) refill(t *Task) {
	for t.late != 0 && t.queue.count < queueSize {
		s, n := k.nextLate(t)
		u := t.queue.push()
		u.event = event{s.driver, n}
		k.takeFrom(t, s.upcall(t, n), u)
	}
}

// nextLate finds the next slot of the task where something is late. There is one.
func (k *Kernel) nextLate(t *Task) (*Slots, uint32) {
	for {
		s := k.allSlots[t.turn.grant]
		if *s.of(t) == nil || t.turn.number >= s.counts.Upcalls {
			t.turn = lateTurn{grant: uint8(int(t.turn.grant+1) % k.grants)}
			continue
		}
		n := uint32(t.turn.number)
		t.turn.number++
		if slot := s.upcall(t, n); slot.function() != 0 && slot.waiting() != 0 {
			return s, n
		}
	}
}

// lateTurn is the slot whose turn it is to move what is late to the queue.
type lateTurn struct {
	grant  uint8 // index in Kernel.allSlots
	number uint8
}
