package boot

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestFaultsOfTasks32: what a 32-bit task must not do ends its run alone.
func TestFaultsOfTasks32(t *testing.T) {
	const (
		protection = "general protection: .*, vector 13, "
		otherKind  = "system call of the other kind: "
	)
	code := func(b ...byte) func(*asm32) { return func(a *asm32) { a.bytes(b...) } }
	long := func(b ...byte) func(*asm32) {
		return func(a *asm32) {
			a.far32(0x2b)
			a.bytes(b...)
		}
	}
	runFaults(t, []fault{
		{"cli", code(0xfa), protection + "code 0x0;"},
		{"hlt", code(0xf4), protection + "code 0x0;"},
		{"out", code(0xe6, 0xf4), protection + "code 0x0;"},
		{"rdmsr", code(0x0f, 0x32), protection + "code 0x0;"},
		{"sysenter", code(0x0f, 0x34), "(" + protection + "code 0x0;|invalid instruction, .*, vector 6,)"},
		{"syscall", code(0x0f, 0x05), "invalid instruction, PC 0x400000.., vector 6,"},
		{"syscall-tf", code(0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x0f, 0x05), "(debug exception|invalid instruction), "},
		{"int-41", code(0xcd, 0x41), protection},
		{"int-20", code(0xcd, 0x20), protection},
		{"int-8", code(0xcd, 8), protection},
		{"int-2", code(0xcd, 2), protection},
		{"int1", code(0xcd, 1), "debug exception, .*, vector 1,"},
		{"int3", code(0xcc), "breakpoint, .*, vector 3,"},
		{"into", code(0xb0, 0x7f, 0x04, 1, 0xce), "overflow, .*, vector 4,"},
		{"ud2", code(0x0f, 0x0b), "invalid instruction, .*, vector 6,"},
	})
	runFaults(t, []fault{
		{"kernel-ds", code(0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8), protection + "code 0x10;"},
		{"kernel-cs", func(a *asm32) { a.far32(0x08) }, protection + "code 0x8;"},
		{"no-ss", code(0x31, 0xc0, 0x8e, 0xd0), protection + "code 0x0;"},
		{"tss", code(0xb8, 0x33, 0, 0, 0, 0x8e, 0xd8), protection + "code 0x30;"},
		{"nil", code(0xa1, 0, 0, 0, 0), "page fault: read where no page is at 0x0,"},
		{"nil-call", code(0x31, 0xc0, 0xff, 0xd0), "page fault: execute where no page is at 0x0,"},
		{"flash-write", code(0xa3, 0, 0, 0, 0x40), "page fault: write to a page that it may not write at 0x40000000,"},
		{"stack-run", code(0xff, 0xe4), "page fault: execute of a page that it may not execute at 0x80000fec,"},
		{"class", code(0xb8, 99, 0, 0, 0, 0xcd, 0x40), "unknown system call class, code 0x63;"},
		{"long-syscall", long(0x0f, 0x05), otherKind},
		{"long-int-40", long(0xcd, 0x40), otherKind},
		{"long-cli", long(0xfa), protection + "code 0x0;"},
		{"long-wild", long(0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0, 0, 0xff, 0xe0), "(general protection|jump to an address that is not canonical)"},
		{"long-kernel", long(0x48, 0xc7, 0xc0, 0, 0, 0x20, 0x80, 0x8a, 0), "page fault: read of a page that it may not read at 0xffffffff80200000,"},
	})
	lostStack := func(esp uint32, class abi.Class) func(*asm32) {
		return func(a *asm32) {
			a.mov(4, esp)
			a.mov(0, uint32(class))
			a.bytes(0xcd, 0x40)
		}
	}
	const noResults, top = "no writeable stack for the results of a system call", top32
	runFaults(t, []fault{
		{"no-stack", lostStack(0, abi.Command), noResults},
		{"stack-wraps", lostStack(0xfffffffc, abi.Command), noResults},
		{"stack-in-flash", lostStack(abi.FlashStart+0x100, abi.Command), noResults},
		{"stack-below-ram", lostStack(abi.RAMStart-4, abi.Command), noResults},
		{"stack-across-break", lostStack(top-12, abi.Command), noResults},
		{"no-stack-exit", lostStack(0, abi.Exit), ""}, // words that can not be read are 0: terminate, with 0
		{"last-stack", func(a *asm32) {
			a.mov(4, top)
			a.trap(abi.Command, 0xffffffff)
			a.stack(0, uint32(abi.Failure))
			a.stack(4, uint32(abi.NODEVICE))
		}, ""},
		{"upcall-no-stack", func(a *asm32) {
			fn := upcall32(a)
			a.call(abi.Subscribe, []uint32{0, 0, fn, 0})
			a.call(abi.Command, []uint32{0, 5, 100})
			a.mov(0, abi.YieldWait)
			a.store(abi.RAMStart)
			lostStack(abi.RAMStart, abi.Yield)(a) // no room for the return address
		}, "no writeable stack for an upcall"},
	})
}

