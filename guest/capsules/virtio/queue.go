package virtio

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/guest/dma"
)

// Queue is a split queue (2.7). A driver adds chains of buffers by Add and tells the device by Kick; the transport hands them
// back by Driver.Used.
type Queue struct {
	transport *Transport
	next      *Queue // of the transport's
	index     int
	owes      bool
	atOnce    bool // the device mostly uses a chain before Kick ends
	quiet     bool // nobody waits for the chains that the device has

	// The rings, which the device reads and writes.
	descriptors, availableRing, usedRing dma.Shared
	availableIndex, usedIndex            dma.Word16
	deviceWants, driverWants             dma.Word16 // to be told of: an index, of the device's without FeatureEventIndex flags

	// What the driver relies on, which the device cannot reach.
	slots     []Slot
	free      *Slot // the first free one
	freeCount int
	inFlight  int    // chains that the device has
	added     uint16 // the available ring's index, with what was added
	published uint16 // likewise, as the device sees it
	seen      uint16 // the used ring's index, up to which chains were handed back
	asked     uint16 // likewise, for the chain behind which the device was asked to interrupt
}

// Slot is what the driver knows of a descriptor of a queue. The board, or the driver, has an array of them for each queue.
type Slot struct {
	_       [0]func() // not comparable: no function is made for it
	buffer  dma.Buffer
	room    uint32 // bytes that the device may write, of the whole chain that it is the head of
	round   uint32 // the transport's, when the chain was added
	address uint64 // as the descriptor has it
	rest    uint64 // likewise, its other half
	next    *Slot  // of the chain, if there are more, or of the free ones
	number  uint16 // of the descriptor
	isHead  bool   // of a chain that is in flight
}

// Bits of a descriptor's other half, in which the length has the lowest 32.
const (
	restNext   = virtio.DescNext << 32
	restWrite  = virtio.DescWrite << 32
	restNumber = 48 // where the next one's number begins
)

// Element is a part of a chain: the first Length bytes of a buffer.
type Element struct {
	Buffer   dma.Buffer
	Length   int
	Writable bool // the device writes it; else it reads it
}

// Init sets the device's queue of a number up, and lets it have as many descriptors as there are slots, a power of two, or as
// the device can have, if that is fewer. A device whose queue cannot have least is broken: then Init returns abi.FAIL. owes
// says that the device answers each chain before long, as one does that is given requests, but not one that is given room for
// what may come.
func (q *Queue) Init(t *Transport, number int, slots []Slot, least int, owes bool) abi.ErrorCode {
	if len(slots) == 0 || len(slots)&(len(slots)-1) != 0 || len(slots) > virtio.QueueSizeMax || q.transport != nil {
		panic("virtio: the size of a queue is no power of two up to 32768, or it is set up already")
	}
	if t.state != starting {
		return abi.FAIL
	}
	r := &t.place.Registers
	regQueueSelect.Write(r, uint32(number))
	size, most := len(slots), regQueueSizeMax.Read(r)
	for uint32(size) > most {
		size /= 2
	}
	switch {
	case size < max(least, 1):
		return t.giveUp("a queue is too small")
	case regQueueReady.Read(r) != 0:
		return t.giveUp("a queue is in use after a reset")
	}
	q.transport, q.index, q.owes = t, number, owes
	q.slots = slots[:size]
	for i := size - 1; i >= 0; i-- {
		q.slots[i] = Slot{next: q.free, number: uint16(i)}
		q.free = &q.slots[i]
	}
	q.freeCount = size
	n := uint16(size)
	q.descriptors = t.place.Memory.Shared(int(virtio.DescriptorsBytes(n)))
	q.availableRing = t.place.Memory.Shared(int(virtio.AvailableBytes(n)))
	q.usedRing = t.place.Memory.Shared(int(virtio.UsedBytes(n)))
	q.availableIndex, q.usedIndex = q.availableRing.Word16(virtio.RingIndex), q.usedRing.Word16(virtio.RingIndex)
	q.deviceWants, q.driverWants = q.usedRing.Word16(virtio.RingFlags), q.availableRing.Word16(int(virtio.UsedEvent(n)))
	if t.Has(virtio.FeatureEventIndex) {
		q.deviceWants = q.usedRing.Word16(int(virtio.AvailableEvent(n)))
	}
	t.add(q)
	regQueueSize.Write(r, uint32(size))
	regQueueDescLow.Write(r, uint32(q.descriptors.Address()))
	regQueueDescHigh.Write(r, uint32(q.descriptors.Address()>>32))
	regQueueDriverLow.Write(r, uint32(q.availableRing.Address()))
	regQueueDriverHigh.Write(r, uint32(q.availableRing.Address()>>32))
	regQueueDeviceLow.Write(r, uint32(q.usedRing.Address()))
	regQueueDeviceHigh.Write(r, uint32(q.usedRing.Address()>>32))
	regQueueReady.Write(r, 1)
	return abi.OK
}

