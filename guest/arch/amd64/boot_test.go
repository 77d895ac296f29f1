//go:build !kapsel

package amd64

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

const (
	testRAM      = 64 * mib
	testImageEnd = 3 * mib
)

// loadedImage is 1 MiB of image, task objects included, to be loaded at 2 MiB.
var loadedImage = abi.ImageInfo{
	Text: abi.KernelBase + 2*mib, DataEnd: abi.KernelBase + 2*mib + 5, TasksEnd: abi.KernelBase + 3*mib - 5,
}

// goodBootInfo is a monitor's, with a command line at 0x8000.
func goodBootInfo() abi.BootInfo {
	return abi.BootInfo{
		Magic: abi.BootMagic, Size: 96, RAMLow: testRAM, Free: 4 * mib, Image: 2 * mib,
		Cmdline: 0x8000, CmdlineSize: 9, TSCHz: 3_000_000_000, LAPICHz: 1_000_000_000,
	}
}

// readInfo does what bootParameters.read does for the direct door.
func readInfo(info abi.BootInfo) (*bootParameters, string) {
	p := &bootParameters{}
	p.loadedAt(info.Image, &loadedImage)
	problem := p.fromBootInfo(&info)
	if problem == "" {
		problem = p.check()
	}
	return p, problem
}

func TestBootMagic(t *testing.T) {
	r := newRAM(t, pageSize)
	r.put64(0, abi.BootMagic)
	assert.Equal(t, "KAPSEL02", string(r[:8]))
}

func TestBootInfo(t *testing.T) {
	r := newRAM(t, testRAM)
	copy(r[0x8000:], "log=debug")
	p, problem := readInfo(goodBootInfo())
	require.Empty(t, problem)
	assert.EqualValues(t, testRAM, p.ram)
	assert.Equal(t, span{2 * mib, 3 * mib}, p.image, "in whole pages")
	assert.Equal(t, span{4 * mib, testRAM}, p.free)
	assert.Zero(t, p.modules.size())
	assert.Equal(t, "log=debug", string(p.cmdline[:p.cmdlineSize]))
	assert.EqualValues(t, 3_000_000_000, p.tscHz)
	assert.EqualValues(t, 1_000_000_000, p.lapicHz)
}

func TestBootInfoBounds(t *testing.T) {
	const max = ^uint64(0)
	for _, tt := range []struct {
		name   string
		change func(*abi.BootInfo)
		want   string
	}{
		{"no magic", func(b *abi.BootInfo) { b.Magic = 0 }, badMagic},
		{"another layout", func(b *abi.BootInfo) { b.Magic += 1 << 56 }, badMagic},
		{"a field short", func(b *abi.BootInfo) { b.Size = 88 }, badVersion},
		{"one byte short", func(b *abi.BootInfo) { b.Size = 95 }, badVersion},
		{"a newer monitor", func(b *abi.BootInfo) { b.Size = 4096 }, ""},

		{"no RAM", func(b *abi.BootInfo) { b.RAMLow, b.CmdlineSize, b.Cmdline = 0, 0, 0 }, badRAM},
		{"RAM up to the hole", func(b *abi.BootInfo) { b.RAMLow = abi.MMIOHole }, ""},
		{"RAM in the hole", func(b *abi.BootInfo) { b.RAMLow = abi.MMIOHole + pageSize }, badRAM},
		{"RAM above 4 GiB", func(b *abi.BootInfo) { b.RAMHigh = gib }, ""},
		{"as much RAM above 4 GiB as there can be", func(b *abi.BootInfo) { b.RAMHigh = abi.RAMEnd - 4*gib }, ""},
		{"more RAM above 4 GiB", func(b *abi.BootInfo) { b.RAMHigh = abi.RAMEnd - 4*gib + 1 }, badRAM},
		{"RAM above 4 GiB that wraps", func(b *abi.BootInfo) { b.RAMHigh = max }, badRAM},
		{"RAM ends with the image", func(b *abi.BootInfo) { b.RAMLow, b.Free = testImageEnd, testImageEnd }, badRAM},
		{"free memory begins at the image's end", func(b *abi.BootInfo) { b.Free = testImageEnd }, ""},
		{"free memory begins in the image", func(b *abi.BootInfo) { b.Free = testImageEnd - pageSize }, badRAM},
		{"free memory begins in the image's last page", func(b *abi.BootInfo) { b.Free = testImageEnd - 1 }, ""},
		{"one page free", func(b *abi.BootInfo) { b.Free = testRAM - pageSize }, ""},
		{"nothing free", func(b *abi.BootInfo) { b.Free = testRAM }, badRAM},
		{"less than a page free", func(b *abi.BootInfo) { b.Free = testRAM - 1 }, badRAM},
		{"free memory begins behind RAM", func(b *abi.BootInfo) { b.Free = testRAM + pageSize }, badRAM},
		{"free memory begins at the last address", func(b *abi.BootInfo) { b.Free = max }, badRAM},

		{"the image in the second page", func(b *abi.BootInfo) { b.Image = pageSize }, ""},
		{"the image right below free memory", func(b *abi.BootInfo) { b.Image = 3 * mib }, ""},
		{"the image in free memory", func(b *abi.BootInfo) { b.Image = 3*mib + pageSize }, badRAM},
		{"the image behind RAM", func(b *abi.BootInfo) { b.Image = testRAM }, badRAM},
		{"the image not on a page", func(b *abi.BootInfo) { b.Image += 8 }, badImage},
		{"an image that wraps", func(b *abi.BootInfo) { b.Image = max - pageSize + 1 }, badImage},

		{"a module in front of free memory", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 3*mib, mib }, ""},
		{"a module across the start of free memory", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 3*mib, mib+1 }, badModules},
		{"a module in free memory", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 32*mib, pageSize }, badModules},
		{"a module in the image", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 2*mib, pageSize }, badModules},
		{"a module at 0", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 0, pageSize }, badModules},
		{"a module not on a page", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 3*mib+8, pageSize }, badModules},
		{"a module behind RAM", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = testRAM, pageSize }, badModules},
		{"a module across RAM's end", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = testRAM-pageSize, 2*pageSize }, badModules},
		{"a module that wraps", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = 3*mib, max }, badModules},
		{"a module that wraps to RAM", func(b *abi.BootInfo) { b.Modules, b.ModulesSize = max-pageSize+1, 4*mib }, badModules},

		{"no command line", func(b *abi.BootInfo) { b.Cmdline, b.CmdlineSize = 0, 0 }, ""},
		{"the longest command line", func(b *abi.BootInfo) { b.CmdlineSize = 2048 }, ""},
		{"a longer command line", func(b *abi.BootInfo) { b.CmdlineSize = 2049 }, badCmdline},
		{"a command line in the last bytes", func(b *abi.BootInfo) { b.Cmdline = testRAM - 9 }, ""},
		{"a command line across RAM's end", func(b *abi.BootInfo) { b.Cmdline = testRAM - 8 }, badCmdline},
		{"a command line that wraps", func(b *abi.BootInfo) { b.Cmdline = max - 3 }, badCmdline},

		{"unknown frequencies", func(b *abi.BootInfo) { b.TSCHz, b.LAPICHz = 0, 0 }, ""},
		{"the lowest frequencies", func(b *abi.BootInfo) { b.TSCHz, b.LAPICHz = 1_000_000, 1_000_000 }, ""},
		{"the highest frequencies", func(b *abi.BootInfo) { b.TSCHz, b.LAPICHz = 1<<40, 1<<40 }, ""},
		{"a slow time-stamp counter", func(b *abi.BootInfo) { b.TSCHz = 999_999 }, badClock},
		{"a fast time-stamp counter", func(b *abi.BootInfo) { b.TSCHz = 1<<40 + 1 }, badClock},
		{"a slow local APIC", func(b *abi.BootInfo) { b.LAPICHz = 1 }, badClock},
		{"a fast local APIC", func(b *abi.BootInfo) { b.LAPICHz = max }, badClock},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newRAM(t, testRAM)
			info := goodBootInfo()
			tt.change(&info)
			_, problem := readInfo(info)
			assert.Equal(t, tt.want, problem)
		})
	}
}