// TestDumpOfARefusedSystemCall: the dump of a 32-bit task that executed SYSCALL has the words of the call
// where the task had them.
func TestDumpOfARefusedSystemCall(t *testing.T) {
	task := program32(t, "odd", func(a *asm32) {
		a.far32(0x2b)
		a.bytes(0xbf, 0x11, 0, 0, 0, 0xbe, 0x22, 0, 0, 0, 0xba, 0x33, 0, 0, 0, 0x41, 0xba, 0x44, 0, 0, 0) // MOV to EDI, ESI, EDX, R10D
		a.bytes(0x0f, 0x05)
	})
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{task}, Cmdline: "fault=stop"})
	ended(t, out, abi.ExitTaskFault)
	inOrder(t, out.Console, "odd faulted: system call of the other kind: ", "RDX 0x0000000000000033\n",
		"RSI 0x0000000000000022  RDI 0x0000000000000011", "R10 0x0000000000000044", "CS  0x000000000000002b")
}

// TestLocalDescriptorsOfTasks32: there is no local descriptor table for 32-bit tasks either.
func TestLocalDescriptorsOfTasks32(t *testing.T) {
	for _, selector := range []uint16{0x0007, 0xffff} {
		low, high := byte(selector), byte(selector>>8)
		refused := fmt.Sprintf("general protection: .*, vector 13, code %#x;", selector&^3)
		// As QEMU reads the frame, the fault may come before the selector is looked at.
		framed := "(" + refused + "|page fault: read of a page that it may not read at 0x80000)"
		code := func(b ...byte) func(*asm32) { return func(a *asm32) { a.bytes(b...) } }
		move := func(to byte) func(*asm32) { return code(0xb8, low, high, 0, 0, 0x8e, to) }
		pushed := func(b ...byte) func(*asm32) { return code(append([]byte{0x68, low, high, 0, 0, 0x54}, b...)...) }
		pointer := func(load ...byte) func(*asm32) { return code(append([]byte{0x68, low, high, 0, 0, 0x50}, load...)...) }
		runFaults(t, []fault{
			{"es", move(0xc0), refused},
			{"ss", move(0xd0), refused},
			{"ds", move(0xd8), refused},
			{"fs", move(0xe0), refused},
			{"gs", move(0xe8), refused},
			{"pop-ds", code(0x68, low, high, 0, 0, 0x1f), refused},
			{"lds", pointer(0xc5, 0x04, 0x24), refused},
			{"lss", pointer(0x0f, 0xb2, 0x04, 0x24), refused},
			{"far-jmp", code(0xea, 0, 0, 0, 0, low, high), refused},
			{"far-call", code(0x9a, 0, 0, 0, 0, low, high), refused},
			{"far-ret", pushed(0xcb), framed},
			{"iret", func(a *asm32) { a.bytes(0x9c); pushed(0xcf)(a) }, framed},
		})
	}
}

// A fault is a task and what the kernel says of it; "" if it shall exit with 0.
type fault struct {
	name string
	body func(*asm32)
	says string
}

func runFaults(t *testing.T, faults []fault) {
	t.Helper()
	var modules [][]byte
	for _, f := range faults {
		modules = append(modules, program32(t, f.name, f.body))
	}
	checkFaults(t, faults, modules)
}

