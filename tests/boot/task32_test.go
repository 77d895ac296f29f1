package boot

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab"
	"kapsel/guest/kernel/tbf/tab/tabtest"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
)

// The stack and the break of a program32: a page of RAM, with room above ESP for a frame like
// that of the first call.
const (
	top32   = abi.RAMStart + abi.PageSize
	stack32 = top32 - 20
)

// program32 is a 32-bit task that makes itself a stack, runs body and exits with 0.
func program32(t *testing.T, name string, body func(*asm32)) []byte {
	return bare32(t, name, func(a *asm32) {
		a.begin(top32, stack32)
		body(a)
	})
}

// bare32 is a 32-bit task that begins with body and exits with 0.
func bare32(t *testing.T, name string, body func(*asm32)) []byte {
	return machine.CodeAt(t, name, 32, func(base uint32) []byte {
		a := asm32{base: base}
		body(&a)
		a.exit(0)
		return a.code
	})
}

// terminated asserts that a task exited with 0, in the final table of tasks.
func terminated(t *testing.T, console, name string) {
	t.Helper()
	assert.Regexp(t, `(?m)^ *\d+ +`+name+` +Terminated .* exit with code 0$`, console,
		"another code is the number of the check that failed")
}

// Words of a task's RAM that the tests use.
const (
	seen   = abi.RAMStart + 16*iota // arguments of an upcall
	times                           // how often it was called
	expiry                          // of an alarm
	flag                            // of Yield-NoWait
	area                            // of FLDCW and the like
)

// TestTasks32: 32-bit tasks find the start, the system calls and the upcalls that Tock's x86
// port gives them, with 64-bit tasks beside them.
func TestTasks32(t *testing.T) {
	programs := map[string]func(*asm32){
		"calls":   calls32,
		"shares":  shares32,
		"memops":  memops32,
		"upcalls": upcalls32,
		"yields":  yields32,
		"console": console32,
		"long":    long32,
	}
	modules := [][]byte{machine.Object(t, "hello.tbf"), bare32(t, "start", start32)}
	for name, body := range programs {
		modules = append(modules, program32(t, name, body))
	}
	modules = append(modules, machine.Object(t, "counter.tbf"))
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: "fault=stop"})
	terminated(t, out.Console, "start")
	for name := range programs {
		terminated(t, out.Console, name)
	}
	ended(t, out, abi.ExitOK)
	assert.Contains(t, out.Console, "written by a 32-bit task\n")
	assert.Contains(t, out.Console, " prints 0x1234abcd 0xffffffff\n")
	assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
}

// start32 checks the registers and the frame that a task begins with.
func start32(a *asm32) {
	for r := range byte(8) {
		if r != 4 {
			a.register(r, 0)
		}
	}
	a.register(4, abi.RAMStart+abi.InitialRAM32-20)
	a.stack(0, 0)
	a.stack(4, a.base) // nothing is protected but the header, and the code is behind it
	a.stack(8, abi.RAMStart)
	a.stack(12, 5*abi.PageSize)
	a.stack(16, abi.RAMStart+abi.InitialRAM32)
	for i, selector := range []uint32{0x23, 0x1b, 0x23, 0x23, 0, 0} { // ES, CS, SS, DS, FS, GS
		a.bytes(0x8c, 0xc0+byte(i)<<3) // mov segment, %eax
		a.register(0, selector)
	}
}

