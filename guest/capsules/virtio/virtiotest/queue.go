package virtiotest

import (
	"encoding/binary"

	"kapsel/guest/abi/virtio"
)

// Queue is the device's side of a queue.
type Queue struct {
	device *Device
	number int
	ready  bool
	size   uint32
	// Descriptor table, available ring, used ring.
	addresses [3]uint64
	taken     uint16 // the available ring's index, up to which chains were taken
	used      uint16 // the used ring's index
}

// A Chain is what the driver made available.
type Chain struct {
	Head     uint32
	Readable []byte   // a copy
	Writable [][]byte // the memory itself
}

// Room is how many bytes the device may write.
func (c *Chain) Room() int {
	n := 0
	for _, part := range c.Writable {
		n += len(part)
	}
	return n
}

// Write writes p to the writable parts, and returns how many bytes there was room for.
func (c *Chain) Write(p []byte) uint32 {
	n := 0
	for _, part := range c.Writable {
		n += copy(part, p[n:])
	}
	return uint32(n)
}

// setUp takes a write to a register of the queue's, or reports that it is none.
func (q *Queue) setUp(offset uint16, v uint32) bool {
	if q.ready {
		q.device.breach("writes %#x to register %#x of a queue that is ready", v, offset)
	}
	half := func(i int, shift uint) {
		q.addresses[i] = q.addresses[i]&^(0xffff_ffff<<shift) | uint64(v)<<shift
	}
	switch offset {
	case virtio.RegQueueSize:
		q.size = v
	case virtio.RegQueueDescLow:
		half(0, 0)
	case virtio.RegQueueDescHigh:
		half(0, 32)
	case virtio.RegQueueDriverLow:
		half(1, 0)
	case virtio.RegQueueDriverHigh:
		half(1, 32)
	case virtio.RegQueueDeviceLow:
		half(2, 0)
	case virtio.RegQueueDeviceHigh:
		half(2, 32)
	case virtio.RegQueueReady:
		q.enable(v)
	default:
		return false
	}
	return true
}

// enable looks whether the queue can be used.
func (q *Queue) enable(v uint32) {
	d, n := q.device, uint16(q.size)
	switch {
	case v != 1 || d.Status&virtio.StatusFeaturesOK == 0 || d.Status&virtio.StatusDriverOK != 0:
		d.breach("writes %#x to QueueReady with status %#x", v, d.Status)
	case q.size == 0 || q.size&(q.size-1) != 0 || q.size > d.QueueMax[q.number]:
		d.breach("gives queue %d the size %d", q.number, q.size)
	case d.at(q.addresses[0], virtio.DescriptorsBytes(n)) == nil || q.addresses[0]%virtio.DescriptorAlign != 0,
		d.at(q.addresses[1], virtio.AvailableBytes(n)) == nil || q.addresses[1]%virtio.AvailableAlign != 0,
		d.at(q.addresses[2], virtio.UsedBytes(n)) == nil || q.addresses[2]%virtio.UsedAlign != 0:
		d.breach("gives queue %d the addresses %#x", q.number, q.addresses)
	default:
		q.ready = true
	}
}

// Size is how many descriptors the driver gave the queue.
func (q *Queue) Size() int { return int(q.size) }

// Descriptors is the descriptor table, Available and Used the rings: the memory itself. Each is nil while the queue is not ready.
func (q *Queue) Descriptors() []byte {
	return q.part(0, virtio.DescriptorsBytes(uint16(q.size)))
}

// Available is the available ring.
func (q *Queue) Available() []byte { return q.part(1, virtio.AvailableBytes(uint16(q.size))) }

// Used is the used ring.
func (q *Queue) Used() []byte { return q.part(2, virtio.UsedBytes(uint16(q.size))) }

func (q *Queue) part(i int, n uint64) []byte {
	if !q.ready {
		return nil
	}
	return q.device.at(q.addresses[i], n)
}

// Waiting is how many chains wait to be taken.
func (q *Queue) Waiting() int {
	if !q.ready {
		return 0
	}
	return int(binary.LittleEndian.Uint16(q.Available()[virtio.RingIndex:]) - q.taken)
}

// Next takes the next chain, if there is one.
func (q *Queue) Next() (*Chain, bool) {
	if q.Waiting() == 0 {
		return nil, false
	}
	if q.Waiting() > q.Size() {
		q.device.breach("makes %d chains available in a queue of %d", q.Waiting(), q.size)
		return nil, false
	}
	available := q.Available()
	head := binary.LittleEndian.Uint16(available[virtio.RingElements+2*(int(q.taken)%q.Size()):])
	q.taken++
	binary.LittleEndian.PutUint16(q.Used()[virtio.AvailableEvent(uint16(q.size)):], q.taken)
	return q.chain(head), true
}

// chain is the chain of descriptors from head on.
func (q *Queue) chain(head uint16) *Chain {
	c := &Chain{Head: uint32(head)}
	for at, n := int(head), 1; ; n++ {
		if at >= q.Size() || n > q.Size() {
			q.device.breach("has a chain that leaves the table, or never ends")
			return c
		}
		d := q.Descriptors()[virtio.DescriptorSize*at:]
		memory := q.device.at(binary.LittleEndian.Uint64(d), uint64(binary.LittleEndian.Uint32(d[8:])))
		flags := binary.LittleEndian.Uint16(d[12:])
		switch {
		case len(memory) == 0:
			q.device.breach("lends memory that is none: % x", d[:virtio.DescriptorSize])
		case flags&^(virtio.DescNext|virtio.DescWrite) != 0:
			q.device.breach("has a descriptor with flags %#x", flags)
		case flags&virtio.DescWrite != 0:
			c.Writable = append(c.Writable, memory)
		case c.Writable != nil:
			q.device.breach("has the device read behind what it writes")
		default:
			c.Readable = append(c.Readable, memory...)
		}
		if flags&virtio.DescNext == 0 {
			return c
		}
		at = int(binary.LittleEndian.Uint16(d[14:]))
	}
}

// Use says that a chain is used and that the device wrote so many bytes, whether that is so or not. It interrupts if the
// driver wants that.
func (q *Queue) Use(head, written uint32) {
	used := q.Used()
	if used == nil {
		return
	}
	at := virtio.RingElements + virtio.UsedSize*(int(q.used)%q.Size())
	binary.LittleEndian.PutUint32(used[at:], head)
	binary.LittleEndian.PutUint32(used[at+4:], written)
	q.SetUsedIndex(q.used + 1)
}

// SetUsedIndex moves the used ring's index, to wherever, and interrupts if the driver wants that.
func (q *Queue) SetUsedIndex(index uint16) {
	if !q.ready {
		return
	}
	old := q.used
	q.used = index
	binary.LittleEndian.PutUint16(q.Used()[virtio.RingIndex:], index)
	event := binary.LittleEndian.Uint16(q.Available()[virtio.UsedEvent(uint16(q.size)):])
	if q.device.Accepted&virtio.FeatureEventIndex == 0 || virtio.NeedsEvent(event, index, old) {
		q.device.Interrupt |= virtio.InterruptUsed
	}
}
