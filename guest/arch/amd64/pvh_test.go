//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

// A pvhLoader is what a PVH loader hands over; its zero value, completed by newLoader, is
// what QEMU does with 64 MiB.
type pvhLoader struct {
	magic, version, modules, entries uint32
	moduleList, cmdline, memoryMap   uint64
	module                           [2]uint64   // address, size
	memory                           [][3]uint64 // address, size, kind
	line                             string      // lies at cmdline
}

const (
	pvhInfoAt    = 0x6000
	pvhModulesAt = 0x6100
	pvhMapAt     = 0x6200
	pvhCmdlineAt = 0x9000
)

func newLoader() *pvhLoader {
	return &pvhLoader{
		magic: 0x336ec578, version: 1, entries: 3, memoryMap: pvhMapAt,
		memory: [][3]uint64{{0, 0x9fc00, 1}, {0xf0000, 0x10000, 2}, {mib, testRAM - mib, 1}},
	}
}

// boot writes the structures to memory and reads them as the kernel does.
func (l *pvhLoader) boot(t *testing.T) (*bootParameters, string) {
	t.Helper()
	r := newRAM(t, testRAM)
	le := binary.LittleEndian
	for i, v := range []uint32{l.magic, l.version, 0, l.modules} {
		le.PutUint32(r[pvhInfoAt+4*i:], v)
	}
	r.put64(pvhInfoAt+16, l.moduleList, l.cmdline, 0, l.memoryMap)
	le.PutUint32(r[pvhInfoAt+48:], l.entries)
	r.put64(pvhModulesAt, l.module[0], l.module[1])
	for i, m := range l.memory {
		r.put64(pvhMapAt+24*uint64(i), m[0], m[1], m[2])
	}
	if l.line != "" {
		copy(r[l.cmdline:], l.line)
	}
	p := &bootParameters{}
	p.loadedAt(2*mib, &loadedImage)
	problem := p.fromPVH(at[pvhStartInfo](pvhInfoAt))
	if problem == "" {
		problem = p.check()
	}
	return p, problem
}

func TestPVHLayout(t *testing.T) {
	var info pvhStartInfo
	assert.EqualValues(t, 56, unsafe.Sizeof(info))
	assert.EqualValues(t, 8, unsafe.Offsetof(info.flags))
	assert.EqualValues(t, 12, unsafe.Offsetof(info.modules))
	assert.EqualValues(t, 16, unsafe.Offsetof(info.moduleList))
	assert.EqualValues(t, 24, unsafe.Offsetof(info.cmdline))
	assert.EqualValues(t, 32, unsafe.Offsetof(info.rsdp))
	assert.EqualValues(t, 40, unsafe.Offsetof(info.memoryMap))
	assert.EqualValues(t, 48, unsafe.Offsetof(info.memoryMapEntries))
	var module pvhModule
	assert.EqualValues(t, 32, unsafe.Sizeof(module))
	assert.EqualValues(t, 16, unsafe.Offsetof(module.cmdline))
	assert.EqualValues(t, 24, unsafe.Sizeof(pvhMemory{}))
	assert.EqualValues(t, 16, unsafe.Offsetof(pvhMemory{}.kind))
}

func TestPVHMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		memory [][3]uint64
		ram    uint64
		want   string
	}{
		{"a PC", newLoader().memory, testRAM, ""},
		{"one range", [][3]uint64{{0, testRAM, 1}}, testRAM, ""},
		{"the last range first", [][3]uint64{{mib, 63 * mib, 1}, {0, 0x9fc00, 1}}, testRAM, ""},
		{"RAM above 4 GiB too", [][3]uint64{{mib, 63 * mib, 1}, {4 * gib, gib, 1}}, testRAM, ""},
		{"an end within a page", [][3]uint64{{mib, 63*mib - 1, 1}}, testRAM - pageSize, ""},
		{"RAM up to the hole", [][3]uint64{{mib, abi.MMIOHole - mib, 1}}, abi.MMIOHole, ""},
		{"RAM into the hole counts up to it", [][3]uint64{{mib, 0xe000_0000 - mib, 1}}, abi.MMIOHole, ""},
		{"all there is", [][3]uint64{{0, ^uint64(0), 1}}, abi.MMIOHole, ""},
		{"RAM that wraps", [][3]uint64{{mib, ^uint64(0), 1}}, 0, badRAM},
		{"the image is in no range", [][3]uint64{{0, 0x9fc00, 1}, {16 * mib, 48 * mib, 1}}, 0, badRAM},
		{"the image is in reserved memory", [][3]uint64{{0, testRAM, 2}}, 0, badRAM},
		{"RAM ends with the image", [][3]uint64{{0, testImageEnd, 1}}, 0, badRAM},
		{"a page behind the image", [][3]uint64{{0, testImageEnd + pageSize, 1}}, testImageEnd + pageSize, ""},
		{"less than a page behind the image", [][3]uint64{{0, testImageEnd + 1, 1}}, 0, badRAM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoader()
			l.memory, l.entries = tt.memory, uint32(len(tt.memory))
			p, problem := l.boot(t)
			require.Equal(t, tt.want, problem)
			if problem == "" {
				assert.Equal(t, tt.ram, p.ram)
				assert.Equal(t, span{testImageEnd, tt.ram}, p.free)
			}
		})
	}
}

