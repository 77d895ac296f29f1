package isolation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

// hostile are addresses of which no byte is the task's, or not all that follow.
var hostile = []struct {
	name string
	addr uint64
}{
	{"0", 0},
	{"1", 1},
	{"below 64 KiB", abi.UserMin - 1},
	{"1 MiB", 1 << 20},
	{"before flash", abi.FlashStart - 1},
	{"the header", abi.FlashStart},
	{"the protected region's end", keptPage - 1},
	{"before RAM", ram - 1},
	{"the break", ramBreak},
	{"a byte below the break", ramBreak - 1},
	{"behind the break, unaligned", ramBreak + 3},
	{"the last page of RAM", ramEnd - abi.PageSize},
	{"the last byte of RAM", ramEnd - 1},
	{"the end of RAM", ramEnd},
	{"the local APIC", abi.LAPICBase},
	{"the last byte of 32 bits", 1<<32 - 1},
	{"4 GiB", 1 << 32},
	{"RAM and 4 GiB", ram + 1<<32},
	{"the last byte of the low half", abi.UserMax - 1},
	{"the first that is not canonical", abi.UserMax},
	{"the greatest signed", 1<<63 - 1},
	{"the least signed", 1 << 63},
	{"the kernel's map of all memory", abi.DirectMap},
	{"the local APIC in that map", abi.DirectMap + abi.LAPICBase},
	{"the kernel", abi.KernelBase},
	{"the kernel's code", abi.KernelBase + 0x200000},
	{"-4096", ^uint64(0) - 4095},
	{"-8", ^uint64(0) - 7},
	{"-1", ^uint64(0)},
}

// lengths are too large for any buffer of the task.
var lengths = []uint64{
	abi.PageSize + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 3 << 30, 1<<47 - 1, 1<<63 - 1, 1 << 63,
	^uint64(0) - ram, ^uint64(0) - ram + 1, ^uint64(0) - 4095, ^uint64(0),
}

// TestHostileArguments gives every class of system call words that are huge, negative,
// unaligned, that wrap around, or that name a device or the kernel. Each is answered by
// the error that the ABI names, and changes nothing: break, grants, shares, subscriptions
// and memory are what they were.
func TestHostileArguments(t *testing.T) {
	record(t)
	for name, ask := range map[string]func(p *program){
		"subscribe": subscribeHostile, "allow": allowHostile, "allow-lengths": allowLengths,
		"brk": brkHostile, "sbrk": sbrkHostile, "memop": memopHostile, "numbers": numbersHostile, "exit-yield": exitAndYieldHostile,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(name)
			p.setUp()
			ask(p)
			p.nothingChanged()
			play(t, "fault=stop no-dump", p)
			assert.Greater(t, len(p.checks), 20)
		})
	}
}

const pattern = 0x0123_4567_89ab_cdef

// setUp subscribes, shares, and leaves a pattern in memory.
func (p *program) setUp() {
	p.call(abi.Subscribe, console, 1, upcall, 11)
	p.want("subscribe", swappedFn)
	p.call(abi.Subscribe, abi.DriverAlarm, 0, upcall, 12)
	p.want("subscribe", swappedFn)
	p.call(abi.AllowReadOnly, console, 1, ram, 64)
	p.want("share", swappedBuf)
	p.call(abi.AllowReadWrite, console, 1, ram+64, 64)
	p.want("share", swappedBuf)
	for addr := uint64(ram); addr < ram+256; addr += 8 {
		p.store(addr, pattern+addr)
	}
	p.call(abi.Memop, abi.MemopGrantStart, 0, 0, 0) // R12 = where grants begin
	p.emit(0x49, 0x89, 0xf4)                        // mov %rsi, %r12
}

func (p *program) nothingChanged() {
	p.breakIsWhereItWas("in the end")
	p.call(abi.Memop, abi.MemopGrantStart, 0, 0, 0)
	p.emit(0x4c, 0x39, 0xe6) // cmp %r12, %rsi
	p.failUnlessEqual(p.check("where grants begin"))
	p.call(abi.Subscribe, console, 1, 0, 0)
	p.want("the console's upcall", swappedFn, upcall, 11)
	p.call(abi.Subscribe, abi.DriverAlarm, 0, 0, 0)
	p.want("the alarm's upcall", swappedFn, upcall, 12)
	p.call(abi.AllowReadOnly, console, 1, 0, 0)
	p.want("the read-only share", swappedBuf, ram, 64)
	p.call(abi.AllowReadWrite, console, 1, 0, 0)
	p.want("the read-write share", swappedBuf, ram+64, 64)
	for addr := uint64(ram); addr < ram+256; addr += 8 {
		p.wantAt("memory", addr, pattern+addr)
	}
}

func (p *program) breakIsWhereItWas(after string) {
	p.call(abi.Memop, abi.MemopSbrk, 0, 0, 0)
	p.want("the break, "+after, told, ramBreak)
}

func subscribeHostile(p *program) {
	for _, h := range hostile {
		if h.addr == 0 {
			continue // no function
		}
		p.call(abi.Subscribe, console, 1, h.addr, 5)
		p.want("function at "+h.name, keptFn, inval, h.addr, 5)
	}
}

func allowHostile(p *program) {
	for _, class := range []abi.Class{abi.AllowReadOnly, abi.AllowReadWrite, abi.AllowUserspaceReadable} {
		for _, h := range hostile {
			p.call(class, console, 1, h.addr, 16)
			p.want(fmt.Sprintf("class %d, 16 bytes at %s", class, h.name), keptBuf, inval, h.addr, 16)
		}
	}
	p.call(abi.AllowReadWrite, console, 1, codeStart, 1)
	p.want("a driver may not write to flash", keptBuf, inval, codeStart, 1)
}

