package kernel

import "math/bits"

// What cannot be told at once waits in the upcall slot of its event: the newest event, in the
// place of an older one, and one notification of each peer. Where no function is subscribed it
// is kept for a Yield-WaitFor alone. Elsewhere it found the queue full: it is late, and moves to
// the queue as soon as there is room. So while something is late the queue is full.
//
// The newest of all kept events is in the task's record, for it is mostly the one that is waited
// for.

// The set of what waits in an upcall slot: a bit for each peer, by its slot, and above them one
// for an event.
const (
	allPeers = 1<<MaxTasks - 1
	anEvent  = 1 << MaxTasks
)

// keptEvent is an event that is kept in the task's record.
type keptEvent struct {
	event event
	args  [3]uint32
	waits bool        // there is one
	slot  *upcallSlot // the event's upcall slot
}

func (s *upcallSlot) function() uint64 { return load64(s[slotFn:]) }

// waiting is the set of what waits in the slot.
func (s *upcallSlot) waiting() uint32 { return load32(s[slotWaiting:]) & (allPeers | anEvent) }

// keep keeps an event whose upcall slot that is.
//
//go:nosplit
func (t *Task) keep(e event, slot *upcallSlot, args [3]uint32) {
	n := &t.newest
	if n.waits && n.event != e {
		t.put(n.slot, n.args)
	}
	if t.older != 0 {
		t.setWaiting(slot, slot.waiting()&allPeers)
	}
	n.event, n.slot, n.waits, n.args = e, slot, true, args
}

// put lets an event wait in its slot, and reports whether an older one waited there.
func (t *Task) put(slot *upcallSlot, args [3]uint32) (replaced bool) {
	w := slot.waiting()
	for i, a := range args {
		store32(slot[slotArgs+4*i:], a)
	}
	t.setWaiting(slot, w|anEvent)
	return w&anEvent != 0
}

// setWaiting says what waits in a slot, and counts the slots that keep something and those
// where something is late.
func (t *Task) setWaiting(slot *upcallSlot, set uint32) {
	n := &t.older
	if slot.function() != 0 {
		n = &t.late
	}
	w := slot.waiting()
	if w != 0 {
		*n--
	}
	if set != 0 {
		*n++
	}
	store32(slot[slotWaiting:], load32(slot[slotWaiting:])^w^set)
}

// forget forgets what waits for an event to be told, but for the notifications: it returns
// the set of their peers.
func (t *Task) forget(e event, slot *upcallSlot) (peers uint32) {
	if t.newest.event == e {
		t.newest.waits = false
	}
	if w := slot.waiting(); w != 0 {
		t.setWaiting(slot, 0)
		peers = w & allPeers
	}
	return peers | t.queue.remove(e)
}

// takeFrom takes from a slot where something waits the event, or else the notification of a
// peer, the peers in turn, which has no arguments yet.
func (k *Kernel) takeFrom(t *Task, slot *upcallSlot) (args [3]uint32, from *Task) {
	w := slot.waiting()
	if w&anEvent != 0 {
		for i := range args {
			args[i] = load32(slot[slotArgs+4*i:])
		}
		t.setWaiting(slot, w&allPeers)
		return args, nil
	}
	next := w >> slot[slotTurn] << slot[slotTurn]
	if next == 0 {
		next = w
	}
	peer := bits.TrailingZeros32(next) % MaxTasks
	slot[slotTurn] = byte(peer + 1)
	t.setWaiting(slot, w&^(1<<peer))
	return args, &k.tasks[peer]
}

// takeWaiting takes what waits in the slot of an event, or reports false if nothing does.
//
//go:nosplit
func (k *Kernel) takeWaiting(t *Task, e event) ([3]uint32, bool) {
	d := k.platform.Driver(e.driver)
	if d == nil {
		return [3]uint32{}, false
	}
	s := d.Slots()
	if s == nil || e.number >= uint32(s.counts.Upcalls) || *s.of(t) == nil {
		return [3]uint32{}, false
	}
	slot := s.upcall(t, e.number)
	if slot.waiting() == 0 {
		return [3]uint32{}, false
	}
	args, from := k.takeFrom(t, slot)
	if from != nil {
		args = k.tell(from, t)
	}
	return args, true
}

// refill moves what is late to the queue as long as there is room, from each slot in turn.
func (k *Kernel) refill(t *Task) {
	for t.late != 0 && t.queue.count < queueSize {
		s, n := k.nextLate(t)
		slot := s.upcall(t, n)
		args, from := k.takeFrom(t, slot)
		t.queue.push().set(event{s.driver, n}, slot, args, from)
	}
}

// nextLate finds the next slot of the task where something is late. There is one.
func (k *Kernel) nextLate(t *Task) (*Slots, uint32) {
	for {
		s := k.allSlots[t.turn.grant]
		if *s.of(t) == nil || t.turn.number >= uint32(s.counts.Upcalls) {
			t.turn = lateTurn{grant: (t.turn.grant + 1) % k.grants}
			continue
		}
		n := t.turn.number
		t.turn.number++
		if slot := s.upcall(t, n); slot.function() != 0 && slot.waiting() != 0 {
			return s, n
		}
	}
}

// lateTurn is the slot whose turn it is to move what is late to the queue.
type lateTurn struct {
	grant  int // index in Kernel.allSlots
	number uint32
}