func TestPVHMemoryAbove4GiB(t *testing.T) {
	const max = ^uint64(0)
	for _, tt := range []struct {
		name   string
		memory [][3]uint64 // besides what the image lies in
		want   span
	}{
		{"none", nil, span{}},
		{"some", [][3]uint64{{4 * gib, gib, 1}}, span{4 * gib, 5 * gib}},
		{"further up", [][3]uint64{{1024 * gib, gib, 1}}, span{1024 * gib, 1025 * gib}},
		{"the larger of two", [][3]uint64{{4 * gib, gib, 1}, {16 * gib, 2 * gib, 1}, {32 * gib, gib, 1}}, span{16 * gib, 18 * gib}},
		{"reserved", [][3]uint64{{4 * gib, gib, 2}}, span{}},
		{"not in whole pages", [][3]uint64{{4*gib + 1, gib, 1}}, span{4*gib + pageSize, 5 * gib}},
		{"less than a page", [][3]uint64{{4*gib + 1, pageSize, 1}}, span{}},
		{"from below 4 GiB on", [][3]uint64{{3 * gib, 2 * gib, 1}}, span{4 * gib, 5 * gib}},
		{"up to 4 GiB", [][3]uint64{{3 * gib, gib, 1}}, span{}},
		{"more than there can be", [][3]uint64{{4 * gib, max - 4*gib, 1}}, span{4 * gib, abi.RAMEnd}},
		{"from where it ends at the latest", [][3]uint64{{abi.RAMEnd, gib, 1}}, span{}},
		{"that wraps", [][3]uint64{{4 * gib, max, 1}}, span{}},
		{"at the last address", [][3]uint64{{max, 0, 1}}, span{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoader()
			l.memory = append(l.memory, tt.memory...)
			l.entries = uint32(len(l.memory))
			p, problem := l.boot(t)
			require.Empty(t, problem)
			if tt.want == (span{}) {
				assert.Zero(t, p.high.size())
				return
			}
			assert.Equal(t, tt.want, p.high)
			assert.EqualValues(t, testRAM, p.ram, "below 4 GiB")
		})
	}
}

func TestPVHHeader(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*pvhLoader)
		want   string
	}{
		{"another magic number", func(l *pvhLoader) { l.magic++ }, badPVHMagic},
		{"version 0 has no memory map", func(l *pvhLoader) { l.version = 0 }, badPVHMap},
		{"a later version", func(l *pvhLoader) { l.version = 2 }, ""},
		{"an empty map", func(l *pvhLoader) { l.entries = 0 }, badPVHMap},
		{"as many ranges as are looked at", func(l *pvhLoader) { l.entries = 64 }, ""},
		{"too many ranges", func(l *pvhLoader) { l.entries = 65 }, badPVHMap},
		{"no end of ranges", func(l *pvhLoader) { l.entries = ^uint32(0) }, badPVHMap},
		{"a map out of reach", func(l *pvhLoader) { l.memoryMap = gib }, badPVHMap},
		{"a map across the end of reach", func(l *pvhLoader) { l.memoryMap = gib - 24 }, badPVHMap},
		{"a map that wraps", func(l *pvhLoader) { l.memoryMap = ^uint64(0) - 24 }, badPVHMap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoader()
			tt.change(l)
			_, problem := l.boot(t)
			assert.Equal(t, tt.want, problem)
		})
	}
}

