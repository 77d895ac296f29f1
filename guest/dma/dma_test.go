package dma

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
)

const physical = 0x12_3450_0000

func newRegion(size int) (Region, []byte) {
	memory := bytes.Repeat([]byte{0xa5}, size)
	return NewRegion(new(Store), memory, physical, capability.Mint().Hardware), memory
}

// TestRegion: only who has the capability makes one, once for each store, and nothing of who had the memory before is in it.
func TestRegion(t *testing.T) {
	c := capability.Mint().Hardware
	memory := bytes.Repeat([]byte{0xa5}, 4096)
	var s Store
	assert.Panics(t, func() { NewRegion(&s, memory, physical, capability.Hardware{}) }, "without a capability")
	assert.Panics(t, func() { NewRegion(&s, memory, physical+8, c) }, "not aligned")
	assert.Panics(t, func() { NewRegion(&s, memory[1:], physical, c) }, "not aligned for the driver")
	assert.Panics(t, func() { NewRegion(&s, memory, 1<<64-2048, c) }, "beyond the address space")
	NewRegion(&s, memory, physical, c)
	assert.Equal(t, make([]byte, 4096), memory)
	assert.Panics(t, func() { NewRegion(&s, memory, physical, c) }, "a second time")
}

// TestPiecesDoNotOverlap: each piece has its bytes for itself, none shares a cache line, and all lie within the region.
func TestPiecesDoNotOverlap(t *testing.T) {
	r, memory := newRegion(4096)
	copied := r
	end := uint64(physical)
	for i, n := range []int{1, 64, 65, 100, 16} {
		var at uint64
		if i%2 == 0 {
			at, _ = copied.Buffer(n).Lend(n)
		} else {
			s := r.Shared(n)
			at = s.Address()
		}
		assert.Zero(t, at%Align)
		assert.GreaterOrEqual(t, at, end)
		end = at + uint64(n)
	}
	assert.LessOrEqual(t, end, uint64(physical+len(memory)))
	assert.Panics(t, func() { r.Buffer(4096) }, "no room")
	assert.Panics(t, func() { r.Shared(4096) }, "no room")
	assert.Panics(t, func() { r.Buffer(0) })
	assert.Panics(t, func() { r.Buffer(-1) })
	assert.Panics(t, func() { r.Shared(-64) })
}

func TestAllOfARegionCanBeUsed(t *testing.T) {
	r, _ := newRegion(100)
	assert.Equal(t, 64, r.Buffer(64).Len())
	assert.Equal(t, 36, r.Buffer(36).Len())
	assert.Panics(t, func() { r.Buffer(1) })
}

func TestBuffersAreCounted(t *testing.T) {
	r, _ := newRegion(Align * (MaxBuffers + 1))
	for range MaxBuffers {
		r.Buffer(1)
	}
	assert.PanicsWithValue(t, "dma: too many buffers: raise MaxBuffers", func() { r.Buffer(1) })
}

// TestBufferHasOneOwner: while it is lent, every access by every copy of it is refused and counted; only Complete and Reclaim
// give it back.
func TestBufferHasOneOwner(t *testing.T) {
	r, memory := newRegion(4096)
	b := r.Buffer(8)
	other := b
	assert.Equal(t, 5, b.WriteAt([]byte("hello"), 0))
	at, e := b.Lend(8)
	assert.Equal(t, abi.OK, e)
	assert.EqualValues(t, physical, at)
	assert.Equal(t, "hello", string(memory[:5]))

	var p [8]byte
	assert.Zero(t, b.ReadAt(p[:], 0))
	assert.Zero(t, other.ReadAt(p[:], 0))
	assert.Zero(t, other.WriteAt([]byte("x"), 0))
	_, e = other.Lend(1)
	assert.Equal(t, abi.BUSY, e)
	assert.Equal(t, make([]byte, 8), p[:])
	assert.Equal(t, "hello", string(memory[:5]))
	assert.EqualValues(t, 4, r.Refused())

	copy(memory, "device")
	n, e := b.Complete(6)
	assert.Equal(t, []any{6, abi.OK}, []any{n, e})
	assert.Equal(t, 6, other.ReadAt(p[:n], 0))
	assert.Equal(t, "device", string(p[:6]))
	_, e = b.Complete(6)
	assert.Equal(t, abi.ALREADY, e, "it is not lent")

	b.Lend(8)
	b.Reclaim()
	b.Reclaim()
	assert.Equal(t, 8, b.ReadAt(p[:], 0))
	assert.EqualValues(t, 4, r.Refused())
}

