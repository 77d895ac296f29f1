package kernel

// Events that happen while their upcall is null are kept for a Yield-WaitFor, the newest of
// each. The newest of all is in the task's record, for it is mostly the one that is waited
// for; older ones are in the upcall slots of their events.

// keptEvent is an event that is kept in the task's record.
type keptEvent struct {
	event event
	args  [3]uint32
	waits bool        // there is one
	slot  *upcallSlot // the event's upcall slot
}

// keep keeps an event whose upcall slot that is.
//
//go:nosplit
func (t *Task) keep(e event, slot *upcallSlot, a0, a1, a2 uint32) {
	n := &t.newest
	if n.waits && n.event != e {
		t.older++
		store64(n.slot[slotEvent:], uint64(n.args[0])|uint64(n.args[1])<<32)
		store64(n.slot[slotEventMore:], uint64(n.args[2])|eventWaits)
	}
	if t.older != 0 {
		t.dropOlder(slot)
	}
	n.event, n.slot, n.waits = e, slot, true
	n.args[0], n.args[1], n.args[2] = a0, a1, a2
}

// dropKept forgets the event with that upcall slot, if it is kept.
func (t *Task) dropKept(e event, slot *upcallSlot) {
	if t.newest.event == e {
		t.newest.waits = false
	}
	t.dropOlder(slot)
}

// dropOlder clears the event that an upcall slot keeps, if any.
func (t *Task) dropOlder(slot *upcallSlot) {
	if load64(slot[slotEventMore:])&eventWaits != 0 {
		store64(slot[slotEventMore:], 0)
		t.older--
	}
}

// takeOlder takes the event from its upcall slot, or reports false if it is not kept there.
//
//go:nosplit
func (k *Kernel) takeOlder(t *Task, e event) ([3]uint32, bool) {
	d := k.platform.Driver(e.driver)
	if d == nil {
		return [3]uint32{}, false
	}
	s := d.Slots()
	if s == nil || e.number >= uint32(s.counts.Upcalls) || *s.of(t) == nil {
		return [3]uint32{}, false
	}
	slot := s.upcall(t, e.number)
	low, high := load64(slot[slotEvent:]), load64(slot[slotEventMore:])
	t.dropOlder(slot)
	return [3]uint32{uint32(low), uint32(low >> 32), uint32(high)}, high&eventWaits != 0
}
