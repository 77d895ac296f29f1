package virtio

import (
	"encoding/binary"
	"fmt"
	"math"

	"kapsel/guest/abi/virtio"
)

// What a queue has in a turn before others have theirs. The bytes bound what a driver can have done by requests that are as large as can be,
// the one that is at work when they are used up aside.
const (
	requestsPerTurn = 64
	bytesPerTurn    = 4 << 20
)

// Queue is a split virtqueue as its device has it (2.7), for one session. All calls but Wake are of whoever serves
// the device, within Notify. Nothing of its state is in the guest's memory: what stands there is read once,
// and written for the driver alone.
type Queue struct {
	index      int
	size       uint16
	eventIndex bool // EVENT_IDX was accepted
	ready      bool // the driver set the queue up

	memory    Memory
	transport *MMIO
	session   *session // the one that it is of now; the transport begins another when one of the queues was stopped
	counters  *counters

	descriptors, availableRing, usedRing []byte
	usedAddress                          uint64

	next, filled uint16 // index of the next request to take, and behind the last one seen
	used         uint16 // index behind the last request given back
	told         uint16 // where used was when the driver was last told, or would have been
	turn         int    // requests until Next gives none
	moved        uint64 // bytes, in this turn
	more         bool   // Next gave none for the turn alone

	inFlight []bool   // by head
	again    []uint16 // heads of requests that a session ended with, to be taken by the next one
	lent     int      // descriptors in flight
	free     []*Chain
}

// Index returns the queue's number.
func (q *Queue) Index() int { return q.index }

// Wake has Notify called for the queue, soon, unless the session has ended. It may be called from any goroutine, and within Notify. While
// the device is paused it does nothing: Resume has all queues looked at.
func (q *Queue) Wake() {
	if s := q.transport.live.Load(); s != nil {
		s.wake(q.index)
	}
}

// Next takes the next request, all of it checked. It returns false if there is none: then Notify is called when there is
// one. A request that breaks the rules breaks the device.
func (q *Queue) Next() (*Chain, bool) {
	if !q.ready || q.session.broken() || q.session.abandoned() {
		return nil, false
	}
	if q.turn == 0 || q.left() == 0 || q.session.paused() {
		q.more = true
		return nil, false
	}
	some, err := q.look()
	if err != nil {
		q.Break(err)
	}
	if !some || err != nil {
		return nil, false
	}
	q.turn--
	head := q.head()
	c := q.chain()
	if err := c.gather(head); err != nil {
		q.Break(fmt.Errorf("the request at descriptor %d: %w", head, err))
		return nil, false
	}
	return c, true
}

// left is how many bytes can be moved in this turn. A session that ends has as many turns as there are requests, and no more: each is done.
func (q *Queue) left() uint64 {
	if q.session.ending() {
		return math.MaxUint64
	}
	return bytesPerTurn - min(q.moved, bytesPerTurn)
}

// head takes the number of the next request.
func (q *Queue) head() (head uint16) {
	if len(q.again) > 0 {
		head, q.again = q.again[0], q.again[1:]
		return head
	}
	head = load16(q.availableRing, virtio.RingElements+2*uint64(q.next%q.size))
	q.next++
	return head
}

// look reports whether there is a request. If there is none the driver will notify of the next one.
func (q *Queue) look() (bool, error) {
	if q.filled != q.next || len(q.again) > 0 {
		return true, nil
	}
	if some, err := q.reload(); some || err != nil {
		return some, err
	}
	if !q.eventIndex {
		return false, nil // the driver notifies of each: the used ring's flags are 0
	}
	event := virtio.AvailableEvent(q.size)
	store16(q.usedRing, event, q.next)
	q.memory.Wrote(q.usedAddress+event, 2)
	fence() // the driver filled, then looked: one of both sees the other
	return q.reload()
}

// reload reads how far the driver has filled the queue, at most its size ahead of what it got back.
func (q *Queue) reload() (bool, error) {
	q.filled = load16(q.availableRing, virtio.RingIndex)
	if pending := q.filled - q.used; pending > q.size || pending < q.next-q.used {
		return false, fmt.Errorf("its available index went from %d to %d, with %d requests in flight, in a queue of %d",
			q.next, q.filled, q.next-q.used, q.size)
	}
	return q.filled != q.next, nil
}

// chain returns a chain that is not in use.
func (q *Queue) chain() *Chain {
	n := len(q.free)
	if n == 0 {
		return &Chain{queue: q}
	}
	c := q.free[n-1]
	q.free = q.free[:n-1]
	return c
}

// Use gives a request back, of whose room the device filled the first written bytes. The driver is interrupted, if it
// wants to be, when Notify returns. A chain is given back once, in any order.
func (q *Queue) Use(c *Chain, written uint32) {
	if c.queue != q || !c.taken || q.session.broken() {
		return
	}
	written = uint32(min(uint64(written), c.writable.bytes))
	q.counters.use(c.readable.bytes-c.readable.left, uint64(written))
	q.release(c)
	at := virtio.RingElements + virtio.UsedSize*uint64(q.used%q.size)
	element := q.usedRing[at:]
	binary.LittleEndian.PutUint32(element, uint32(c.head))
	binary.LittleEndian.PutUint32(element[4:], written)
	q.memory.Wrote(q.usedAddress+at, virtio.UsedSize)
	q.used++
	store32(q.usedRing, virtio.RingFlags, uint32(q.used)<<16) // flags 0, and the index: the element stands before it
	q.memory.Wrote(q.usedAddress, virtio.RingElements)
}

// release forgets a request that was in flight.
func (q *Queue) release(c *Chain) {
	c.taken = false
	q.inFlight[c.head] = false
	q.lent -= c.descriptors
	q.free = append(q.free, c)
}

// drop forgets all requests in flight, but that they are to be done if there is another session: that of a device of
// which one queue was stopped.
func (q *Queue) drop() {
	for head, taken := range q.inFlight {
		if taken {
			q.again = append(q.again, uint16(head))
		}
	}
	clear(q.inFlight)
	q.lent, q.free = 0, nil
}

// Break breaks the device: its driver violated the specification in the way that err says, and has to reset it.
func (q *Queue) Break(err error) { q.session.breakDevice(fmt.Errorf("queue %d: %w", q.index, err)) }

// CountError counts a request that failed although it kept the rules, such as a read behind a disk's end.
func (q *Queue) CountError() { q.counters.errors.Add(1) }

// interrupt tells the driver of what was given back since the last time, if it wants to know (2.7.7.2, 2.7.10).
func (q *Queue) interrupt() {
	old := q.told
	if q.used == old {
		return
	}
	q.told = q.used
	wanted := false
	if q.eventIndex { // the store of the index was a full fence
		wanted = virtio.NeedsEvent(load16(q.availableRing, virtio.UsedEvent(q.size)), q.used, old)
	} else {
		wanted = load16(q.availableRing, virtio.RingFlags)&virtio.RingNoNotify == 0
	}
	if wanted {
		q.session.interrupt()
	}
}
