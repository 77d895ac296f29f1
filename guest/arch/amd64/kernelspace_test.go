//go:build !kapsel

package amd64

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

const (
	testText  = 2 * mib // where the image of the tests is linked, and loaded by PVH
	testLow   = 0x7000  // where a monitor may load it
	testGuard = abi.KernelBase + testText + 0x2a000
)

// testImage is 0x20 pages of code, 0x8 of constants and 0x18 of variables, none of them
// full; the guard page is the third of the variables.
var testImage = abi.ImageInfo{
	Text: abi.KernelBase + testText, TextEnd: abi.KernelBase + testText + 0x1f123,
	Rodata: abi.KernelBase + testText + 0x20000, RodataEnd: abi.KernelBase + testText + 0x27001,
	Data: abi.KernelBase + testText + 0x28000, DataEnd: abi.KernelBase + testText + 0x3ffff,
}

// buildTestSpace is buildKernelSpace for the test's image, loaded at a physical address.
func buildTestSpace(t *testing.T, huge bool, at, ramSize uint64, high span) []region {
	t.Helper()
	r, s := newSpace(t, 100, huge)
	require.True(t, buildKernelSpace(s, &testImage, at, testGuard, ramSize, high))
	return r.walk(s.root)
}

// kernelWindow is what the image's own addresses map, if it was loaded at p, whatever the machine.
func kernelWindow(p uint64) []region {
	const v = abi.KernelBase + testText
	return []region{
		{v, p, 0x20000, pageSize, "rxg"},
		{v + 0x20000, p + 0x20000, 0x8000, pageSize, "rg"},
		{v + 0x28000, p + 0x28000, 0x2000, pageSize, "rwg"},
		{v + 0x2b000, p + 0x2b000, 0x15000, pageSize, "rwg"},
	}
}

