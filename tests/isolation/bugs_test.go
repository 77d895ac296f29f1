package isolation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

// Results that calls have here.
const (
	inval   = uint64(abi.INVAL)
	nomem   = uint64(abi.NOMEM)
	success = uint64(abi.Success)

	swappedFn  = uint64(abi.SuccessFnUserdata)
	keptFn     = uint64(abi.FailureFnUserdata)
	swappedBuf = uint64(abi.SuccessAddrLen)
	keptBuf    = uint64(abi.FailureAddrLen)
	told       = uint64(abi.SuccessAddress)
)

// Console numbers.
const (
	console      = abi.DriverConsole
	consoleWrite = 1 // command, subscribe and read-only allow number
)

func (p *program) brk(what string, addr uint64, results ...uint64) {
	p.call(abi.Memop, abi.MemopBrk, addr, 0, 0)
	p.want(what, results...)
}

// print writes n bytes at addr to the console and waits until they are sent.
func (p *program) print(addr, n uint64) {
	p.call(abi.AllowReadOnly, console, consoleWrite, addr, n)
	p.call(abi.Command, console, consoleWrite, n, 0)
	p.call(abi.Yield, abi.YieldWaitFor, console, consoleWrite, 0)
	p.want("bytes that were written", n)
}

// TestGrantsLieOutsideOfWhatTheTaskCanTouch moves the break up to the grants byte by byte
// around the last page, and probes them.
func TestGrantsLieOutsideOfWhatTheTaskCanTouch(t *testing.T) {
	const last = ramEnd - abi.PageSize // where the page of grants begins
	base := func(name string) *program {
		p := newProgram(name)
		p.brk("break at the end of RAM", ramEnd, 0, nomem)
		p.brk("break below the end of RAM", ramEnd-1, success)
		p.call(abi.Subscribe, abi.DriverAlarm, 0, 0, 0)
		p.want("no room for a grant", keptFn, nomem, 0, 0)
		p.brk("break below the last page", last, success)
		p.call(abi.Subscribe, abi.DriverAlarm, 0, upcall, 7)
		p.want("room for a grant", swappedFn, 0, 0, 0)
		for _, addr := range []uint64{last + 1, last + 8, ramEnd - 64, ramEnd - 1, ramEnd, ramEnd + 1} {
			p.brk(fmt.Sprintf("break at %#x", addr), addr, 0, nomem)
		}
		p.store(last-8, 1)
		return p
	}
	grant := base("grant-read")
	grant.read(ramEnd - 8)
	grant.faults = fmt.Sprintf("page fault: read where no page is at %#x", uint64(ramEnd-8))
	write := base("grant-write")
	write.store(last, 0)
	write.faults = fmt.Sprintf("page fault: write where no page is at %#x", uint64(last))
	fine := base("grant-beside")
	fine.call(abi.Subscribe, abi.DriverAlarm, 0, 0, 0)
	fine.want("the grant keeps its words", swappedFn, upcall, 7, 0)
	play(t, "fault=stop no-dump", grant, write, fine)
}

// TestTaskStaysInRing3 reads the selectors after each of 2000 interrupts and the calls
// between them, and then runs HLT.
func TestTaskStaysInRing3(t *testing.T) {
	p := newProgram("privilege")
	p.call(abi.Subscribe, abi.DriverAlarm, 0, upcall, 0)
	p.want("subscribed", swappedFn, 0, 0, 0)
	p.emit32(2000, 0x41, 0xbc) // mov $2000, %r12d
	alarm := len(p.code)
	p.call(abi.Command, abi.DriverAlarm, 5, 20, 0)
	wait := len(p.code)
	p.emit(0x8c, 0xc8) // mov %cs, %eax
	p.emit(0x8c, 0xd1) // mov %ss, %ecx
	p.emit(0x21, 0xc8) // and %ecx, %eax
	p.emit(0xf7, 0xd0) // not %eax
	p.emit(0xa8, 3)    // test $3, %al
	p.failUnlessEqual(p.check("CS and SS say ring 3"))
	p.emit(0x9c, 0x58)                   // pushf; pop %rax
	p.emit(0x25, 0x00, 0x30, 0x00, 0x00) // and $0x3000, %eax
	p.failUnlessEqual(p.check("IOPL is 0"))
	p.call(abi.Yield, abi.YieldNoWait, ram, 0, 0)
	p.read(ram)
	p.emit(0x84, 0xc0) // test %al, %al: has the upcall run?
	p.jump(wait, 0x0f, 0x84)
	p.emit(0x41, 0xff, 0xcc) // dec %r12d
	p.jump(alarm, 0x0f, 0x85)
	p.emit(0xf4) // hlt
	p.faults = `general protection: .*, vector 13, code 0x0`
	play(t, "fault=stop no-dump", p)
}

