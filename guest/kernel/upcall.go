package kernel

// queueSize is how many upcalls wait for a task at most.
const queueSize = 10

// event names a kind of upcall: driver and subscribe number.
type event struct {
	driver, number uint32
}

// queuedUpcall is an upcall that happened while its function was not null.
type queuedUpcall struct {
	_     notComparable
	event event
	from  *Task // the peer of a notification, which has no arguments until it is told; else nil
	call  Upcall
}

// upcallQueue is a ring of the upcalls that wait for a Yield, oldest first.
type upcallQueue struct {
	_           notComparable
	head, count int
	ring        [queueSize]queuedUpcall
}

// at is the i-th oldest entry, 0 <= i < count.
func (q *upcallQueue) at(i int) *queuedUpcall {
	i += q.head
	if i >= queueSize {
		i -= queueSize
	}
	return &q.ring[i]
}

// push adds an upcall, for the caller to fill in, or returns nil if the queue is full.
func (q *upcallQueue) push() *queuedUpcall {
	if q.count == queueSize {
		return nil
	}
	q.count++
	return q.at(q.count - 1)
}

// pop takes the oldest upcall, which stands until another is added. The queue is not empty.
func (q *upcallQueue) pop() *queuedUpcall {
	u := q.at(0)
	if q.head++; q.head == queueSize {
		q.head = 0
	}
	q.count--
	return u
}

// remove drops all upcalls of that event, and returns the set of peers whose notifications
// were among them.
func (q *upcallQueue) remove(e event) (peers uint64) {
	for i := q.find(e); i < q.count; i = q.find(e) {
		if from := q.at(i).from; from != nil {
			peers |= from.bit
		}
		q.drop(i)
	}
	return peers
}

// removeFrom drops all notifications of a peer.
func (q *upcallQueue) removeFrom(peer *Task) {
	for i := q.count - 1; i >= 0; i-- {
		if q.at(i).from == peer {
			q.drop(i)
		}
	}
}

// find is the place of the oldest upcall of that event, or count.
func (q *upcallQueue) find(e event) int {
	i := 0
	for i < q.count && q.at(i).event != e {
		i++
	}
	return i
}

// drop takes the i-th oldest upcall out, and closes the gap.
func (q *upcallQueue) drop(i int) {
	q.count--
	for ; i < q.count; i++ {
		*q.at(i) = *q.at(i + 1)
	}
}

func (q *upcallQueue) clear() { q.head, q.count = 0, 0 }

// pending is how many upcalls wait, where those that are late at one slot are one.
func (t *Task) pending() int { return t.queue.count + int(t.late) }

// takeQueued takes the oldest queued upcall of an event, or reports false if there is none.
func (k *Kernel) takeQueued(t *Task, e event) (args [3]uint32, ok bool) {
	i := t.queue.find(e)
	if i == t.queue.count {
		return args, false
	}
	u := t.queue.at(i)
	if u.from != nil {
		k.tell(u, t)
	}
	args = u.call.Args
	t.queue.drop(i)
	if t.late != 0 {
		k.refill(t)
	}
	return args, true
}

// tell gives a notification its arguments: the slot of the peer, and length and address of what
// that lends now.
func (k *Kernel) tell(u *queuedUpcall, t *Task) {
	length, addr := k.tellLoan(u.from, t)
	u.call.Args = [3]uint32{uint32(u.from.slot), length, addr}
}

// runUpcall makes a Yielded task continue in its oldest upcall. The queue is not empty.
//
//go:nosplit
func (k *Kernel) runUpcall(t *Task) {
	u := t.queue.pop()
	if u.from != nil {
		k.tell(u, t)
	}
	if !k.cpu.Upcall(t.slot, &t.memory, &u.call) {
		*t.results = [4]uint64{} // for the dump
		k.fault(t, &Fault{Vector: NoVector, Name: "no writeable stack for an upcall"})
		return
	}
	t.state = Running
	if t.late != 0 {
		k.refill(t)
	}
}