func allowLengths(p *program) {
	for _, class := range []abi.Class{abi.AllowReadOnly, abi.AllowReadWrite, abi.AllowUserspaceReadable} {
		for _, addr := range []uint64{ram, ram + 3, ramBreak - 1, ramBreak, 0, ^uint64(0)} {
			for _, n := range lengths {
				p.call(class, console, 1, addr, n)
				p.want(fmt.Sprintf("class %d, %#x bytes at %#x", class, n, addr), keptBuf, inval, addr, n)
			}
		}
	}
}

func brkHostile(p *program) {
	for _, h := range hostile {
		if h.addr >= ramBreak-1 && h.addr <= ramEnd-abi.PageSize {
			continue // a break that is fine
		}
		p.brk("break at "+h.name, h.addr, 0, nomem)
		p.breakIsWhereItWas(h.name)
	}
	for _, addr := range []uint64{ram, ram + 1, ram + 127} { // below what is shared
		p.brk(fmt.Sprintf("break at %#x", addr), addr, 0, nomem)
	}
}

func sbrkHostile(p *program) {
	const room = ramEnd - ramBreak
	deltas := []uint64{
		room, room - 1, room + 1, 1 << 31, 1 << 32, 1<<47 - 1, 1<<63 - 1, 1 << 63, 1<<63 + 1,
		^uint64(ramBreak) + 1, ^uint64(ramBreak), ^uint64(ramBreak) + 2, // to 0, and around it
		^uint64(0) - abi.PageSize + 1, ^uint64(0) - abi.PageSize, // to the start of RAM, and below
	}
	for _, delta := range deltas {
		p.call(abi.Memop, abi.MemopSbrk, delta, 0, 0)
		p.want(fmt.Sprintf("sbrk by %d", int64(delta)), 0, nomem)
		p.breakIsWhereItWas("afterwards")
	}
}

func memopHostile(p *program) {
	const nosupport, fail = uint64(abi.NOSUPPORT), uint64(abi.FAIL)
	for _, op := range []uint64{14, 15, 255, 256, 1 << 31, 1<<32 - 1, ^uint64(0)} {
		p.call(abi.Memop, op, ram, ram, ram)
		p.want(fmt.Sprintf("operation %#x", op), 0, nosupport)
	}
	for _, index := range []uint64{1, 2, 1 << 31, 1 << 32, 1 << 63, ^uint64(0)} {
		for _, op := range []uint64{abi.MemopRegionStart, abi.MemopRegionEnd} {
			p.call(abi.Memop, op, index, 0, 0)
			p.want(fmt.Sprintf("edge of flash region %#x", index), 0, fail)
		}
	}
	for _, h := range hostile {
		if h.addr < abi.UserMax {
			continue // a base may be any address of the low half
		}
		for _, op := range []uint64{abi.MemopSetFSBase, abi.MemopSetGSBase} {
			p.call(abi.Memop, op, h.addr, 0, 0)
			p.want("segment base at "+h.name, 0, inval)
		}
	}
}

// numbersHostile: drivers and numbers that are not there.
func numbersHostile(p *program) {
	const nodevice, nosupport = uint64(abi.NODEVICE), uint64(abi.NOSUPPORT)
	for _, driver := range []uint64{0x7fff_ffff, 0x8000_0000, 0xffff_ffff, ^uint64(0), 1<<63 | 0xdead_beef} {
		p.call(abi.Subscribe, driver, 0, upcall, 1)
		p.want("subscribe to an absent driver", keptFn, nodevice, upcall, 1)
		p.call(abi.Command, driver, 0, 0, 0)
		p.want("command to an absent driver", 0, nodevice)
		p.call(abi.AllowReadWrite, driver, 0, ram, 1)
		p.want("allow to an absent driver", keptBuf, nodevice, ram, 1)
		p.call(abi.AllowReadOnly, driver, 0, ram, 1)
		p.want("read-only allow to an absent driver", keptBuf, nodevice, ram, 1)
	}
	for _, number := range []uint64{3, 255, 256, 0x7fff_ffff, 0x8000_0001, 0xffff_ffff, ^uint64(0)} {
		p.call(abi.Subscribe, console, number, upcall, 1)
		p.want("subscribe number", keptFn, nosupport, upcall, 1)
		p.call(abi.AllowReadWrite, console, number, ram, 1)
		p.want("read-write allow number", keptBuf, nosupport, ram, 1)
		p.call(abi.AllowReadOnly, console, number, ram, 1)
		p.want("read-only allow number", keptBuf, nosupport, ram, 1)
		p.call(abi.Command, console, number|128, ^uint64(0), ^uint64(0))
		p.want("command number", 0, nosupport)
	}
	p.call(abi.Command, console, 2, 1<<31, 0)
	p.want("a read of 2 GiB into 64 bytes", success)
	p.call(abi.Command, console, 3, 0, 0)
	p.want("the read ends", success)
}

func exitAndYieldHostile(p *program) {
	for _, kind := range []uint64{2, 3, 255, 256, 1 << 31, 1<<32 - 1, ^uint64(0)} {
		p.call(abi.Exit, kind, 0, 0, 0)
		p.want(fmt.Sprintf("exit of kind %#x", kind), 0, uint64(abi.NOSUPPORT))
		p.call(abi.Yield, kind+1, ramEnd, ram, ram)
		p.want(fmt.Sprintf("yield of kind %#x", kind+1))
	}
	for _, h := range hostile {
		if h.addr == ramBreak-1 {
			continue
		}
		p.call(abi.Yield, abi.YieldNoWait, h.addr, 0, 0)
		p.want("flag at " + h.name)
	}
}