// TestTaskThatAsksForNoMemory gets the page below its first break, and no other.
func TestTaskThatAsksForNoMemory(t *testing.T) {
	least := func(name string) *program {
		p := newProgram(name)
		p.ram = 0
		p.store(ramBreak-8, 1)
		return p
	}
	fine, behind := least("least"), least("least-behind")
	fine.call(abi.Memop, abi.MemopRAMEnd, 0, 0, 0)
	fine.want("RAM: a page, and one for grants", told, ram+2*abi.PageSize, 0, 0)
	behind.read(ramBreak)
	behind.faults = fmt.Sprintf("page fault: read where no page is at %#x", uint64(ramBreak))
	play(t, "fault=stop no-dump", fine, behind)
}

// TestRestartWithASharedBuffer: a task faults while the console sends its buffer. Its next
// life has no break mark, no share and no write under way.
func TestRestartWithASharedBuffer(t *testing.T) {
	const buffer, size = ram + 0x100, 0x800
	p := newProgram("restarted")
	p.firstLife(func() {
		p.fill(buffer, size, 'A')
		p.call(abi.AllowReadOnly, console, consoleWrite, buffer, size)
		p.call(abi.Command, console, consoleWrite, size, 0)
		p.emit(0x0f, 0x0b) // ud2
	})
	p.wantAt("the memory of the life before", buffer, 0)
	p.brk("break below the buffer of the life before", ram+1, success)
	p.brk("the first break", ramBreak, success)
	p.call(abi.AllowReadOnly, console, consoleWrite, 0, 0)
	p.want("the share of the life before", swappedBuf, 0, 0, 0)
	p.fill(buffer, 64, 'B')
	p.print(buffer, 64)
	other := newProgram("other")
	other.fill(ram, 64, 'C')
	other.print(ram, 64)
	text := play(t, "no-dump", p, other)
	assert.Regexp(t, `B{64}`, text)
	assert.Regexp(t, `C{64}`, text)
	assert.NotContains(t, text, "\x00")
}

// TestEmptyShares: a buffer of length 0 may be anywhere; it is handed back, never used,
// and leaves the other shares alone.
func TestEmptyShares(t *testing.T) {
	const wild = 0xdead_beef_dead_beef
	p := newProgram("empty")
	p.fill(ram, 16, 'E')
	p.call(abi.AllowReadOnly, console, consoleWrite, ram, 16)
	p.want("a share", swappedBuf, 0, 0, 0)
	p.call(abi.AllowReadOnly, console, 0, ram, 0)
	p.want("an empty share at the same address", swappedBuf, 0, 0, 0)
	p.call(abi.AllowReadWrite, console, consoleWrite, wild, 0)
	p.want("an empty share anywhere", swappedBuf, 0, 0, 0)
	p.call(abi.AllowReadOnly, console, consoleWrite, wild, 0)
	p.want("the live share is what it was", swappedBuf, ram, 16, 0)
	p.call(abi.Command, console, consoleWrite, 16, 0)
	p.call(abi.Yield, abi.YieldWaitFor, console, consoleWrite, 0)
	p.want("bytes that were written of nothing", 0, 0, 0, 0)
	p.call(abi.AllowReadOnly, console, consoleWrite, 0, 0)
	p.want("the empty share comes back", swappedBuf, wild, 0, 0)
	play(t, "fault=stop no-dump", p)
}