// calls32 checks Command, and the registers that calls keep.
func calls32(a *asm32) {
	const failure, success = uint32(abi.Failure), uint32(abi.Success)
	a.call(abi.Command, []uint32{8}, success, 0, 0, 0)
	a.call(abi.Command, []uint32{8, 3, 0x1234abcd, 0xffffffff}, success, 0, 0, 0)
	a.call(abi.Command, []uint32{8, 99, 1, 2}, failure, uint32(abi.NOSUPPORT), 0, 0)
	a.call(abi.Command, []uint32{0xffffffff, 0}, failure, uint32(abi.NODEVICE), 0, 0)
	a.call(abi.Command, []uint32{0, 1}, uint32(abi.SuccessU32), 1_000_000, 0, 0)
	a.call(abi.Exit, []uint32{2, 7}, failure, uint32(abi.NOSUPPORT), 0, 0)

	for range 4 {
		a.push(0) // Command 0 of the alarm
	}
	for r := range byte(8) {
		if r != 4 {
			a.mov(r, 0x01010101*uint32(r)<<8|2) // the class is in the low 8 bits of EAX
		}
	}
	a.bytes(0xcd, 0x40)
	for r := range byte(8) {
		if r != 4 {
			a.register(r, 0x01010101*uint32(r)<<8|2)
		}
	}
	a.stack(0, success)
	a.drop()
	a.register(4, stack32)
}

// shares32 checks Subscribe and Allow: pairs come back under the variants of 32-bit words.
func shares32(a *asm32) {
	const swapped, refused = uint32(abi.Success2U32), uint32(abi.Failure2U32)
	const top, inval = top32, uint32(abi.INVAL)
	a.call(abi.Subscribe, []uint32{0, 0, a.base, 0xfedcba98}, swapped, 0, 0, 0)
	a.call(abi.Subscribe, []uint32{0, 0, top - 3, 1}, refused, inval, top-3, 1)
	a.call(abi.Subscribe, []uint32{0, 0, top - 4, 2}, swapped, a.base, 0xfedcba98, 0)
	a.call(abi.Subscribe, []uint32{0, 0, 0xffffffff, 3}, refused, inval, 0xffffffff, 3)
	a.call(abi.Subscribe, []uint32{0, 9, a.base, 4}, refused, uint32(abi.NOSUPPORT), a.base, 4)
	a.call(abi.Subscribe, []uint32{77, 0, a.base, 5}, refused, uint32(abi.NODEVICE), a.base, 5)
	a.call(abi.Subscribe, []uint32{0, 0, 0, 0}, swapped, top-4, 2, 0)

	for _, class := range []abi.Class{abi.AllowReadWrite, abi.AllowReadOnly} {
		number := uint32(1)
		a.call(class, []uint32{1, number, abi.RAMStart, 64}, swapped, 0, 0, 0)
		a.call(class, []uint32{1, number, top - 1, 2}, refused, inval, top-1, 2)
		a.call(class, []uint32{1, number, 0xffffffff, 0xffffffff}, refused, inval, 0xffffffff, 0xffffffff)
		a.call(class, []uint32{1, number, 0xfffffff0, 0}, swapped, abi.RAMStart, 64, 0)
		a.call(class, []uint32{1, 50, abi.RAMStart, 64}, refused, uint32(abi.NOSUPPORT), abi.RAMStart, 64)
		a.call(class, []uint32{1, number, 0, 0}, swapped, 0xfffffff0, 0, 0)
	}
	a.call(abi.AllowReadWrite, []uint32{1, 1, a.base, 4}, refused, inval, a.base, 4)
	a.call(abi.AllowReadOnly, []uint32{1, 1, abi.FlashStart, 4}, refused, inval, abi.FlashStart, 4)
	a.call(abi.AllowUserspaceReadable, []uint32{1, 1, abi.RAMStart, 4}, refused, uint32(abi.NOSUPPORT), abi.RAMStart, 4)
}

