// Package virtiotest has what tests of devices need: a guest's memory, and a driver that keeps the rules unless it is told
// to break them.
package virtiotest

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
)

// Memory is a guest's RAM of two parts: one from 0 on, another from High on, and nothing between them. It is no memory
// of Go's, so the race detector does not watch it, as it does not watch a guest's.
type Memory struct {
	low, high, old []byte

	// Declared, if not nil, is called for what a device says that it has written.
	Declared func(Range)
}

// High is where the upper part begins.
const High = abi.MMIOHoleEnd

// NewMemory makes a memory of so many bytes from 0 on, and as many from High on: multiples of a page.
func NewMemory(t testing.TB, size int) *Memory {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(ram) })
	return &Memory{low: ram[:size:size], high: ram[size:]}
}

// At is virtio.Memory's.
func (m *Memory) At(address, n uint64) ([]byte, bool) {
	ram := m.low
	if address >= High {
		ram, address = m.high, address-High
	}
	if size := uint64(len(ram)); address > size || n > size-address {
		return nil, false
	}
	return ram[address:][:n:n], true
}

// Wrote is virtio.Memory's.
func (m *Memory) Wrote(address, n uint64) {
	if m.Declared != nil {
		m.Declared(Range{address, n})
	}
}

// CopyFrom makes all bytes those of another memory of the same size.
func (m *Memory) CopyFrom(other *Memory) {
	copy(m.low, other.low)
	copy(m.high, other.high)
}

// Bytes returns n bytes that are there.
func (m *Memory) Bytes(t testing.TB, address, n uint64) []byte {
	t.Helper()
	p, ok := m.At(address, n)
	require.True(t, ok, "%d bytes at %#x are no memory of the test's", n, address)
	return p
}

// Clear makes all bytes 0.
func (m *Memory) Clear() {
	clear(m.low)
	clear(m.high)
}

// Snapshot remembers the memory for Changed.
func (m *Memory) Snapshot() { m.old = append(append(m.old[:0], m.low...), m.high...) }

// Changed reports whether a byte differs from the snapshot that is in none of the ranges, which lie in one piece of memory each.
func (m *Memory) Changed(but ...Range) bool {
	for _, r := range but {
		p, _ := m.At(r.Address, r.Size)
		at := r.Address
		if at >= High {
			at += uint64(len(m.low)) - High
		}
		copy(m.old[at:], p)
	}
	return !bytes.Equal(m.old[:len(m.low)], m.low) || !bytes.Equal(m.old[len(m.low):], m.high)
}

// Range is the physical addresses [Address, Address+Size).
type Range struct{ Address, Size uint64 }

// Differs reports whether a byte differs from another memory's, of the same size, that is in none of the ranges. What of them
// is no memory does not count. The other memory is overwritten.
func (m *Memory) Differs(other *Memory, but []Range) bool {
	for _, r := range but {
		if p, ok := m.At(r.Address, r.Size); ok {
			copy(other.at(r.Address), p)
		}
	}
	return !bytes.Equal(m.low, other.low) || !bytes.Equal(m.high, other.high)
}

// at returns the memory from an address on that is there.
func (m *Memory) at(address uint64) []byte {
	if address >= High {
		return m.high[address-High:]
	}
	return m.low[address:]
}