// ExpectAtOnce says that the device mostly uses a chain while it is told of it, in the same exit. So Kick looks whether it has, and only asks for an interrupt if
// it has not: else the chain is handed back by a deferred call.
func (q *Queue) ExpectAtOnce() { q.atOnce = true }

// add makes a queue the last of the transport's.
func (t *Transport) add(q *Queue) {
	if t.first == nil {
		t.first = q
	} else {
		t.last.next = q
	}
	t.last = q
}

// Size is how many descriptors the queue has.
func (q *Queue) Size() int { return len(q.slots) }

// Number is the number that the queue was set up by.
func (q *Queue) Number() int { return q.index }

// Room is how many elements can be added.
func (q *Queue) Room() int { return q.freeCount }

// InFlight is how many chains the device has.
func (q *Queue) InFlight() int { return q.inFlight }

// Done reports whether the device says that it has used all that it was given, for who waits for that without interrupts.
func (q *Queue) Done() bool {
	return q.inFlight == 0 || int(q.used()) >= q.inFlight
}

// Add lends the buffers of a chain to the device, what it reads before what it writes (2.7.4.2), and returns the number by
// which Driver.Used hands them back: below Size, and of no other chain in flight. The device learns of it by Kick. Else no
// buffer is lent, and Add returns
//   - abi.FAIL if the device is broken,
//   - abi.BUSY if there is no room for so many elements, or a buffer is lent already,
//   - abi.INVAL if there is no element, or one to be read behind one to be written,
//   - abi.SIZE if a buffer has fewer bytes than its element.
func (q *Queue) Add(chain []Element) (head uint16, e abi.ErrorCode) {
	switch {
	case q.transport == nil || q.transport.state == broken:
		return 0, abi.FAIL
	case len(chain) == 0:
		return 0, abi.INVAL
	case len(chain) > q.freeCount:
		return 0, abi.BUSY
	}
	first := q.free
	s := first
	first.room = 0
	writable := false
	for i := range chain {
		if i != 0 {
			s = s.next
		}
		c := &chain[i]
		var address uint64
		if e = abi.INVAL; c.Writable || !writable {
			address, e = c.Buffer.Lend(c.Length)
		}
		if e != abi.OK {
			q.takeBack(chain[:i])
			return 0, e
		}
		s.buffer = c.Buffer
		rest := uint64(c.Length)
		if writable = c.Writable; writable {
			first.room += uint32(c.Length)
			rest |= restWrite
		}
		if i+1 < len(chain) {
			rest |= restNext | uint64(s.next.number)<<restNumber
		}
		if s.address != address || s.rest != rest {
			q.describe(s, address, rest)
		}
	}
	q.free = s.next
	q.freeCount -= len(chain)
	q.give(first)
	return first.number, abi.OK
}

// AddOne is Add for a chain of one element.
func (q *Queue) AddOne(buffer dma.Buffer, length int, writable bool) (head uint16, e abi.ErrorCode) {
	switch {
	case q.transport == nil || q.transport.state == broken:
		return 0, abi.FAIL
	case q.freeCount == 0:
		return 0, abi.BUSY
	}
	s := q.free
	address, e := buffer.Lend(length)
	if e != abi.OK {
		return 0, e
	}
	rest := uint64(length)
	s.buffer, s.room = buffer, 0
	if writable {
		s.room = uint32(length)
		rest |= restWrite
	}
	if s.address != address || s.rest != rest {
		q.describe(s, address, rest)
	}
	q.free = s.next
	q.freeCount--
	q.give(s)
	return s.number, abi.OK
}

// give puts a chain into the available ring. In a ring of one element it is there already.
func (q *Queue) give(first *Slot) {
	first.isHead, first.round = true, q.transport.round
	if len(q.slots) > 1 {
		q.availableRing.Store16(virtio.RingElements+2*q.place(q.added), first.number)
	}
	q.added++
	q.inFlight++
	if q.owes {
		q.transport.watch()
	}
}

// describe makes the descriptor of a slot say where a buffer is, and the rest of it. Mostly it says so since the last time.
func (q *Queue) describe(s *Slot, address, rest uint64) {
	s.address, s.rest = address, rest
	at := int(s.number) * virtio.DescriptorSize
	q.descriptors.Store64(at, address)
	q.descriptors.Store64(at+8, rest)
}

// takeBack makes buffers the driver's that the device was never told of.
func (q *Queue) takeBack(chain []Element) {
	for i := range chain {
		chain[i].Buffer.Complete(0)
	}
}

// place is where in a ring an index is.
func (q *Queue) place(index uint16) int { return int(index) & (len(q.slots) - 1) }

// Kick tells the device of the chains added since the last Kick, if it wants to be told (2.7.13).
func (q *Queue) Kick() {
	if q.added == q.published {
		return
	}
	q.quiet = false
	if !q.atOnce {
		q.ask()
	}
	q.publish()
	if q.atOnce && q.transport.state == ready {
		q.lookAtOnce()
	}
}