// checkFaults runs the tasks, with one of 64 bits that must not be disturbed.
func checkFaults(t *testing.T, faults []fault, modules [][]byte) {
	t.Helper()
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: append(modules, machine.Object(t, "hello.tbf")), Cmdline: "fault=stop no-dump",
	})
	assert.Equal(t, vmm.GuestExit, out.Exit.Reason)
	for _, f := range faults {
		if f.says == "" {
			terminated(t, out.Console, f.name)
			continue
		}
		assert.Regexp(t, fmt.Sprintf(`(?m)^task \d+ %s faulted: %s.*stopped$`, f.name, f.says), out.Console)
	}
	assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
}

// program64 is a 64-bit task that runs body.
func program64(t *testing.T, name string, body func(*asm32)) []byte {
	return machine.CodeAt(t, name, 64, func(base uint32) []byte {
		a := asm32{base: base}
		body(&a)
		return a.code
	})
}

// TestTasks64InCompatibilityMode: 64-bit tasks may visit 32-bit code, but nothing there leads into
// the kernel but faults.
func TestTasks64InCompatibilityMode(t *testing.T) {
	visit := func(inside ...byte) func(*asm32) {
		return func(a *asm32) {
			a.far64(0x1b)
			a.bytes(inside...)
		}
	}
	stay := func(code ...byte) func(*asm32) { return func(a *asm32) { a.bytes(code...) } }
	faults := []fault{
		{"visit-syscall", visit(0x0f, 0x05), "invalid instruction, PC 0x400000.., vector 6,"},
		{"visit-sysenter", visit(0x0f, 0x34), "(general protection|invalid instruction)"},
		{"visit-int-40", visit(0xcd, 0x40), "system call of the other kind: "},
		{"visit-cli", visit(0xfa), "general protection: .*, vector 13, code 0x0;"},
		{"int-40", stay(0xcd, 0x40), "system call of the other kind: "},
		{"int3", stay(0xcc), "breakpoint, .*, vector 3,"},
		{"int-4", stay(0xcd, 4), "overflow, .*, vector 4,"},
		{"int-1", stay(0xcd, 1), "debug exception, .*, vector 1,"},
		{"visit-and-back", func(a *asm32) {
			visit()(a)
			a.far32(0x2b)
			a.bytes(0x31, 0xff, 0x31, 0xf6, 0xb8, 6, 0, 0, 0, 0x0f, 0x05) // terminate, 0
		}, ""},
	}
	var modules [][]byte
	for _, f := range faults {
		modules = append(modules, program64(t, f.name, f.body))
	}
	checkFaults(t, faults, modules)
}

// TestWaitingX87Exception: an x87 exception that waits when the task is left waits for it alone: it
// comes neither in the kernel nor in another task, but at the task's next x87 instruction.
func TestWaitingX87Exception(t *testing.T) {
	divide := []byte{0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9} // fld1; fldz; fdivp
	const wait = 0x9b                                    // fwait
	faults := []fault{
		{"x87-32", func(a *asm32) {
			a.mov(0, 0x037b) // divisions by zero are not masked
			a.store(area)
			a.bytes(0xd9, 0x2d) // fldcw area
			a.word(area)
			a.bytes(divide...)
			a.call(abi.Command, []uint32{0, 5, 2000})
			a.call(abi.Yield, []uint32{abi.YieldWaitFor, 0, 0})
			a.bytes(wait)
		}, "x87 floating-point error, .*, vector 16,"},
		{"x87-64", func(a *asm32) {
			a.bytes(0xc7, 0x44, 0x24, 0xf8, 0x7b, 0x03, 0, 0) // movl $0x37b, -8(%rsp)
			a.bytes(0xd9, 0x6c, 0x24, 0xf8)                   // fldcw -8(%rsp)
			a.bytes(divide...)
			a.bytes(0x31, 0xff, 0xbe, 5, 0, 0, 0, 0xba, 0xd0, 7, 0, 0, 0x45, 0x31, 0xd2, 0xb8, 2, 0, 0, 0, 0x0f, 0x05)
			a.bytes(0xbf, 2, 0, 0, 0, 0x31, 0xf6, 0x31, 0xd2, 0x31, 0xc0, 0x0f, 0x05) // wait for the alarm
			a.bytes(wait)
		}, "x87 floating-point error, .*, vector 16,"},
	}
	checkFaults(t, faults, [][]byte{
		program32(t, faults[0].name, faults[0].body),
		program64(t, faults[1].name, faults[1].body),
		machine.Object(t, "test/mixer.tbf"),
	})
}