// memops32 checks Memop: addresses come back as 32-bit values, differences are signed.
func memops32(a *asm32) {
	const failure, success, value = uint32(abi.Failure), uint32(abi.Success), uint32(abi.SuccessU32)
	const top = top32
	memop := func(op, arg uint32, want ...uint32) { a.call(abi.Memop, []uint32{op, arg}, want...) }
	memop(abi.MemopSbrk, 0, value, top, 0, 0)
	memop(abi.MemopSbrk, 4096, value, top, 0, 0)
	memop(abi.MemopSbrk, 1<<32-4096, value, top+4096, 0, 0)
	memop(abi.MemopBrk, top+1, success, 0, 0, 0)
	memop(abi.MemopBrk, 0xffffffff, failure, uint32(abi.NOMEM), 0, 0)
	memop(abi.MemopSbrk, 0x80000000, failure, uint32(abi.NOMEM), 0, 0)
	memop(abi.MemopSbrk, 0x7fffffff, failure, uint32(abi.NOMEM), 0, 0)
	memop(abi.MemopRAMStart, 0, value, abi.RAMStart, 0, 0)
	memop(abi.MemopRAMEnd, 0, value, abi.RAMStart+5*abi.PageSize, 0, 0)
	memop(abi.MemopFlashStart, 0, value, abi.FlashStart, 0, 0)
	memop(abi.MemopGrantStart, 0, value, abi.RAMStart+5*abi.PageSize, 0, 0)
	memop(abi.MemopFlashRegions, 0, value, 0, 0, 0)
	memop(abi.MemopRegionStart, 0, failure, uint32(abi.FAIL), 0, 0)
	memop(abi.MemopSetStackTop, top, success, 0, 0, 0)
	memop(abi.MemopSetHeapStart, top, success, 0, 0, 0)
	memop(abi.MemopSetFSBase, 0, failure, uint32(abi.NOSUPPORT), 0, 0)
	memop(abi.MemopSetGSBase, 0, failure, uint32(abi.NOSUPPORT), 0, 0)
}

// upcall32 is a function that notes its arguments, the userdata and that it was called.
func upcall32(a *asm32) uint32 {
	return a.function(func() {
		for i := range 4 {
			a.bytes(0x8b, 0x44, 0x24, byte(4+4*i)) // mov 4+4*i(%esp), %eax
			a.store(uint32(seen + 4*i))
		}
		a.bytes(0xff, 0x05) // incl times
		a.word(times)
		a.bytes(0xc3)
	})
}

// upcalls32 checks Yield-Wait and the call that it makes.
func upcalls32(a *asm32) {
	fn := upcall32(a)
	a.call(abi.Subscribe, []uint32{0, 0, fn, 0xfedcba98}, uint32(abi.Success2U32))
	a.trap(abi.Command, 0, 5, 2000)
	a.stack(0, uint32(abi.SuccessU32))
	a.bytes(0x8b, 0x44, 0x24, 4) // mov 4(%esp), %eax
	a.store(expiry)
	a.drop()
	for _, r := range []byte{3, 5, 6, 7} {
		a.mov(r, 0x11111111*uint32(r))
	}
	a.call(abi.Yield, []uint32{abi.YieldWait})
	for _, r := range []byte{3, 5, 6, 7} {
		a.register(r, 0x11111111*uint32(r))
	}
	a.register(4, stack32)
	a.memory(times, 1)
	a.load(expiry)
	a.bytes(0x3b, 0x05) // cmp seen+4, %eax
	a.word(seen + 4)
	a.equal()
	a.memory(seen+8, 0)
	a.memory(seen+12, 0xfedcba98)
}

// yields32 checks the other kinds of Yield.
func yields32(a *asm32) {
	fn := upcall32(a)
	a.mov(0, 0x55555555)
	a.store(flag)
	a.call(abi.Yield, []uint32{abi.YieldNoWait, flag})
	a.memory(flag, 0x55555500)
	a.call(abi.Yield, []uint32{abi.YieldNoWait, 0})
	a.call(abi.Yield, []uint32{abi.YieldNoWait, 0xffffffff})
	a.call(abi.Yield, []uint32{17, 1, 2, 3}, 0, 0, 0, 0)

	a.call(abi.Command, []uint32{0, 5, 1000}) // an event for nobody, then one that is waited for
	a.trap(abi.Yield, abi.YieldWaitFor, 0, 0)
	a.stack(8, 0)
	a.stack(12, 0)
	a.drop()
	a.memory(times, 0)

	a.call(abi.Subscribe, []uint32{0, 0, fn, 7}, uint32(abi.Success2U32), 0, 0)
	a.call(abi.Command, []uint32{0, 6, 0, 0}, uint32(abi.SuccessU32)) // due at once
	again := a.here()
	a.call(abi.Yield, []uint32{abi.YieldNoWait, flag})
	a.bytes(0x83, 0x3d) // cmpl $0, times
	a.word(times)
	a.bytes(0)
	a.bytes(0x0f, 0x84) // je again
	a.word(again - a.here() - 4)
	a.memory(flag, 0x55555501)
	a.memory(seen+12, 7)
}

