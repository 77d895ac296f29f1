//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A descriptor is one of a descriptor table, decoded (SDM vol. 3, 3.4.5).
type descriptor struct {
	base, limit      uint32
	kind             int // 4 bits
	system           bool
	ring             int
	present, long    bool
	size32, granular bool
}

func decode(d uint64) descriptor {
	return descriptor{
		base:    uint32(d>>16&0xffffff | d>>56<<24),
		limit:   uint32(d&0xffff | d>>48&0xf<<16),
		kind:    int(d >> 40 & 15),
		system:  d>>44&1 == 0,
		ring:    int(d >> 45 & 3),
		present: d>>47&1 == 1,
		long:    d>>53&1 == 1, size32: d>>54&1 == 1, granular: d>>55&1 == 1,
	}
}

func TestGDT(t *testing.T) {
	const code, data = 0b1011, 0b0011 // readable and accessed; writeable and accessed
	assert.Zero(t, gdt[0], "the null descriptor")
	for _, tt := range []struct {
		name     string
		selector int
		want     descriptor
	}{
		{"kernel's code", 0x08, descriptor{0, 0xfffff, code, false, 0, true, true, false, true}},
		{"kernel's data", 0x10, descriptor{0, 0xfffff, data, false, 0, true, false, true, true}},
		{"32-bit task's code", 0x1b, descriptor{0, 0xfffff, code, false, 3, true, false, true, true}},
		{"task's data", 0x23, descriptor{0, 0xfffff, data, false, 3, true, false, true, true}},
		{"64-bit task's code", 0x2b, descriptor{0, 0xfffff, code, false, 3, true, true, false, true}},
	} {
		assert.Equal(t, tt.want, decode(gdt[tt.selector/8]), tt.name)
	}
}

// SYSCALL and SYSRET compute selectors from STAR, so the order of the GDT is fixed.
func TestSystemCallSelectors(t *testing.T) {
	newHostCPU(t)
	loadDescriptors()
	star := hostCPU.msr[msrSTAR]
	assert.Zero(t, uint32(star), "no 32-bit SYSCALL")
	assert.EqualValues(t, kernelCode, star>>32&0xffff, "SYSCALL: CS")
	assert.EqualValues(t, kernelData, star>>32&0xffff+8, "SYSCALL: SS")
	assert.EqualValues(t, userCode, star>>48+16, "SYSRET: CS")
	assert.EqualValues(t, userData, star>>48+8, "SYSRET: SS")
	assert.Equal(t, uint64(hostSyscallEntry), hostCPU.msr[msrLSTAR])
	assert.Equal(t, uint64(hostCompatEntry), hostCPU.msr[0xc0000083], "SYSCALL in compatibility mode")
	assert.Contains(t, hostCPU.writes, registerWrite{"MSR", 0x174, 0}, "SYSENTER faults")

	mask := hostCPU.msr[msrFMASK]
	for name, flag := range map[string]uint64{"TF": 1 << 8, "IF": 1 << 9, "DF": 1 << 10, "IOPL": 3 << 12, "NT": 1 << 14, "AC": 1 << 18} {
		assert.Equal(t, flag, mask&flag, "SYSCALL clears %s", name)
	}
}

func TestTaskState(t *testing.T) {
	newHostCPU(t)
	loadDescriptors()
	setTSS(tssRSP0, 0x1122334455667788)

	low := decode(gdt[taskState/8])
	assert.Equal(t, uint64(low.base)|gdt[taskState/8+1]<<32, addressOf(&tss[0]), "base")
	assert.Zero(t, gdt[taskState/8+1]>>32, "reserved")
	low.base = 0
	assert.Equal(t, descriptor{limit: 103, kind: 9, system: true, present: true}, low, "an available 64-bit TSS of 104 bytes")
	assert.EqualValues(t, taskState, hostCPU.taskRegister)

	b := unsafe.Slice((*byte)(unsafe.Pointer(&tss)), unsafe.Sizeof(tss))
	require.Len(t, b, 104)
	le := binary.LittleEndian
	assert.EqualValues(t, 0x1122334455667788, le.Uint64(b[4:]), "RSP0")
	ends := map[uint64]bool{}
	for i := range istCount {
		end := le.Uint64(b[36+8*i:])
		assert.Equal(t, addressOf(&istStacks[i])+istSize, end, "IST%d", i+1)
		ends[end] = true
	}
	assert.Len(t, ends, 4, "each has a stack of its own")
	assert.Equal(t, make([]byte, 24), b[36+8*istCount:92], "IST5 to IST7 are not used")
	assert.EqualValues(t, 104, le.Uint16(b[102:]), "the I/O map lies behind the limit: no port for ring 3")
}

func TestIDT(t *testing.T) {
	newHostCPU(t)
	loadDescriptors()
	stacks := map[int]uint64{1: 1, 2: 2, 8: 3, 18: 4} // #DB, NMI, #DF, #MC
	for v, g := range idt {
		offset := g[0]&0xffff | g[0]>>48<<16 | g[1]<<32
		assert.Equal(t, uint64(hostTrapStubs)+8*uint64(v), offset, "vector %d: handler", v)
		assert.EqualValues(t, kernelCode, g[0]>>16&0xffff, "vector %d: selector", v)
		assert.Equal(t, stacks[v], g[0]>>32&7, "vector %d: interrupt stack", v)
		assert.Zero(t, g[0]>>35&0x1f|g[1]>>32, "vector %d: reserved", v)
		if v == 1 || v == 3 || v == 4 || v == 0x40 {
			assert.EqualValues(t, 0xee, g[0]>>40&0xff, "vector %d: present, ring 3 too, interrupt gate", v)
		} else {
			assert.EqualValues(t, 0x8e, g[0]>>40&0xff, "vector %d: present, ring 0 alone, interrupt gate", v)
		}
	}
}

func TestTablePointers(t *testing.T) {
	newHostCPU(t)
	loadDescriptors()
	assert.Equal(t, tablePointer{limit: 63, base: addressOf(&gdt[0])}, hostCPU.gdtr)
	assert.Equal(t, tablePointer{limit: 65*16 - 1, base: addressOf(&idt[0])}, hostCPU.idtr)
	var p tablePointer
	assert.EqualValues(t, 6, unsafe.Offsetof(p.limit), "LGDT and LIDT are given this address")
	assert.EqualValues(t, unsafe.Offsetof(p.limit)+2, unsafe.Offsetof(p.base))
}

func TestInterruptGate(t *testing.T) {
	var g gate
	g.set(0x0123_4567_89ab_cdef, 3, 0)
	assert.Equal(t, gate{0x89ab_8e03_0008_cdef, 0x0123_4567}, g)
	g.set(0x0123_4567_89ab_cdef, 0, 3)
	assert.Equal(t, gate{0x89ab_ee00_0008_cdef, 0x0123_4567}, g)
}
