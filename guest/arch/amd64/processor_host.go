//go:build !kapsel

package amd64

import (
	"encoding/binary"

	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64/unwind"
)

// A processor stands in for the machine on the host: the functions below, which are
// assembly in the kernel's build, read and write it. So tests reach all of the machine
// layer but its assembly.
type processor struct {
	msr                map[uint32]uint64
	cr0, cr2, cr3, cr4 uint64
	dr7                uint64
	gdtr, idtr         tablePointer
	taskRegister       uint16
	localTable         uint16 // LDTR's selector
	ds, es, fs, gs     uint16
	fx                 [512]byte               // x87 and vector state, as FXSAVE64 stores it
	tsc                uint64                  // time-stamp counter
	leaves             map[[2]uint32][4]uint32 // EAX to EDX by CPUID leaf and subleaf
	device             map[uintptr]uint32      // device registers, by virtual address
	console            []byte                  // what was sent to COM1
	burst              int                     // how many bytes of that at once
	statuses           []uint32                // what was written to the debug-exit port
	ports              map[uint16]byte         // what was written to other ports last
	writes             []registerWrite         // of all registers, in order
	rests, polls       int                     // times that it idled and polled

	task     func(*context) // runs in ring 3 until it traps
	served   bool           // that was a system call that the kernel has served
	timeRead func()         // called before the time-stamp counter is read, if not nil
}

// A registerWrite is a value for a control register, by its name, or for a model-specific
// one, "MSR", by its number, or for a device's, "device", by the low half of its address.
type registerWrite struct {
	name   string
	number uint32
	value  uint64
}

// Written for the entry code (instructions.go).
var uncleared = ^uint64(0)

// hostCPU is the processor of the functions below. Tests put one of theirs here.
var hostCPU = newProcessor()

func newProcessor() *processor {
	return &processor{msr: map[uint32]uint64{}, leaves: map[[2]uint32][4]uint32{}, device: map[uintptr]uint32{}, ports: map[uint16]byte{}}
}

// halted is the panic of a processor that stopped for ever.
type halted struct{}

func outb(port uint16, v byte) {
	hostCPU.ports[port] = v
}

func sendString(s string) {
	hostCPU.console, hostCPU.burst = append(hostCPU.console, s...), serialBurst
}

func sendChars(chars *uint64, n int) {
	hostCPU.console = append(hostCPU.console, binary.LittleEndian.AppendUint64(nil, *chars)[:n]...)
}

func outl(port uint16, v uint32) {
	if port == abi.PortDebugExit {
		hostCPU.statuses = append(hostCPU.statuses, v)
		panic(halted{})
	}
}

func halt() { panic(halted{}) }

func rdmsr(msr uint32) uint64 { return hostCPU.msr[msr] }

func wrmsr(msr uint32, v uint64) {
	hostCPU.msr[msr] = v
	hostCPU.writes = append(hostCPU.writes, registerWrite{"MSR", msr, v})
}

func rdtsc() uint64 {
	if hostCPU.timeRead != nil {
		hostCPU.timeRead()
	}
	return hostCPU.tsc
}

func cpuid(leaf, subleaf uint32) (a, b, c, d uint32) {
	r := hostCPU.leaves[[2]uint32{leaf, subleaf}]
	return r[0], r[1], r[2], r[3]
}

func readCR2() uint64 { return hostCPU.cr2 }

func writeCR0(v uint64) { hostCPU.writeControl("CR0", &hostCPU.cr0, v) }

func writeCR3(v uint64) { hostCPU.writeControl("CR3", &hostCPU.cr3, v) }

func writeCR4(v uint64) { hostCPU.writeControl("CR4", &hostCPU.cr4, v) }

func writeDR7(v uint64) { hostCPU.writeControl("DR7", &hostCPU.dr7, v) }

func (p *processor) writeControl(name string, register *uint64, v uint64) {
	*register = v
	p.writes = append(p.writes, registerWrite{name: name, value: v})
}

func load32(addr uintptr) uint32 { return hostCPU.device[addr] }

func store32(addr uintptr, v uint32) {
	hostCPU.device[addr] = v
	hostCPU.writes = append(hostCPU.writes, registerWrite{"device", uint32(addr), uint64(v)})
}

func lgdt(p *tablePointer) { hostCPU.gdtr = *p }

func lidt(p *tablePointer) { hostCPU.idtr = *p }

func ltr(selector uint16) { hostCPU.taskRegister = selector }

func lldt(selector uint16) { hostCPU.localTable = selector }

func loadSegments() { hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs = 0, 0, 0, 0 }

func exchange(to *context, cr3 uint64) {
	p, from := hostCPU, running
	writeCR3(cr3)
	running = to
	setTSS(tssRSP0, addressOf(to)+uint64(contextTop))
	if from.came >= cameBySyscall {
		from.fx = p.fx
	}
	from.ds, from.es, from.fs, from.gs = p.ds, p.es, p.fs, p.gs
	from.fsBase, from.gsBase = p.msr[msrFSBase], p.msr[msrGSBase]
	clear(p.fx[8:24])  // FIP, FDP
	clear(p.fx[32:48]) // ST0
	if to.came >= cameBySyscall {
		p.fx = to.fx
	}
	p.ds, p.es, p.fs, p.gs = to.ds, to.es, to.fs, to.gs
	p.msr[msrFSBase], p.msr[msrGSBase] = to.fsBase, to.gsBase
}

func switchTo() (served bool) {
	hostCPU.served = false
	hostCPU.task(running)
	return hostCPU.served
}

func idle() { hostCPU.rests++ }

func poll() { hostCPU.polls++ }

// Addresses of code that only the kernel's build has.
const (
	hostTrapStubs    = abi.KernelBase + 0x12345600
	hostSyscallEntry = abi.KernelBase + 0x23456700
	hostCompatEntry  = abi.KernelBase + 0x23456800
)

func trapStubsAddress() uint64 { return hostTrapStubs }

func syscallEntryAddress() uint64 { return hostSyscallEntry }

func compatSyscallEntryAddress() uint64 { return hostCompatEntry }

// resumed is what resume panics with, as it does not return.
type resumed struct{ to unwind.Resumption }

func resume(to *resumption) { panic(resumed{unwind.Resumption(*to)}) }
