package dma

import "unsafe"

// Shared is a piece of a region that driver and device use at once, as the rings of a queue. Each load and store is one
// instruction, which the compiler neither merges, moves nor drops, at an offset that is a multiple of its width, or of 4; one
// outside the piece panics. x86 keeps loads in their order, and stores in theirs (Intel SDM vol. 3, "Memory Ordering"): only a
// load behind a store needs a Fence between them. What is loaded is what the device wants it to be, and of 64 bits across the
// end of a cache line perhaps of two times (the same, "Guaranteed Atomic Operations").
type Shared struct {
	base     unsafe.Pointer
	size     int
	physical uint64
}

// Shared makes n bytes of the region shared memory, which is zero. That there is no room for it is an error of wiring.
func (r Region) Shared(n int) Shared {
	s := r.store
	at := s.take(n)
	return Shared{unsafe.Pointer(&s.bytes[at]), n, s.physical + uint64(at)}
}

// Address is the physical address of the piece.
func (s *Shared) Address() uint64 { return s.physical }

// Word16 is 16 bits of a Shared whose place was checked once. The zero Word16 panics.
type Word16 struct{ at *uint16 }

// Word16 is the 16 bits at an offset.
func (s *Shared) Word16(offset int) Word16 { return Word16{(*uint16)(s.at(offset, 2))} }

// A function that is not inlined makes its access by one instruction, each time that it is called.

// Load loads the 16 bits.
//
//go:noinline
//go:nosplit
func (w Word16) Load() uint16 { return *w.at }

// Store stores the 16 bits.
//
//go:noinline
//go:nosplit
func (w Word16) Store(v uint16) { *w.at = v }

// Store16 stores 16 bits.
//
//go:noinline
//go:nosplit
func (s *Shared) Store16(offset int, v uint16) { *(*uint16)(s.at(offset, 2)) = v }

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
	if offset&(min(width, 4)-1) != 0 || offset < 0 || offset > s.size-width {
		panic("dma: access outside shared memory, or not aligned")
	}
	return unsafe.Add(s.base, offset)
}

// fence is MFENCE.
func fence()