func TestKernelSpaceIsExactly(t *testing.T) {
	const d = abi.DirectMap
	const end, lowEnd = testText + 0x40000, testLow + 0x40000 // of the image's pages
	apics := []region{
		{ioapicBase, 0xfec00000, pageSize, pageSize, "rwgd"},
		{lapicBase, 0xfee00000, pageSize, pageSize, "rwgd"},
	}
	for _, tt := range []struct {
		name   string
		huge   bool
		at     uint64
		ram    uint64
		high   span
		direct []region
	}{
		{"1 MiB", false, testLow, mib, span{}, []region{
			{d, 0, testLow, pageSize, "rwg"},
			{d + lowEnd, lowEnd, mib - lowEnd, pageSize, "rwg"}}},
		{"64 MiB, loaded low", true, testLow, 64 * mib, span{}, []region{
			{d, 0, testLow, pageSize, "rwg"},
			{d + lowEnd, lowEnd, 2*mib - lowEnd, pageSize, "rwg"},
			{d + 2*mib, 2 * mib, 62 * mib, 2 * mib, "rwg"}}},
		{"one page of free memory", false, testText, end + pageSize, span{}, []region{
			{d, 0, 2 * mib, 2 * mib, "rwg"},
			{d + end, end, pageSize, pageSize, "rwg"}}},
		{"64 MiB", false, testText, 64 * mib, span{}, []region{
			{d, 0, 2 * mib, 2 * mib, "rwg"},
			{d + end, end, 4*mib - end, pageSize, "rwg"},
			{d + 4*mib, 4 * mib, 60 * mib, 2 * mib, "rwg"}}},
		{"64 MiB and a page", true, testText, 64*mib + pageSize, span{}, []region{
			{d, 0, 2 * mib, 2 * mib, "rwg"},
			{d + end, end, 4*mib - end, pageSize, "rwg"},
			{d + 4*mib, 4 * mib, 60 * mib, 2 * mib, "rwg"},
			{d + 64*mib, 64 * mib, pageSize, pageSize, "rwg"}}},
		{"as much as there can be, huge pages", true, testText, abi.MMIOHole, span{}, []region{
			{d, 0, 2 * mib, 2 * mib, "rwg"},
			{d + end, end, 4*mib - end, pageSize, "rwg"},
			{d + 4*mib, 4 * mib, gib - 4*mib, 2 * mib, "rwg"},
			{d + gib, gib, 2 * gib, gib, "rwg"}}},
		{"as much as there can be, no huge pages", false, testText, abi.MMIOHole, span{}, []region{
			{d, 0, 2 * mib, 2 * mib, "rwg"},
			{d + end, end, 4*mib - end, pageSize, "rwg"},
			{d + 4*mib, 4 * mib, 3*gib - 4*mib, 2 * mib, "rwg"}}},
		{"memory above 4 GiB", false, testLow, mib, span{4 * gib, 4*gib + 4*mib}, []region{
			{d, 0, testLow, pageSize, "rwg"},
			{d + lowEnd, lowEnd, mib - lowEnd, pageSize, "rwg"},
			{d + 4*gib, 4 * gib, 4 * mib, 2 * mib, "rwg"}}},
		{"memory above 1 TiB, huge pages", true, testLow, mib, span{1024 * gib, 1026*gib + pageSize}, []region{
			{d, 0, testLow, pageSize, "rwg"},
			{d + lowEnd, lowEnd, mib - lowEnd, pageSize, "rwg"},
			{d + 1024*gib, 1024 * gib, 2 * gib, gib, "rwg"},
			{d + 1026*gib, 1026 * gib, pageSize, pageSize, "rwg"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := append(append(tt.direct, apics...), kernelWindow(tt.at)...)
			slices.SortFunc(want, func(a, b region) int { return cmp.Compare(a.virt, b.virt) })
			assert.Equal(t, want, buildTestSpace(t, tt.huge, tt.at, tt.ram, tt.high))
		})
	}
}

func TestKernelSpaceProtects(t *testing.T) {
	for _, huge := range []bool{false, true} {
		for _, at := range []uint64{testText, testLow, 2*mib - pageSize, gib - 0x40000} {
			for _, ramSize := range []uint64{gib, 2*gib + 12*kib, abi.MMIOHole} {
				high := span{4 * gib, 5*gib + 4*mib + pageSize}
				protects(t, buildTestSpace(t, huge, at, ramSize, high), at, ramSize, high)
			}
		}
	}
}

// protects asserts what holds for the kernel's space wherever the image is.
func protects(t *testing.T, found []region, at, ramSize uint64, high span) {
	t.Helper()
	for _, f := range found {
		assert.NotContains(t, f.rights, "u", "ring 3 may use %#x", f.virt)
		assert.False(t, strings.Contains(f.rights, "w") && strings.Contains(f.rights, "x"), "%#x is writeable and executable", f.virt)
		assert.GreaterOrEqual(t, f.virt, uint64(abi.DirectMap), "mapped in the low half")
		if f.virt >= abi.KernelBase {
			continue
		}
		assert.True(t, f.phys+f.size <= at || f.phys >= at+0x40000, "%#x is the image's, by the direct map", f.phys)
		assert.True(t, f.phys+f.size <= ramSize || f.phys >= high.start && f.phys+f.size <= high.end || strings.Contains(f.rights, "d"),
			"%#x is not RAM", f.phys)
	}
}

func TestKernelSpaceEdges(t *testing.T) {
	for _, at := range []uint64{testText, testLow} {
		kernelSpaceEdges(t, at)
	}
}

func kernelSpaceEdges(t *testing.T, at uint64) {
	found := buildTestSpace(t, false, at, 64*mib, span{})
	const k, d = abi.KernelBase + testText, abi.DirectMap
	for _, tt := range []struct {
		name   string
		addr   uint64
		rights string // of rwx
	}{
		{"below the code", k - 1, ""},
		{"first byte of the code", k, "rx"},
		{"last byte of the code's last page", k + 0x1ffff, "rx"},
		{"first constant", k + 0x20000, "r"},
		{"last byte of the constants' last page", k + 0x27fff, "r"},
		{"first variable", k + 0x28000, "rw"},
		{"below the guard page", testGuard - 1, "rw"},
		{"first byte of the guard page", testGuard, ""},
		{"last byte of the guard page", testGuard + 0xfff, ""},
		{"lowest byte of the stack", testGuard + 0x1000, "rw"},
		{"last byte of the variables' last page", k + 0x3ffff, "rw"},
		{"behind the image", k + 0x40000, ""},
		{"first byte of memory", d, "rw"},
		{"last byte before the image", d + at - 1, "rw"},
		{"the image's first byte, in the direct map", d + at, ""},
		{"the image's last byte, in the direct map", d + at + 0x3ffff, ""},
		{"first byte behind the image", d + at + 0x40000, "rw"},
		{"last byte of memory", d + 64*mib - 1, "rw"},
		{"behind memory", d + 64*mib, ""},
		{"below the I/O APIC", 0xffffffff803fdfff, ""},
		{"the I/O APIC", 0xffffffff803fe000, "rw"},
		{"the local APIC", 0xffffffff803fffff, "rw"},
		{"behind the local APIC", 0xffffffff80400000, ""},
		{"the local APIC, in the direct map", d + 0xfee00000, ""},
		{"address 0", 0, ""},
		{"the last address", ^uint64(0), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []byte("rwx") {
				assert.Equal(t, strings.IndexByte(tt.rights, kind) >= 0, access(found, tt.addr, kind), "%c at %#x", kind, tt.addr)
			}
		})
	}
}