// TestBreakBelowASharedBuffer: refused, also when the share was taken back; and a grant
// that is allocated afterwards does not reach it.
func TestBreakBelowASharedBuffer(t *testing.T) {
	const buffer = ram + 2*abi.PageSize
	p := newProgram("shrinks")
	p.brk("grow", buffer+64, success)
	p.call(abi.AllowReadWrite, console, 1, buffer, 64)
	p.want("share", swappedBuf, 0, 0, 0)
	p.brk("below the end of the buffer", buffer+63, 0, nomem)
	p.brk("below all of it", ram, 0, nomem)
	p.call(abi.Memop, abi.MemopSbrk, ^uint64(0), 0, 0)
	p.want("a byte less", 0, nomem)
	p.call(abi.Memop, abi.MemopSbrk, 0, 0, 0)
	p.want("the break is where it was", told, buffer+64)
	p.fill(buffer, 64, 'S')
	p.call(abi.Subscribe, abi.DriverAlarm, 0, upcall, 1) // allocates a grant
	p.want("subscribed", swappedFn)
	p.wantAt("the shared buffer", buffer, 0x5353_5353_5353_5353)
	play(t, "fault=stop no-dump", p)
}

// TestRestartWithAGrownBreak probes above the first break what the life before had.
func TestRestartWithAGrownBreak(t *testing.T) {
	p := newProgram("grown")
	p.firstLife(func() {
		p.brk("grow", ram+3*abi.PageSize, success)
		p.store(ram+2*abi.PageSize, 1)
		p.call(abi.Exit, abi.ExitRestart, 0, 0, 0)
	})
	p.call(abi.Memop, abi.MemopSbrk, 0, 0, 0)
	p.want("the first break", told, ramBreak)
	p.read(ram + 2*abi.PageSize)
	p.faults = fmt.Sprintf("page fault: read where no page is at %#x", uint64(ram+2*abi.PageSize))
	play(t, "fault=stop no-dump", p)
}

// TestOverlappingShares: one buffer under three numbers, of two kinds, two of which
// overlap in part.
func TestOverlappingShares(t *testing.T) {
	p := newProgram("overlaps")
	p.fill(ram, 128, 'O')
	for _, share := range []struct {
		class   abi.Class
		number  uint64
		addr, n uint64
	}{{abi.AllowReadOnly, 1, ram, 64}, {abi.AllowReadWrite, 1, ram, 64}, {abi.AllowReadWrite, 0, ram + 32, 64}, {abi.AllowReadOnly, 0, ram, 128}} {
		p.call(share.class, console, share.number, share.addr, share.n)
		p.want("share", swappedBuf, 0, 0, 0)
	}
	p.call(abi.Command, console, consoleWrite, 64, 0)
	p.call(abi.Yield, abi.YieldWaitFor, console, consoleWrite, 0)
	p.want("bytes that were written", 64, 0, 0, 0)
	p.call(abi.AllowReadWrite, console, 1, 0, 0)
	p.want("each comes back", swappedBuf, ram, 64, 0)
	assert.Regexp(t, `O{64}`, play(t, "fault=stop no-dump", p))
}

// TestTaskWithLessAfterATaskWithMore: a task that has just run with all of its memory
// mapped leaves nothing of it to the next one.
func TestTaskWithLessAfterATaskWithMore(t *testing.T) {
	const secret = 0x5ec2_e75e_c2e7_5ec2
	rich := newProgram("rich")
	rich.brk("grow to the grants", ramEnd-abi.PageSize, success)
	for page := uint64(ram); page < ramEnd-abi.PageSize; page += abi.PageSize {
		rich.store(page+8, secret)
	}
	for range 10 {
		rich.sleep(2000)
		for page := uint64(ram); page < ramEnd-abi.PageSize; page += abi.PageSize {
			rich.wantAt("its own memory", page+8, secret)
		}
	}
	programs := []*program{rich}
	for i, addr := range []uint64{ramBreak + 8, ram + 2*abi.PageSize + 8, ram + 3*abi.PageSize + 8} {
		poor := newProgram(fmt.Sprintf("poor-%d", i))
		poor.wantAt("memory where the other keeps a secret", ram+8, 0)
		poor.sleep(3000) // the other runs meanwhile
		poor.wantAt("memory where the other keeps a secret, later", ram+8, 0)
		poor.read(addr)
		poor.faults = fmt.Sprintf("page fault: read where no page is at %#x", addr)
		programs = append(programs, poor)
	}
	play(t, "fault=stop no-dump", programs...)
}
