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
	call  Upcall
}

// upcallQueue is a ring of the upcalls that wait for a Yield, oldest first.
type upcallQueue struct {
	_           notComparable
	head, count int
	ring        [queueSize]queuedUpcall
}

// at is the i-th oldest entry, 0 <= i < count.
func (q *upcallQueue) at(i int) *queuedUpcall { return &q.ring[(q.head+i)%queueSize] }

// push adds an upcall, for the caller to fill in, or returns nil if the queue is full.
func (q *upcallQueue) push() *queuedUpcall {
	if q.count == queueSize {
		return nil
	}
	q.count++
	return q.at(q.count - 1)
}

// pop takes the oldest upcall. The queue is not empty.
func (q *upcallQueue) pop() Upcall {
	u := q.at(0).call
	q.head = (q.head + 1) % queueSize
	q.count--
	return u
}

// take takes the oldest upcall of that event, if there is one.
func (q *upcallQueue) take(e event) (Upcall, bool) {
	for i := range q.count {
		if q.at(i).event == e {
			u := q.at(i).call
			for ; i < q.count-1; i++ {
				*q.at(i) = *q.at(i + 1)
			}
			q.count--
			return u, true
		}
	}
	return Upcall{}, false
}

// remove drops all upcalls of that event.
func (q *upcallQueue) remove(e event) {
	kept := 0
	for i := range q.count {
		if q.at(i).event != e {
			*q.at(kept) = *q.at(i)
			kept++
		}
	}
	q.count = kept
}

func (q *upcallQueue) clear() { q.head, q.count = 0, 0 }

// runUpcall makes a Yielded task continue in its oldest upcall. The queue is not empty.
func (k *Kernel) runUpcall(t *Task) {
	if !k.cpu.Upcall(t.slot, &t.memory, t.queue.pop()) {
		k.fault(t, &Fault{Vector: NoVector, Name: "no writeable stack for an upcall"})
		return
	}
	t.state = Running
}
