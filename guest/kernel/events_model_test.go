package kernel_test

import (
	"slices"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// An eventName names a kind of event: driver and subscribe number.
type eventName struct{ driver, number uint32 }

// place is the order in which the drivers' events have their turns.
func (e eventName) place() uint32 { return 3*(e.driver-probeDriver) + e.number }

// happened is an event that is to be told: with arguments, or the notification of a peer, which
// has none until it is told.
type happened struct {
	args [3]uint32
	from int // the peer's slot, or noPeer
}

const noPeer = -1

// A queuedCall is a call that waits for a Yield.
type queuedCall struct {
	event    eventName
	what     happened
	userdata uint64
}

// waiting is what waits beside a subscription: an event, and peers' notifications.
type waiting struct {
	event *[3]uint32
	peers [kernel.MaxTasks]bool
	turn  int // the peer whose turn is next
}

func (w *waiting) empty() bool { return w.event == nil && !slices.Contains(w.peers[:], true) }

func (w *waiting) take() happened {
	if w.event != nil {
		args := *w.event
		w.event = nil
		return happened{args, noPeer}
	}
	for !w.peers[w.turn%kernel.MaxTasks] {
		w.turn++
	}
	peer := w.turn % kernel.MaxTasks
	w.peers[peer] = false
	w.turn = peer + 1
	return happened{from: peer}
}

// An eventModel says what becomes of the events of one run of a task, by the rules of
// docs/abi.md.
type eventModel struct {
	slot     int
	loans    *loansModel
	userdata map[eventName]uint64 // of those that are subscribed
	queue    []queuedCall         // oldest first
	yields   bool                 // a Yield is to run the oldest call
	called   *queuedCall          // it has taken it, and told it
	waits    map[eventName]*waiting
	turn     uint32               // the place whose turn it is to move to the queue
	awaited  *eventName           // by a WaitFor
	answer   *[3]uint32           // of the event that it got
	shared   map[eventName]uint32 // lengths of read-write buffers, by their allow numbers
}

func newEventModel(slot int, loans *loansModel) *eventModel {
	return &eventModel{slot: slot, loans: loans, userdata: map[eventName]uint64{}, waits: map[eventName]*waiting{}, shared: map[eventName]uint32{}}
}

// waiting is what waits for an event.
func (m *eventModel) waiting(e eventName) *waiting {
	if m.waits[e] == nil {
		m.waits[e] = &waiting{}
	}
	return m.waits[e]
}

// late are the events that wait for room, in the order of their turns.
func (m *eventModel) late() []eventName {
	var late []eventName
	for e, w := range m.waits {
		if _, subscribed := m.userdata[e]; subscribed && !w.empty() {
			late = append(late, e)
		}
	}
	slices.SortFunc(late, func(a, b eventName) int { return int((a.place()+6-m.turn)%6) - int((b.place()+6-m.turn)%6) })
	return late
}

// refill moves to the queue what waits for room.
func (m *eventModel) refill() {
	for late := m.late(); len(late) != 0 && len(m.queue) < 10; late = m.late() {
		e := late[0]
		m.queue = append(m.queue, queuedCall{e, m.waits[e].take(), m.userdata[e]})
		m.turn = (e.place() + 1) % 6
	}
}

// subscribe makes a function the upcall of an event, or none.
func (m *eventModel) subscribe(e eventName, fn, userdata uint64) {
	w := m.waiting(e)
	w.event = nil
	m.queue = slices.DeleteFunc(m.queue, func(c queuedCall) bool {
		if c.event == e && c.what.from != noPeer {
			w.peers[c.what.from] = true
		}
		return c.event == e
	})
	delete(m.userdata, e)
	if fn != 0 {
		m.userdata[e] = userdata
	}
	m.refill()
}

// happen makes an event happen, and returns what becomes of it.
func (m *eventModel) happen(e eventName, what happened) string {
	userdata, subscribed := m.userdata[e]
	w := m.waiting(e)
	before := false
	switch {
	case m.awaited != nil && *m.awaited == e:
		m.awaited, m.answer = nil, m.tell(what)
		return "answered"
	case subscribed && len(m.queue) < 10:
		m.queue = append(m.queue, queuedCall{e, what, userdata})
		return "queued"
	case what.from != noPeer:
		before, w.peers[what.from] = w.peers[what.from], true
	default:
		before, w.event = w.event != nil, &what.args
	}
	switch {
	case !subscribed:
		return "kept"
	case before:
		return "replaced"
	}
	return "late"
}

// tell gives an event the arguments with which it is told.
func (m *eventModel) tell(what happened) *[3]uint32 {
	if what.from == noPeer {
		return &what.args
	}
	length, addr := m.loans.tell(what.from, m.slot)
	return &[3]uint32{uint32(what.from), length, addr}
}

// waitFor takes an event that has happened, or else notes that it is waited for.
func (m *eventModel) waitFor(e eventName) {
	i := slices.IndexFunc(m.queue, func(c queuedCall) bool { return c.event == e })
	switch w := m.waiting(e); {
	case i >= 0:
		m.answer = m.tell(m.queue[i].what)
		m.queue = slices.Delete(m.queue, i, i+1)
		m.refill()
	case !w.empty():
		m.answer = m.tell(w.take())
	default:
		m.awaited = &e
	}
}

// call takes the oldest call out of the queue, as a Yield does.
func (m *eventModel) call() {
	call := m.queue[0]
	call.what.args = *m.tell(call.what)
	m.called, m.yields = &call, false
	m.queue = m.queue[1:]
	m.refill()
}

// peerStarts takes back what the last run of a peer notified of.
func (m *eventModel) peerStarts(peer int) {
	m.queue = slices.DeleteFunc(m.queue, func(c queuedCall) bool { return c.what.from == peer })
	for _, w := range m.waits {
		w.peers[peer] = false
	}
	m.refill()
}

// A loanModel is what a borrower has of a lender.
type loanModel struct {
	of     eventName // the buffer
	size   uint32    // what is lent
	mapped uint32    // what the borrower can touch: from size on its own page
}

// loansModel has the loans by the slots of lender and borrower.
type loansModel [eventTasks][eventTasks]loanModel

// tell is what a borrower is told: length and address of what is lent to it now.
func (m *loansModel) tell(lender, borrower int) (length, addr uint32) {
	l := &m[lender][borrower]
	l.mapped = l.size
	if l.size == 0 {
		return 0, 0
	}
	return l.size, abi.LoanStart + uint32(lender)*abi.LoanSize
}

func (m *loansModel) lend(lender, borrower int, of eventName, size uint32) {
	l := &m[lender][borrower]
	*l = loanModel{of, size, max(size, l.mapped)}
}

// takeBack ends all loans of a buffer.
func (m *loansModel) takeBack(lender int, of eventName) {
	for borrower := range m[lender] {
		if l := &m[lender][borrower]; l.of == of {
			l.size = 0
		}
	}
}

// ends ends all loans of a task and to it.
func (m *loansModel) ends(slot int) {
	for other := range m {
		m[slot][other].size = 0
		m[other][slot] = loanModel{}
	}
}
