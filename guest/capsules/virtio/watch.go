package virtio

// A device that does not answer is found by an alarm, which is set while a chain is in flight that the device owes an answer
// to: one that stays through answerRounds rounds of the alarm. In each round the device is looked at as if it had
// interrupted, for its rings and for its configuration, because interrupts get lost on the way: QEMU's line stays up, without
// another edge, from a change of the configuration until that is acknowledged, whatever is used meanwhile. So a round follows
// each interrupt behind which such a change may be hidden, too.
const (
	roundSeconds = 1
	answerRounds = 30
)

// watch sets the alarm, unless it is set.
func (t *Transport) watch() {
	if !t.watched && t.place.Alarm != nil {
		t.beginRound()
	}
}

// beginRound sets the alarm.
func (t *Transport) beginRound() {
	a := t.place.Alarm
	t.watched = true
	a.SetAlarm(a.Now() + roundSeconds*uint64(a.Frequency()))
}

// AlarmFired serves the device's alarm.
func (t *Transport) AlarmFired() {
	t.watched = false
	t.round++
	if t.state != ready {
		return
	}
	t.acknowledge()
	if t.serve() {
		t.watch()
	}
	t.serveConfig()
	if t.state != ready {
		return
	}
	for q := t.first; q != nil; q = q.next {
		switch {
		case !q.owes:
		case q.late():
			t.Break("it does not answer")
			return
		case q.inFlight != 0:
			t.watch()
		}
	}
}

// late reports whether a chain is in flight for longer than a device may take.
func (q *Queue) late() bool {
	for i := range q.slots {
		s := &q.slots[i]
		if s.isHead && q.transport.round-s.round > answerRounds {
			return true
		}
	}
	return false
}
