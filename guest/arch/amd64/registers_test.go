//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// bootByBothDoors runs f for each door, on a processor that Boot has taken over from a monitor
// that left all its registers full.
func bootByBothDoors(t *testing.T, f func(t *testing.T, m *Machine)) {
	const free = 64 * mib // of RAM, behind the image
	for _, door := range []struct {
		name string
		open func(r ram)
	}{
		{"direct", func(r ram) {
			r.put64(0x6000, abi.BootMagic, 96, uint64(len(r)), 0, uint64(len(r))-free, 0, 0, 0, 0, 3_000_000_000, 0, 2*mib)
			doorInfo, doorPVH = 0x6000, 0
		}},
		{"PVH", func(r ram) {
			r.put64(pvhInfoAt, 1<<32|pvhMagic, 0, 0, 0, 0, pvhMapAt, 1)
			r.put64(pvhMapAt, 0, uint64(len(r)), pvhRAM)
			doorInfo, doorPVH = 0, pvhInfoAt
		}},
	} {
		t.Run(door.name, func(t *testing.T) {
			p := newHostCPU(t)
			p.fill()
			oldImage, oldMachine := image, machine
			t.Cleanup(func() { image, machine, doorInfo, doorPVH = oldImage, oldMachine, 0, 0 })
			data := abi.PageDown(addressOf(&stack[0])) // the image has the host's addresses
			image = abi.ImageInfo{
				Text: data - 2*pageSize, TextEnd: data - pageSize, Rodata: data - pageSize, RodataEnd: data,
				Data: data, DataEnd: addressOf(&stack[0]) + uint64(len(stack)),
			}
			r := newRAM(t, int(abi.PageUp(image.DataEnd)-abi.KernelBase+free)) // as PVH loads it
			door.open(r)
			m := Boot()
			window = addressOf(&r[0]) // Boot has moved it to the direct map, where no test has memory
			f(t, m)
		})
	}
}

// fill gives the processor all features, and something in each register.
func (p *processor) fill() {
	p.leaves = map[[2]uint32][4]uint32{
		{0, 0}:           {7},
		{1, 0}:           {2: 1<<17 | 1<<24 | 1<<31, 3: 1 << 7},
		{7, 0}:           {1: 1<<7 | 1<<20, 2: 1 << 2},
		{0x4000_0000, 0}: {0x4000_0010}, {0x4000_0010, 0}: {3_000_000},
	}
	p.cr0, p.cr3, p.cr4, p.dr7 = ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)
	p.taskRegister, p.localTable = 0xffff, 7
	p.ds, p.es, p.fs, p.gs = 7, 7, 7, 7
	p.gdtr, p.idtr = tablePointer{limit: 0xffff}, tablePointer{limit: 0xffff}
	for msr := range uint32(0x200) {
		p.msr[msr], p.msr[0xc0000000+msr] = ^uint64(0), ^uint64(0)
	}
}

// TestBootSetsEveryRegister: what the processor has once the kernel has taken it over does not
// depend on the door, nor on what was in it.
func TestBootSetsEveryRegister(t *testing.T) {
	bootByBothDoors(t, func(t *testing.T, m *Machine) {
		p := hostCPU
		for _, tt := range []struct {
			name      string
			got, want uint64
		}{
			{"CR0: PE, MP, ET, NE, WP, PG; no AM, TS, EM, CD, NW", p.cr0, 0x80010033},
			{"CR3: the kernel's own tables", p.cr3, m.kernel.root},
			{"CR4: PAE, MCE, PGE, OSFXSR, OSXMMEXCPT, UMIP, PCIDE, SMEP, SMAP; no TSD, DE, PCE, VMXE, FSGSBASE, OSXSAVE, PKE", p.cr4, 0x320ee0},
			{"EFER: SCE, LME, LMA, NXE", p.msr[msrEFER], 0xd01},
			{"DR7: no breakpoint", p.dr7, 0x400},
			{"LDTR: no local descriptor table", uint64(p.localTable), 0},
			{"TR", uint64(p.taskRegister), taskState},
			{"the I/O map, behind the task state's limit", uint64(tss[tssIOMap] >> 16), 104},
			{"GDT: limit", uint64(p.gdtr.limit), 8*8 - 1},
			{"GDT: base", p.gdtr.base, addressOf(&gdt[0])},
			{"IDT: limit", uint64(p.idtr.limit), vectorCount*16 - 1},
			{"IDT: base", p.idtr.base, addressOf(&idt[0])},
			{"STAR", p.msr[msrSTAR], 0x001b_0008_0000_0000},
			{"LSTAR", p.msr[msrLSTAR], hostSyscallEntry},
			{"CSTAR", p.msr[msrCSTAR], hostCompatEntry},
			{"FMASK: TF, IF, DF, IOPL, NT, AC", p.msr[msrFMASK], 0x47700},
			{"SYSENTER_CS: SYSENTER faults", p.msr[msrSysenterCS], 0},
			{"DS, ES, FS, GS", uint64(p.ds | p.es | p.fs | p.gs), 0},
		} {
			assert.Equal(t, tt.want, tt.got, "%s: %#x, want %#x", tt.name, tt.got, tt.want)
		}
	})
}

// TestBootMasksThe8259: behind firmware alone, for a monitor has none.
func TestBootMasksThe8259(t *testing.T) {
	bootByBothDoors(t, func(t *testing.T, _ *Machine) {
		want := map[uint16]byte{}
		if doorPVH != 0 {
			want = map[uint16]byte{0x21: 0xff, 0xa1: 0xff}
		}
		assert.Equal(t, want, hostCPU.ports)
	})
}

// TestFirstTaskFindsNothingLeft: the bases of FS and GS, which null selectors leave alone on
// AMD's processors, are the first task's own.
func TestFirstTaskFindsNothingLeft(t *testing.T) {
	bootByBothDoors(t, func(t *testing.T, m *Machine) {
		hostCPU.msr[msrFSBase], hostCPU.msr[msrGSBase] = 7, 7
		m.CPU.Start(0, testStart)
		hostCPU.task = func(x *context) {
			assert.Zero(t, hostCPU.msr[msrFSBase], "FS base")
			assert.Zero(t, hostCPU.msr[msrGSBase], "GS base")
			assert.EqualValues(t, flagsFixed|flagIF, x.rflags, "no IOPL, no AC, no TF")
			systemCall(x)
		}
		assert.Equal(t, kernel.TrapSyscall, m.CPU.Switch(0))
	})
}