// console32 writes a text from flash.
func console32(a *asm32) {
	const text = "written by a 32-bit task\n"
	addr := a.function(func() { a.bytes([]byte(text)...) })
	a.call(abi.AllowReadOnly, []uint32{1, 1, addr, uint32(len(text))}, uint32(abi.Success2U32), 0, 0)
	a.call(abi.Command, []uint32{1, 1, uint32(len(text))}, uint32(abi.Success))
	a.call(abi.Yield, []uint32{abi.YieldWaitFor, 1, 1}, uint32(len(text)), 0, 0, 0)
}

// long32 visits 64-bit code: that is the task's own business, and has no system calls.
func long32(a *asm32) {
	a.mov(2, 1)
	a.far32(0x2b)
	a.bytes(0x48, 0xc1, 0xe2, 35) // shl $35, %rdx
	a.bytes(0x48, 0xc1, 0xea, 30) // shr $30, %rdx
	a.far64(0x1b)
	a.register(2, 32)
	a.register(4, stack32)
}

// TestRegistersOfTasks32: 32-bit tasks that fill all registers, the vector and x87 ones and the
// segments with patterns of their own never see one change, through preemptions, system
// calls, each other, and a 64-bit task that does the same.
func TestRegistersOfTasks32(t *testing.T) {
	mixer := machine.Object(t, "test/mixer.tbf")
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{
		program32(t, "first", func(a *asm32) { keep32(a, 0x10203040, 0x23, 0x1b, 0x7f80, 0x0f7f) }),
		mixer,
		program32(t, "second", func(a *asm32) { keep32(a, 0x0f1e2d3c, 0x2b, 0x23, 0x3f80, 0x077f) }),
	}})
	ended(t, out, abi.ExitOK)
	for _, name := range []string{"first", "second"} {
		terminated(t, out.Console, name)
		assert.NotRegexp(t, name+` +Terminated +0 +\d+ +0 +0 `, out.Console, "it was never preempted: the test proves nothing")
	}
	assert.Contains(t, out.Console, "mixer: unchanged\n")
}

// keep32 fills the registers, computes and makes system calls for a while, and checks them.
func keep32(a *asm32, pattern uint32, fs, gs byte, mxcsr, control uint32) {
	a.mov(0, mxcsr)
	a.store(area)
	a.bytes(0x0f, 0xae, 0x15) // ldmxcsr area
	a.word(area)
	a.mov(0, control)
	a.store(area)
	a.bytes(0xd9, 0x2d) // fldcw area
	a.word(area)
	for i := range byte(8) {
		a.mov(0, pattern+uint32(i))
		a.store(area)
		a.bytes(0xdb, 0x05) // fildl area
		a.word(area)
		a.bytes(0x66, 0x0f, 0x6e, 0xc0|i<<3)      // movd %eax, %xmm(i)
		a.bytes(0x66, 0x0f, 0x70, 0xc0|i<<3|i, 0) // pshufd $0, %xmm(i), %xmm(i)
	}
	a.mov(0, uint32(fs))
	a.bytes(0x8e, 0xe0) // mov %eax, %fs
	a.mov(0, uint32(gs))
	a.bytes(0x8e, 0xe8) // mov %eax, %gs
	for _, r := range []byte{2, 3, 5, 6} {
		a.mov(r, pattern^uint32(r))
	}

	a.mov(7, 40) // EDI: rounds
	round := a.here()
	a.mov(1, 1_000_000)
	a.bytes(0x49, 0x75, 0xfd) // dec %ecx; jne back to it
	a.call(abi.Command, []uint32{8}, uint32(abi.Success), 0, 0, 0)
	a.bytes(0x4f, 0x0f, 0x85) // dec %edi; jne round
	a.word(round - a.here() - 4)

	for _, r := range []byte{2, 3, 5, 6} {
		a.register(r, pattern^uint32(r))
	}
	for i, selector := range []uint32{0x23, 0x1b, 0x23, 0x23, uint32(fs), uint32(gs)} {
		a.bytes(0x8c, 0xc0+byte(i)<<3) // mov segment, %eax
		a.register(0, selector)
	}
	for i := range byte(8) {
		for _, lane := range []byte{0, 0xff} {
			a.bytes(0x66, 0x0f, 0x70, 0xc0|i<<3|i, lane) // pshufd
			a.bytes(0x66, 0x0f, 0x7e, 0xc0|i<<3)         // movd %xmm(i), %eax
			a.register(0, pattern+uint32(i))
		}
		a.bytes(0xdb, 0x1d) // fistpl area
		a.word(area)
		a.memory(area, pattern+7-uint32(i))
	}
	a.mov(0, 0)
	a.store(area)
	a.bytes(0xd9, 0x3d) // fnstcw area
	a.word(area)
	a.memory(area, control)
	a.bytes(0x0f, 0xae, 0x1d) // stmxcsr area
	a.word(area)
	a.memory(area, mxcsr)
}

