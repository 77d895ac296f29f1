package dma

import "unsafe"

// Shared is a piece of a region that driver and device use at once, as the rings of a queue. Each load and store is one
// instruction, which the compiler neither merges, moves nor drops, at an offset that is a multiple of its width; one outside
// the piece panics. x86 keeps loads in their order, and stores in theirs (Intel SDM vol. 3, "Memory Ordering"): only a load
// behind a store needs a Fence between them. What is loaded is what the device wants it to be.
type Shared struct {
	base     unsafe.Pointer
	size     int
	physical uint64
}

// Shared makes n bytes of the region shared memory, or a few more to a multiple of 8, which is zero. That there is no room for it is an error of wiring.
func (r Region) Shared(n int) Shared {
	s := r.store
	n = (n + 7) &^ 7 // so that an access that begins within ends there
	at := s.take(n)
	return Shared{unsafe.Pointer(&s.bytes[at]), n, s.physical + uint64(at)}
}

// Address is the physical address of the piece.
func (s *Shared) Address() uint64 { return s.physical }

// A function that is not inlined makes its access by one instruction, each time that it is called.

// Load16 loads 16 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Load16(offset int) uint16 { return *(*uint16)(s.at(offset, 2)) }

// Store16 stores 16 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Store16(offset int, v uint16) { *(*uint16)(s.at(offset, 2)) = v }

// Load32 loads 32 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Load32(offset int) uint32 { return *(*uint32)(s.at(offset, 4)) }

// Store32 stores 32 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Store32(offset int, v uint32) { *(*uint32)(s.at(offset, 4)) = v }

// Load64 loads 64 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Load64(offset int) uint64 { return *(*uint64)(s.at(offset, 8)) }

// Store64 stores 64 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Store64(offset int, v uint64) { *(*uint64)(s.at(offset, 8)) = v }

// Fence has every load and store before it done before any behind it begins (Intel SDM vol. 2, MFENCE).
func (s *Shared) Fence() { fence() }

// at is where so many bytes at an offset are, if they are the piece's.
func (s *Shared) at(offset, width int) unsafe.Pointer {
	if offset&(width-1) != 0 || uint(offset) >= uint(s.size) {
		panic("dma: access outside shared memory, or not aligned")
	}
	return unsafe.Add(s.base, offset)
}

// fence is MFENCE.
func fence()