func TestRAMIsWholePages(t *testing.T) {
	newRAM(t, testRAM)
	info := goodBootInfo()
	info.RAMLow, info.RAMHigh = testRAM-1, gib-1
	p, problem := readInfo(info)
	require.Empty(t, problem)
	assert.EqualValues(t, testRAM-pageSize, p.ram, "page tables are built for this much")
	assert.EqualValues(t, testRAM-pageSize, p.free.end)
	assert.Equal(t, span{4 * gib, 5*gib - pageSize}, p.high)
}

func TestSpan(t *testing.T) {
	for _, tt := range []struct {
		s     span
		limit uint64
		want  bool
	}{
		{span{0, 0}, 0, true},
		{span{0, 1}, 0, false},
		{span{5, 10}, 10, true},
		{span{5, 11}, 10, false},
		{span{10, 10}, 10, true},
		{span{11, 11}, 10, false},
		{span{6, 5}, 10, false},
		{span{1, ^uint64(0)}, ^uint64(0), true},
	} {
		assert.Equal(t, tt.want, tt.s.within(tt.limit), "%v within %d", tt.s, tt.limit)
	}
}

func TestRefuseEndsTheMachine(t *testing.T) {
	newHostCPU(t)
	console, status := stops(t, func() { refuse(badRAM) })
	assert.Equal(t, "kapsel: cannot boot: the boot information has no usable RAM behind the kernel\n", console)
	assert.EqualValues(t, abi.ExitBadBoot, status)
}

func TestExitStatusIsWhatTheMonitorCanPass(t *testing.T) {
	for status, want := range map[uint32]uint32{0: 0, 100: 100, 127: 127, 128: 127, ^uint32(0): 127} {
		newHostCPU(t)
		console, got := stops(t, func() { Exit(status) })
		assert.Equal(t, want, got)
		assert.Empty(t, console)
	}
}

// The doors find room for a page-aligned stack and for the PVH door's three page tables wherever the
// linker put the variables.
func TestRoomForAlignment(t *testing.T) {
	assert.Len(t, stack, pageSize+pageSize+stackSize, "alignment, guard page, stack")
	assert.GreaterOrEqual(t, uint64(unsafe.Sizeof(istStacks)), uint64(pageSize-1+3*pageSize), "alignment; PML4, PDPT, PD")
}

func TestReasonsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, reason := range []string{badMagic, badVersion, badRAM, badImage, badModules, badCmdline, badClock, badPVHMagic, badPVHMap} {
		assert.False(t, seen[reason], reason)
		assert.False(t, strings.HasSuffix(reason, "."), reason)
		seen[reason] = true
	}
}