func TestKernelSpaceNeedsFrames(t *testing.T) {
	_, s := newSpace(t, 100, false)
	require.True(t, buildKernelSpace(s, &testImage, testLow, testGuard, 64*mib, span{}))
	need := 100 - framesLeft(s)
	for n := uint64(1); n < need; n++ {
		_, s := newSpace(t, n, false)
		assert.False(t, buildKernelSpace(s, &testImage, testLow, testGuard, 64*mib, span{}), "with %d frames of %d", n, need)
	}
	_, s = newSpace(t, need, false)
	assert.True(t, buildKernelSpace(s, &testImage, testLow, testGuard, 64*mib, span{}), "with all %d frames", need)
}

func TestMapDevice(t *testing.T) {
	r, s := newSpace(t, 20, true)
	m := &Machine{kernel: *s}
	assert.EqualValues(t, uint64(abi.DirectMap+0xd0000000), m.MapDevice(0xd0000000))
	assert.Equal(t, []region{{abi.DirectMap + 0xd0000000, 0xd0000000, pageSize, pageSize, "rwgd"}}, r.walk(s.root))
	for name, physical := range map[string]uint64{
		"not on a page":          0xd0000004,
		"where there may be RAM": abi.MMIOHole - pageSize,
		"above 4 GiB":            abi.MMIOHoleEnd,
	} {
		assert.Panics(t, func() { m.MapDevice(physical) }, name)
	}
	_, full := newSpace(t, 1, true)
	m = &Machine{kernel: *full}
	assert.Panics(t, func() { m.MapDevice(0xd0000000) }, "no frame for page tables")
}

// TestDeviceMemory: what devices get is nobody else's, and its physical address is what they are told.
func TestDeviceMemory(t *testing.T) {
	r, s := newSpace(t, 4, true)
	m := &Machine{TaskRAM: *s.ram}
	memory, physical := m.DeviceMemory(2 * pageSize)
	assert.Len(t, memory, 2*pageSize)
	assert.Same(t, &r[physical], &memory[0])
	after := m.TaskRAM.Take(pageSize)
	assert.Equal(t, physical+2*pageSize, physicalOf(after))
	memory, physical = m.DeviceMemory(2 * pageSize)
	assert.Nil(t, memory, "too little is left")
	assert.Zero(t, physical)
	assert.PanicsWithValue(t, "device memory comes in whole pages", func() { m.DeviceMemory(pageSize + 1) })
}
