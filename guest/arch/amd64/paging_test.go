//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// newSpace makes an empty address space whose tables come from n frames at 1 MiB.
func newSpace(t *testing.T, n uint64, huge bool) (ram, *addressSpace) {
	t.Helper()
	r := newRAM(t, 4*mib)
	s := &addressSpace{ram: &kernel.RAM{Low: r[mib:][:n*pageSize]}, huge: huge}
	root, ok := s.takeFrame()
	require.True(t, ok)
	s.root = root
	return r, s
}

// framesLeft is how many frames there are for further tables of an address space.
func framesLeft(s *addressSpace) uint64 { return uint64(len(s.ram.Low)) / pageSize }

func TestMapRangeChoosesPages(t *testing.T) {
	const high = abi.DirectMap
	tests := []struct {
		name             string
		huge             bool
		virt, phys, size uint64
		want             []region
	}{
		{"nothing", true, high, 0, 0, nil},
		{"one page", true, high, 0, 4 * kib, []region{{high, 0, 4 * kib, 4 * kib, "rwg"}}},
		{"one page less than a large one", false, high, 0, 2*mib - 4*kib,
			[]region{{high, 0, 2*mib - 4*kib, 4 * kib, "rwg"}}},
		{"exactly a large page", false, high, 0, 2 * mib, []region{{high, 0, 2 * mib, 2 * mib, "rwg"}}},
		{"small, large, small", false, high + mib, mib, 4 * mib, []region{
			{high + mib, mib, mib, 4 * kib, "rwg"},
			{high + 2*mib, 2 * mib, 2 * mib, 2 * mib, "rwg"},
			{high + 4*mib, 4 * mib, mib, 4 * kib, "rwg"}}},
		{"physical address not aligned like the virtual one", false, high, mib, 4 * mib,
			[]region{{high, mib, 4 * mib, 4 * kib, "rwg"}}},
		{"a GiB on a CPU without huge pages", false, high, 0, gib, []region{{high, 0, gib, 2 * mib, "rwg"}}},
		{"a GiB on a CPU with huge pages", true, high, 0, gib, []region{{high, 0, gib, gib, "rwg"}}},
		{"one page less than a huge one", true, high + gib, gib, gib - 4*kib, []region{
			{high + gib, gib, gib - 2*mib, 2 * mib, "rwg"},
			{high + 2*gib - 2*mib, 2*gib - 2*mib, 2*mib - 4*kib, 4 * kib, "rwg"}}},
		{"all three sizes", true, high + gib - 2*mib - 4*kib, gib - 2*mib - 4*kib, gib + 4*mib + 8*kib, []region{
			{high + gib - 2*mib - 4*kib, gib - 2*mib - 4*kib, 4 * kib, 4 * kib, "rwg"},
			{high + gib - 2*mib, gib - 2*mib, 2 * mib, 2 * mib, "rwg"},
			{high + gib, gib, gib, gib, "rwg"},
			{high + 2*gib, 2 * gib, 2 * mib, 2 * mib, "rwg"},
			{high + 2*gib + 2*mib, 2*gib + 2*mib, 4 * kib, 4 * kib, "rwg"}}},
		{"up to the last address", false, ^uint64(0) - 8*kib + 1, 0, 8 * kib,
			[]region{{^uint64(0) - 8*kib + 1, 0, 8 * kib, 4 * kib, "rwg"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, s := newSpace(t, 100, tt.huge)
			require.True(t, s.mapRange(tt.virt, tt.phys, tt.size, kernelRW))
			assert.Equal(t, tt.want, r.walk(s.root))
		})
	}
}

func TestRightsAreWhatTheProcessorReads(t *testing.T) {
	for _, tt := range []struct {
		name string
		bits uint64
		want string
	}{
		{"kernel code", kernelRX, "rxg"},
		{"kernel constants", kernelR, "rg"},
		{"kernel variables", kernelRW, "rwg"},
		{"device", deviceRW, "rwgd"},
		{"task's code", userRX, "rxu"},
		{"task's memory", userRW, "rwu"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := newSpace(t, 100, false)
			require.True(t, s.mapRange(abi.FlashStart, 0, pageSize, tt.bits))
			assert.Equal(t, []region{{abi.FlashStart, 0, pageSize, pageSize, tt.want}}, r.walk(s.root))
		})
	}
}

func TestTablesRunOut(t *testing.T) {
	// One 4 KiB page needs a PDPT, a PD and a PT beside the root.
	for _, tt := range []struct {
		frames uint64
		want   bool
	}{{1, false}, {2, false}, {3, false}, {4, true}} {
		_, s := newSpace(t, tt.frames, false)
		assert.Equal(t, tt.want, s.mapRange(abi.FlashStart, 0, pageSize, userRX), "mapRange with %d frames", tt.frames)
		_, s = newSpace(t, tt.frames, false)
		assert.Equal(t, tt.want, s.reserve(abi.FlashStart, pageSize), "reserve with %d frames", tt.frames)
	}
}