// KickQuietly is Kick for a driver that waits for none of the chains: Collect takes them back, and Driver.Used is not told of them, unless the device has
// others besides.
func (q *Queue) KickQuietly() {
	if !q.quiet && q.inFlight != int(q.added-q.published) {
		q.Kick()
		return
	}
	q.quiet = true
	q.publish()
}

// Collect takes back what was added before KickQuietly, as far as the device has used it, and reports whether the device has nothing left of the queue. What it
// has left Driver.Used hands back, as if it had been added before Kick.
func (q *Queue) Collect() bool {
	for q.quiet && q.inFlight != 0 && q.transport.state == ready {
		if n := q.used(); n != 0 {
			if _, _, problem := q.takeUsed(n); problem == "" {
				continue
			}
		}
		q.quiet = false
		q.lookAtOnce() // and a deferred call breaks a device whose fault it is: nobody is called from here
	}
	return q.inFlight == 0
}

// publish has the device see the chains added since the last time, and tells it if it wants to be told (2.7.13).
func (q *Queue) publish() {
	old, added := q.published, q.added
	q.published = added
	q.availableIndex.Store(added) // behind the stores that it tells of
	t := q.transport
	if t.state != ready {
		return // Ready will tell
	}
	q.availableRing.Fence() // the device's wish is not read before the index is there
	wants := q.deviceWants.Load()
	if t.Has(virtio.FeatureEventIndex) {
		if !virtio.NeedsEvent(wants, added, old) {
			return
		}
	} else if wants&virtio.RingNoNotify != 0 {
		return
	}
	regQueueNotify.Write(&t.place.Registers, uint32(q.index))
}

// lookAtOnce has a chain handed back that the device has used by now, or asks the device to interrupt for it.
func (q *Queue) lookAtOnce() {
	n := q.used()
	if n == 0 {
		n = q.usedBehindAsk()
	}
	if t := q.transport; n != 0 {
		t.left = t.left || t.atOnce != nil && t.atOnce != q
		t.atOnce = q
		t.deferred.Set()
	}
}

// used is how many chains the device says that it has used, and nobody has handed back.
func (q *Queue) used() uint16 { return q.usedIndex.Load() - q.seen }

// usedBehindAsk asks the device to interrupt for the next chain that it uses, and returns how many it says to have used then: 0 if it was asked before.
func (q *Queue) usedBehindAsk() uint16 {
	if !q.ask() {
		return 0
	}
	q.availableRing.Fence()
	return q.used()
}

// silent reports whether the device has used no chain, and was asked to interrupt for the next.
func (q *Queue) silent() bool { return q.usedIndex.Load() == q.seen && q.asked == q.seen }

// serve hands chains back that the device has used, but maxServed at most, and returns how many. It is called while chains are
// in flight, and somebody waits for them. If it returns fewer, the device was asked to interrupt for the next, but behind the last one: for what is added from
// then on Kick does that.
func (q *Queue) serve() (served int) {
	t := q.transport
	for served < maxServed {
		n := q.used()
		if n == 0 {
			if n = q.usedBehindAsk(); n == 0 {
				break
			}
		}
		last := q.inFlight == 1
		head, written, problem := q.takeUsed(n)
		if problem != "" {
			t.Break(problem)
			break
		}
		t.driver.Used(q, head, written)
		if t.state != ready {
			break
		}
		if served++; last {
			break
		}
	}
	return served
}

// ask asks the device to interrupt for the next chain that it uses, and reports whether it was not asked before.
func (q *Queue) ask() bool {
	if q.asked == q.seen || !q.transport.Has(virtio.FeatureEventIndex) {
		return false
	}
	q.asked = q.seen
	q.driverWants.Store(q.seen)
	return true
}

// takeUsed makes the buffers of the next chain that the device has used the driver's, and its descriptors free, or says what is wrong with what the
// device says of it, and of n chains that it says to have used.
func (q *Queue) takeUsed(n uint16) (head uint16, written uint32, problem string) {
	if int(n) > q.inFlight {
		return 0, 0, "its used index counts chains that it was not given"
	}
	element := q.usedRing.Load64(virtio.RingElements + virtio.UsedSize*q.place(q.seen))
	id, written := uint32(element), uint32(element>>32)
	if id >= uint32(len(q.slots)) {
		return 0, 0, notGiven
	}
	s := &q.slots[id]
	switch {
	case !s.isHead:
		return 0, 0, notGiven
	case written > s.room:
		return 0, 0, "it claims to have written more than it may"
	}
	s.isHead = false
	q.seen++
	q.inFlight--
	q.release(s)
	return s.number, written, ""
}

// release makes the buffers of a chain the driver's. What the device says to have written of them was looked at.
func (q *Queue) release(first *Slot) {
	last := first
	for ; ; last = last.next {
		last.buffer.Complete(0)
		q.freeCount++
		if last.rest&restNext == 0 {
			break
		}
	}
	last.next, q.free = q.free, first
}

const notGiven = "it has used a chain that it was not given"

// reclaim makes all buffers the driver's, after a reset.
func (q *Queue) reclaim() {
	for i := range q.slots {
		q.slots[i].buffer.Reclaim()
	}
}
