package dma

import (
	"unsafe"

	"kapsel/guest/kernel/capability"
)

// Store is memory that devices may use, and what is known of its pieces. It is the board's; drivers are given a Region of it,
// by which they cannot copy or change what is known.
type Store struct {
	bytes    []byte
	physical uint64
	used     int // bytes of the pieces that were made
	buffers  [MaxBuffers]piece
	count    int // of buffers
	refused  uint64
}

// MaxBuffers is how many buffers a store has room for.
const MaxBuffers = 64

// maxMemory is how many bytes a store has at the most: the length of each piece fits a descriptor.
const maxMemory = 1 << 31

// Align is what the address of every piece is a multiple of: a cache line, so that what a device writes shares none with
// another piece.
const Align = 64

// Region is where drivers take their pieces from.
type Region struct{ store *Store }

// NewRegion makes a region of memory that begins at a physical address, a multiple of Align. The memory is cleared: a device
// finds nothing there of who had it before. The store is used for one region.
func NewRegion(s *Store, memory []byte, physical uint64, c capability.Hardware) Region {
	c.Require()
	if s.bytes != nil || physical%Align != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(memory)))%8 != 0 ||
		physical+uint64(len(memory)) < physical || len(memory) > maxMemory {
		panic("dma: a store used twice, or memory not aligned, beyond the address space, or more than 2 GiB")
	}
	clear(memory)
	s.bytes, s.physical = memory, physical
	return Region{s}
}

// Refused counts the accesses to buffers of the region that were refused because the device had them.
func (r Region) Refused() uint64 { return r.store.refused }

// take makes n bytes a piece, and returns the offset of its first. The board gives as much memory as its drivers need: that
// there is none is an error of wiring.
func (s *Store) take(n int) int {
	if n <= 0 || n > len(s.bytes)-s.used {
		panic("dma: no memory for a piece: give the region more")
	}
	at := s.used
	s.used = min(at+(n+Align-1)&^(Align-1), len(s.bytes))
	return at
}
