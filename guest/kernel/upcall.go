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
func (q *upcallQueue) pop() *Upcall {
	u := &q.at(0).call
	if q.head++; q.head == queueSize {
		q.head = 0
	}
	q.count--
	return u
}

// take takes the oldest upcall of that event, and returns its arguments, if there is one.
func (q *upcallQueue) take(e event) (args [3]uint32, ok bool) {
	i := q.find(e)
	if i == q.count {
		return args, false
	}
	args = q.at(i).call.Args
	q.drop(i)
	return args, true
}

// remove drops all upcalls of that event.
func (q *upcallQueue) remove(e event) {
	for i := q.find(e); i < q.count; i = q.find(e) {
		q.drop(i)
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

// runUpcall makes a Yielded task continue in its oldest upcall. The queue is not empty.
func (k *Kernel) runUpcall(t *Task) {
	if !k.cpu.Upcall(t.slot, &t.memory, t.queue.pop()) {
		k.fault(t, &Fault{Vector: NoVector, Name: "no writeable stack for an upcall"})
		return
	}
	t.state = Running
}
