package virtio

// Descriptor is an element of a queue's descriptor table (2.7.5), which is aligned to 16 bytes.
type Descriptor struct {
	Address uint64 // physical
	Length  uint32
	Flags   uint16
	Next    uint16 // with DescNext
}

// Flags of a descriptor.
const (
	DescNext     = 1 // the chain goes on at Next
	DescWrite    = 2 // the device writes the buffer; else it reads it
	DescIndirect = 4 // the buffer is a table of descriptors
)

// UsedElement is an element of a used ring (2.7.8).
type UsedElement struct {
	ID     uint32 // of the chain's first descriptor
	Length uint32 // bytes that the device wrote
}

// Sizes in bytes, and the alignments that 2.7 asks for.
const (
	DescriptorSize  = 16
	DescriptorAlign = 16
	AvailableAlign  = 2
	UsedSize        = 8 // of an element
	UsedAlign       = 4
)

// QueueSizeMax is the largest size of a queue. A size is a power of two.
const QueueSizeMax = 32768

// Offsets in an available ring and in a used one: flags, the index that its writer counts on, the ring's elements; behind
// them is the other side's word on when it wants to be notified (2.7.6, 2.7.8, 2.7.10).
const (
	RingFlags    = 0 // 16 bits
	RingIndex    = 2 // 16 bits
	RingElements = 4
)

// RingNoNotify in a ring's flags: the other side need not notify, or interrupt. Without FeatureEventIndex.
const RingNoNotify = 1

// DescriptorsBytes is the size of a table of n descriptors.
func DescriptorsBytes(n uint16) uint64 { return DescriptorSize * uint64(n) }

// AvailableBytes is the size of the available ring of a queue of n.
func AvailableBytes(n uint16) uint64 { return UsedEvent(n) + 2 }

// UsedBytes is the size of the used ring of a queue of n.
func UsedBytes(n uint16) uint64 { return AvailableEvent(n) + 2 }

// UsedEvent is the offset of used_event in an available ring of n.
func UsedEvent(n uint16) uint64 { return RingElements + 2*uint64(n) }

// AvailableEvent is the offset of avail_event in a used ring of n.
func AvailableEvent(n uint16) uint64 { return RingElements + UsedSize*uint64(n) }

// NeedsEvent reports whether a side that moved its index from old to now notifies the other, which asked to be notified
// at event (2.7.10).
func NeedsEvent(event, now, old uint16) bool { return now-event-1 < now-old }