// TestStartCodeMovesTheBreakFirst: start code that lowers or raises the break to the end of its data
// before it moves ESP to its own stack, as libtock-rs has it, runs with a stack of any size. The
// stack lies at the start of RAM, the data behind it.
func TestStartCodeMovesTheBreakFirst(t *testing.T) {
	sizes := []uint32{0x100, 0x200, 0x800, 0xf00, 0x1000}
	var modules [][]byte
	for _, size := range sizes {
		modules = append(modules, bare32(t, fmt.Sprintf("stack-%x", size), func(a *asm32) { smallStack32(a, size) }))
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: "fault=stop"})
	for _, size := range sizes {
		terminated(t, out.Console, fmt.Sprintf("stack-%x", size))
	}
	ended(t, out, abi.ExitOK)
}

// smallStack32 is a program with so many bytes of stack and a word of data: an upcall runs on its
// stack, and its heap begins behind the data.
func smallStack32(a *asm32, size uint32) {
	data, end := abi.RAMStart+size, abi.RAMStart+size+4
	a.begin(end, data)
	fn := a.function(func() {
		a.bytes(0xff, 0x05) // incl data
		a.word(data)
		a.bytes(0xc3)
	})
	a.call(abi.Memop, []uint32{abi.MemopSbrk, 0x100}, uint32(abi.SuccessU32), end, 0, 0)
	a.call(abi.Subscribe, []uint32{0, 0, fn, 7}, uint32(abi.Success2U32), 0, 0, 0)
	a.call(abi.Command, []uint32{0, 5, 1000}, uint32(abi.SuccessU32))
	a.call(abi.Yield, []uint32{abi.YieldWait})
	a.memory(data, 1)
	a.register(4, data)
}

// TestWriteableFlashRegionsOfNoWholePages: tasks with a writeable flash region as elf2tab makes them,
// wherever the linker put it, run, find it by Memop and read it. A write there is a fault, one to a
// region of whole pages is none.
func TestWriteableFlashRegionsOfNoWholePages(t *testing.T) {
	const odd, whole = 0x1f34, 0x3000 // where the regions begin, in bytes from the object's start
	regions := []tbf.Region{{Offset: odd, Size: 0x30}, {Offset: whole, Size: abi.PageSize}}
	find := func(a *asm32) {
		a.call(abi.Memop, []uint32{abi.MemopFlashRegions}, uint32(abi.SuccessU32), 2, 0, 0)
		for i, r := range regions {
			start := abi.FlashStart + r.Offset
			a.call(abi.Memop, []uint32{abi.MemopRegionStart, uint32(i)}, uint32(abi.SuccessU32), start, 0, 0)
			a.call(abi.Memop, []uint32{abi.MemopRegionEnd, uint32(i)}, uint32(abi.SuccessU32), start+r.Size, 0, 0)
			a.memory(start, 0)
		}
		a.mov(0, 0x1234)
		a.store(abi.FlashStart + whole)
		a.memory(abi.FlashStart+whole, 0x1234)
	}
	out := machine.Boot(t, machine.Guest{Image: "test/debug.elf", Cmdline: "fault=stop no-dump", Modules: [][]byte{
		regions32(t, "reads", regions, find),
		regions32(t, "writes", regions, func(a *asm32) {
			find(a)
			a.store(abi.FlashStart + odd)
		}),
	}})
	ended(t, out, abi.ExitTaskFault)
	terminated(t, out.Console, "reads")
	assert.Regexp(t, `(?m)^task \d+ writes faulted: page fault: write to a page that it may not write at 0x40001f34,`, out.Console)
	for _, name := range []string{"reads", "writes"} {
		assert.Regexp(t, `(?m)^task \d+ `+name+`: flash .*, 32-bit, can only read 1 of its 2 writeable flash regions: they are no whole pages$`, out.Console)
	}
}

