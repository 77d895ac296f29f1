package virtiotest

import (
	"sync/atomic"
	"unsafe"
)

// load16 reads 16 bits at an even offset at once, with all loads behind it.
func load16(p []byte, offset int) uint16 {
	address := unsafe.Pointer(&p[offset])
	odd := uintptr(address) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(address, -int(odd)))) >> (8 * odd))
}

// store16 writes 16 bits, and is a full fence.
func store16(p []byte, offset int, v uint16) {
	*(*uint16)(unsafe.Pointer(&p[offset])) = v
	var word uint32
	atomic.StoreUint32(&word, 1)
}