// TestLengthsAreEnforced: of what is lent, of what a device claims, of what is copied.
func TestLengthsAreEnforced(t *testing.T) {
	r, _ := newRegion(4096)
	b := r.Buffer(100)
	for _, n := range []int{0, -1, 101, 1 << 40} {
		_, e := b.Lend(n)
		assert.Equal(t, abi.SIZE, e, "%d", n)
	}
	for _, claimed := range []uint32{11, 100, 1<<32 - 1} {
		b.Lend(10)
		n, e := b.Complete(claimed)
		assert.Equal(t, []any{10, abi.SIZE}, []any{n, e}, "%d", claimed)
	}
	var p [200]byte
	assert.Equal(t, 100, b.ReadAt(p[:], 0))
	assert.Equal(t, 1, b.ReadAt(p[:], 99))
	assert.Zero(t, b.ReadAt(p[:], 100))
	for _, offset := range []int{101, -1, 1 << 62} {
		assert.Zero(t, b.ReadAt(p[:], offset))
		assert.Zero(t, b.WriteAt(p[:], offset))
	}
	assert.Equal(t, 40, b.WriteAt(p[:], 60))
	assert.Equal(t, 5, b.Read(p[:], 95, 100))
	assert.Equal(t, 4, b.Read(p[:4], 95, 100))
	for _, part := range [][2]int{{100, 100}, {99, 101}, {-1, 5}, {6, 5}, {1 << 62, 1 << 62}} {
		assert.Zero(t, b.Read(p[:], part[0], part[1]), "%d", part)
	}
	assert.Zero(t, r.Refused())
}

func TestNoBuffer(t *testing.T) {
	var b Buffer
	assert.Zero(t, b.Len())
	assert.Zero(t, b.ReadAt(make([]byte, 1), 0))
	_, e := b.Lend(1)
	assert.Equal(t, abi.SIZE, e)
	_, e = b.Complete(0)
	assert.Equal(t, abi.ALREADY, e)
	b.Reclaim()
}

func TestShared(t *testing.T) {
	r, memory := newRegion(4096)
	r.Buffer(1)
	s := r.Shared(24)
	memory = memory[Align:]
	s.Store64(0, 0x1122_3344_5566_7788)
	s.Word16(8).Store(0xbbcc)
	s.Store16(14, 0xddee)
	s.Fence()
	assert.Equal(t, []byte{0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb, 0, 0, 0, 0, 0xee, 0xdd}, memory[:16])
	copy(memory[12:], []byte{9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8})
	assert.EqualValues(t, 0x0807_0605_0403_0201, s.Load64(16))
	assert.EqualValues(t, 0x0403_0201_0909_0909, s.Load64(12), "a multiple of 4")
	assert.EqualValues(t, 0x0807, s.Word16(22).Load())
	for name, access := range map[string]func(){
		"not aligned 16": func() { s.Word16(1) },
		"not aligned 64": func() { s.Store64(2, 0) },
		"over the end":   func() { s.Load64(20) },
		"behind the end": func() { s.Word16(24) },
		"far behind":     func() { s.Load64(1 << 40) },
		"negative":       func() { s.Store16(-2, 0) },
		"lowest":         func() { s.Load64(-1 << 63) },
	} {
		assert.PanicsWithValue(t, "dma: access outside shared memory, or not aligned", access, name)
	}
	var none Shared
	assert.Panics(t, func() { none.Word16(0) })
	var nowhere Word16
	assert.Panics(t, func() { nowhere.Load() })
}