// regions32 is a program32 of four pages with writeable flash regions, in bytes from the object's start.
func regions32(t *testing.T, name string, regions []tbf.Region, body func(*asm32)) []byte {
	t.Helper()
	const header = 0x80
	a := asm32{base: abi.FlashStart + header}
	a.begin(top32, stack32)
	body(&a)
	a.exit(0)
	spec := tbfbuild.Spec{
		Name: name, Binary: make([]byte, 4*abi.PageSize-header), BinaryOffset: header, MinimumRAM: 4 * abi.PageSize,
	}
	copy(spec.Binary, a.code)
	for _, r := range regions {
		spec.Writeable = append(spec.Writeable, tbf.Region{Offset: r.Offset - header, Size: r.Size})
	}
	object, err := tbfbuild.Build(spec)
	require.NoError(t, err)
	return object
}

// TestTockProgram: a C program for Tock's x86 port, compiled for fixed addresses as the port's are,
// runs unchanged (testdata/tock32); two of them at the same addresses, and 64-bit tasks.
func TestTockProgram(t *testing.T) {
	object := tock32(t)
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{
		object, machine.Object(t, "hello.tbf"), object, machine.Object(t, "test/mixer.tbf"),
	}})
	assert.Len(t, regexp.MustCompile(`(?m)^ *\d+ +tock32 +Terminated .* exit with code 0$`).FindAllString(out.Console, -1), 2,
		"another code is the line of main.c whose check failed")
	for _, text := range []string{"tock32: a text in flash\n", "tock32: three upcalls deep.\n", "tock32: all checks passed\n"} {
		assert.Equal(t, 2, strings.Count(out.Console, text), text)
	}
	assert.Contains(t, out.Console, "mixer: unchanged\n")
	ended(t, out, abi.ExitOK)
}

// TestTab: the object for x86 of an archive, as elf2tab makes it, runs.
func TestTab(t *testing.T) {
	archive := tabtest.Archive(t, tabtest.Metadata, tabtest.File("cortex-m4.0x00030000.0x20008000.tbf", "arm"),
		tabtest.File("i686.0x00150080.0x00210000.tbf", string(tock32(t))))
	name, object, err := tab.Object(archive)
	require.NoError(t, err)
	assert.Equal(t, "i686.0x00150080.0x00210000.tbf", name)
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{object}})
	ended(t, out, abi.ExitOK)
	assert.Contains(t, out.Console, "tock32: all checks passed\n")
}

// tock32 is the object of the C program testdata/tock32.
func tock32(t *testing.T) []byte {
	t.Helper()
	binary, err := os.ReadFile("testdata/tock32.bin")
	require.NoError(t, err)
	object, err := tbfbuild.Build(tbfbuild.Spec{ // as guest/tock32/tock32.ld has it
		Name: "tock32", Binary: binary, BinaryOffset: 0x80, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0080, RAM: 0x0021_0000},
		KernelVersion:  tbf.KernelVersion{Major: 2},
	})
	require.NoError(t, err)
	return object
}