func TestPVHModule(t *testing.T) {
	const max = ^uint64(0)
	for _, tt := range []struct {
		name   string
		module [2]uint64
		free   span
		want   string
	}{
		{"at the top", [2]uint64{testRAM - mib, mib}, span{testImageEnd, testRAM - mib}, ""},
		{"at the top, with an end within a page", [2]uint64{testRAM - mib, 5000}, span{testImageEnd, testRAM - mib}, ""},
		{"right behind the image", [2]uint64{testImageEnd, mib}, span{testImageEnd + mib, testRAM}, ""},
		{"right behind the image, with an end within a page", [2]uint64{testImageEnd, 5000}, span{testImageEnd + 2*pageSize, testRAM}, ""},
		{"more than half of memory, at the top", [2]uint64{20 * mib, 44 * mib}, span{testImageEnd, 20 * mib}, ""},
		{"more than half of memory, behind the image", [2]uint64{testImageEnd, 44 * mib}, span{47 * mib, testRAM}, ""},
		{"in the middle: the larger side is free", [2]uint64{24 * mib, mib}, span{25 * mib, testRAM}, ""},
		{"all memory", [2]uint64{testImageEnd, testRAM - testImageEnd}, span{}, badRAM},
		{"not on a page", [2]uint64{testRAM - mib + 8, 5000}, span{}, badModules},
		{"empty", [2]uint64{testImageEnd, 0}, span{testImageEnd, testRAM}, ""},
		{"in the image", [2]uint64{2 * mib, pageSize}, span{}, badModules},
		{"across the image's end", [2]uint64{testImageEnd - pageSize, 2 * pageSize}, span{}, badModules},
		{"behind RAM", [2]uint64{testRAM, pageSize}, span{}, badModules},
		{"across RAM's end", [2]uint64{testRAM - pageSize, 2 * pageSize}, span{}, badModules},
		{"that wraps", [2]uint64{testImageEnd, max}, span{}, badModules},
		{"that wraps to RAM", [2]uint64{max - pageSize + 1, 4 * mib}, span{}, badModules},
		{"at the last address", [2]uint64{max, 1}, span{}, badModules},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoader()
			l.modules, l.moduleList, l.module = 1, pvhModulesAt, tt.module
			p, problem := l.boot(t)
			require.Equal(t, tt.want, problem)
			if problem == "" {
				assert.Equal(t, span{tt.module[0], tt.module[0] + tt.module[1]}, p.modules)
				assert.Equal(t, tt.free, p.free)
			}
		})
	}
	for _, list := range []uint64{gib, gib - 31, max, max - 31} {
		l := newLoader()
		l.modules, l.moduleList = 1, list
		_, problem := l.boot(t)
		assert.Equal(t, badModules, problem, "module list at %#x", list)
	}
}

func TestPVHCmdline(t *testing.T) {
	long := make([]byte, abi.CmdlineMax+1)
	for i := range long {
		long[i] = 'a'
	}
	for _, tt := range []struct {
		name string
		at   uint64
		line string
		want string
	}{
		{"none", 0, "", ""},
		{"empty", pvhCmdlineAt, "", ""},
		{"some", pvhCmdlineAt, "console=ttyS0", ""},
		{"the longest", pvhCmdlineAt, string(long[1:]), ""},
		{"longer", pvhCmdlineAt, string(long), badCmdline},
		{"that ends with RAM", testRAM - 5, "abcde", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoader()
			l.cmdline, l.line = tt.at, tt.line
			p, problem := l.boot(t)
			require.Equal(t, tt.want, problem)
			if problem == "" {
				assert.Equal(t, tt.line, string(p.cmdline[:p.cmdlineSize]))
			}
		})
	}
	for _, at := range []uint64{testRAM, testRAM + 1, gib, ^uint64(0)} {
		l := newLoader()
		l.cmdline = at
		_, problem := l.boot(t)
		if at == testRAM {
			assert.Empty(t, problem, "an empty line at the end of RAM")
			continue
		}
		assert.Equal(t, badCmdline, problem, "command line at %#x", at)
	}
}
