package virtio

import (
	"sync/atomic"
	"unsafe"
)

// Memory is a guest's RAM.
type Memory interface {
	// At returns the n bytes from a physical address on, or false unless all of them are RAM, and in one piece: no
	// range crosses a hole. The bytes change while they are looked at, as the guest likes. RAM begins and ends on
	// a page boundary.
	At(address, n uint64) ([]byte, bool)
	// Wrote says that a device has written to n bytes from an address on, all of which At has given; or that it writes to them
	// before it is at rest (MMIO.Pause). It is called by all devices' goroutines, and for the same bytes again and again.
	Wrote(address, n uint64)
}

// The guest's processor and a device's goroutine meet in a ring's words. An access to one has to be a single one, and
// ordered with those around it: loads and stores are package atomic's, of the aligned 32 bits around the word, or of 64.
// On x86 an atomic load keeps its place before later loads, and an atomic store is an exchange, which is a full fence, too
// (Intel SDM vol. 3, "Memory Ordering").

// load16 reads the 16 bits at an even offset. The 32 bits around them are in the same page.
func load16(p []byte, offset uint64) uint16 {
	address := unsafe.Pointer(&p[offset : offset+2][0])
	odd := uintptr(address) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(address, -int(odd)))) >> (8 * odd))
}

// load64 reads the 64 bits at an offset. They are aligned.
func load64(p []byte, offset uint64) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&p[offset : offset+8][0])))
}

// store32 writes the 32 bits at an offset. They are aligned. All loads behind it come after it.
func store32(p []byte, offset uint64, value uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&p[offset : offset+4][0])), value)
}

// store16 writes the 16 bits at an even offset, and no more: what lies beside them may be anybody's. A fence orders it.
func store16(p []byte, offset uint64, value uint16) {
	*(*uint16)(unsafe.Pointer(&p[offset : offset+2][0])) = value
}

// fence keeps loads behind it from coming before stores in front of it.
func fence() {
	var word uint32
	atomic.StoreUint32(&word, 1)
}
