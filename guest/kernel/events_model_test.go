package kernel_test

import "slices"

// An eventName names a kind of event: driver and subscribe number.
type eventName struct{ driver, number uint32 }

// A queuedCall is a call that waits for a Yield.
type queuedCall struct {
	event    eventName
	args     [3]uint32
	userdata uint64
}

// An eventModel says what becomes of the events of one run of a task, by the rules of
// docs/abi.md.
type eventModel struct {
	userdata map[eventName]uint64 // of those that are subscribed
	queue    []queuedCall         // oldest first
	calling  bool                 // a Yield is to run the oldest call
	kept     map[eventName][3]uint32
	awaited  *eventName           // by a WaitFor
	answer   *[3]uint32           // of the event that it got
	shared   map[eventName]uint32 // lengths of read-write buffers, by their allow numbers
}

func newEventModel() *eventModel {
	return &eventModel{userdata: map[eventName]uint64{}, kept: map[eventName][3]uint32{}, shared: map[eventName]uint32{}}
}

// subscribe makes a function the upcall of an event, or none.
func (m *eventModel) subscribe(e eventName, fn, userdata uint64) {
	delete(m.userdata, e)
	if fn != 0 {
		m.userdata[e] = userdata
	}
	delete(m.kept, e)
	m.queue = slices.DeleteFunc(m.queue, func(c queuedCall) bool { return c.event == e })
}

// waiting is how many calls the kernel's queue has. What a Yield takes is out of it as soon as
// the task runs again.
func (m *eventModel) waiting(running bool) int {
	if m.calling && running {
		return len(m.queue) - 1
	}
	return len(m.queue)
}

// happen makes an event happen, and returns what becomes of it.
func (m *eventModel) happen(e eventName, args [3]uint32, running bool) string {
	userdata, subscribed := m.userdata[e]
	switch {
	case m.awaited != nil && *m.awaited == e:
		m.awaited, m.answer = nil, &args
		return "answered"
	case !subscribed:
		m.kept[e] = args
		return "kept"
	case m.waiting(running) == 10:
		return "full"
	}
	m.queue = append(m.queue, queuedCall{e, args, userdata})
	return "queued"
}

// waitFor takes an event that has happened, or else notes that it is waited for.
func (m *eventModel) waitFor(e eventName) {
	if i := slices.IndexFunc(m.queue, func(c queuedCall) bool { return c.event == e }); i >= 0 {
		args := m.queue[i].args
		m.answer = &args
		m.queue = slices.Delete(m.queue, i, i+1)
	} else if args, ok := m.kept[e]; ok {
		delete(m.kept, e)
		m.answer = &args
	} else {
		m.awaited = &e
	}
}