func TestFramesAreZeroAndHalfOpen(t *testing.T) {
	r := newRAM(t, 4*pageSize)
	for i := range r {
		r[i] = 0xa5
	}
	s := &addressSpace{ram: &kernel.RAM{Low: r[pageSize : 3*pageSize]}}
	for _, want := range []uint64{pageSize, 2 * pageSize} {
		phys, ok := s.takeFrame()
		require.True(t, ok)
		assert.Equal(t, want, phys)
		assert.Equal(t, make([]byte, pageSize), []byte(r[phys:phys+pageSize]))
	}
	_, ok := s.takeFrame()
	assert.False(t, ok, "a frame at the end of the range")
	assert.EqualValues(t, 0xa5, r[3*pageSize], "memory behind the range was touched")
}

func TestReserveMakesTablesForTheWholeRange(t *testing.T) {
	for _, tt := range []struct {
		name       string
		virt, size uint64
		tables     uint64 // beside the root
	}{
		{"nothing", abi.RAMStart, 0, 0},
		{"a page", abi.RAMStart, pageSize, 3},
		{"all that a table maps", abi.RAMStart, 2 * mib, 3},
		{"a page more", abi.RAMStart, 2*mib + pageSize, 4},
		{"two pages across a table's end", abi.RAMStart + 2*mib - pageSize, 2 * pageSize, 4},
		{"across a directory's end", abi.RAMStart - pageSize, 2 * pageSize, 5},
		{"across a top table's entry", 1<<39 - pageSize, 2 * pageSize, 6},
		{"the last pages of the low half", abi.UserMax - 2*pageSize, 2 * pageSize, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := newSpace(t, 100, false)
			before := framesLeft(s)
			require.True(t, s.reserve(tt.virt, tt.size))
			assert.Equal(t, tt.tables, before-framesLeft(s), "tables made")
			assert.Empty(t, r.walk(s.root), "reserving maps nothing")

			left := framesLeft(s)
			s.mapPages(tt.virt, 0, tt.size, userRW)
			assert.Equal(t, left, framesLeft(s), "mapping took a frame")
			var want []region
			if tt.size > 0 {
				want = []region{{tt.virt, 0, tt.size, pageSize, "rwu"}}
			}
			assert.Equal(t, want, r.walk(s.root))

			s.unmapPages(tt.virt, tt.size)
			assert.Empty(t, r.walk(s.root))
		})
	}
}

func TestMappingWhereNothingIsReservedPanics(t *testing.T) {
	_, s := newSpace(t, 100, false)
	require.True(t, s.reserve(abi.RAMStart, 2*mib))
	assert.Panics(t, func() { s.mapPages(abi.RAMStart+mib, 0, 2*mib, userRW) })
	assert.Panics(t, func() { s.unmapPages(abi.FlashStart, pageSize) })
}

func TestEdgesOfMappings(t *testing.T) {
	r, s := newSpace(t, 100, false)
	require.True(t, s.reserve(abi.FlashStart, 4*pageSize))
	require.True(t, s.reserve(abi.RAMStart, 4*pageSize))
	s.mapPages(abi.FlashStart, 0, 2*pageSize, userRX)
	s.mapPages(abi.RAMStart+pageSize, 0, pageSize, userRW)
	found := r.walk(s.root)
	for _, tt := range []struct {
		name       string
		addr       uint64
		r, w, x, u bool
	}{
		{"below flash", abi.FlashStart - 1, false, false, false, false},
		{"first byte of flash", abi.FlashStart, true, false, true, true},
		{"last byte of flash", abi.FlashStart + 2*pageSize - 1, true, false, true, true},
		{"behind flash", abi.FlashStart + 2*pageSize, false, false, false, false},
		{"below RAM", abi.RAMStart + pageSize - 1, false, false, false, false},
		{"first byte of RAM", abi.RAMStart + pageSize, true, true, false, true},
		{"last byte of RAM", abi.RAMStart + 2*pageSize - 1, true, true, false, true},
		{"behind RAM", abi.RAMStart + 2*pageSize, false, false, false, false},
		{"address 0", 0, false, false, false, false},
		{"the same place 512 GiB higher", abi.FlashStart + 1<<39, false, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range []bool{tt.r, tt.w, tt.x, tt.u} {
				kind := "rwxu"[i]
				assert.Equal(t, want, access(found, tt.addr, kind), "%c at %#x", kind, tt.addr)
			}
		})
	}
}
