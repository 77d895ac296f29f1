package isolation

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

// Where a pattern has two answers, the second is that of QEMU's emulator (7.2): it has no
// INT1; it reads the frame of IRET and far return with the kernel's rights, which SMAP
// forbids; a push to an address that is not canonical is #GP; and it counts 16 bytes for an
// entry of the IDT in the error code of INT n.

// A trap is an instruction, or a few, that end the life of a task.
type trap struct {
	name  string
	code  []byte
	fault string // pattern of what the kernel says
}

const (
	privileged = `general protection: .*, vector 13`
	toRing0    = `(general protection: .*, vector 13|page fault: read of a page that it may not read at 0x80000)`
	invalid    = `invalid instruction, .*, vector 6`
)

// ud2 behind code shows that the task got over it.
func survives(code ...byte) []byte { return append(code, 0x0f, 0x0b) }

var traps = []trap{
	{"divide by zero", []byte{0x31, 0xc9, 0xf7, 0xf1}, "divide error"},
	{"the trap flag", []byte{0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90}, "debug exception"},
	{"the trap flag at SYSCALL", survives(0x31, 0xff, 0x31, 0xf6, 0x31, 0xc0, 0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x0f, 0x05), invalid},
	{"INT1", []byte{0xf1}, "(debug exception|invalid instruction)"},
	{"INT3", []byte{0xcc}, "breakpoint"},
	{"UD2", []byte{0x0f, 0x0b}, invalid},
	{"INTO, which 64-bit code has not", []byte{0xce}, invalid},
	{"alignment check set, and an unaligned access", survives(0x9c, 0x80, 0x4c, 0x24, 2, 4, 0x9d, 0x8b, 0x44, 0x24, 0xf1), invalid},
	{"an x87 exception", []byte{0xdb, 0xe3, 0x6a, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b}, "x87 floating-point error"},
	{"IRET to ring 0", []byte{0x6a, 0x10, 0x54, 0x9c, 0x6a, 0x08, 0x54, 0x48, 0xcf}, toRing0},
	{"IRET with the flag of nested tasks", []byte{0x9c, 0x80, 0x4c, 0x24, 1, 0x40, 0x9d, 0x48, 0xcf}, privileged},
	{"far return to ring 0", []byte{0x6a, 0x08, 0x54, 0x48, 0xcb}, toRing0},
	{"SYSRET", []byte{0x48, 0x0f, 0x07}, privileged},
	{"SYSENTER", []byte{0x0f, 0x34}, "(general protection|invalid instruction)"},
	{"SWAPGS", []byte{0x0f, 0x01, 0xf8}, privileged},
	{"RDMSR", []byte{0x0f, 0x32}, privileged},
	{"INVLPG", []byte{0x0f, 0x01, 0x38}, privileged},
	{"WBINVD", []byte{0x0f, 0x09}, privileged},
	{"CLTS", []byte{0x0f, 0x06}, privileged},
	{"LTR", []byte{0x0f, 0x00, 0xd8}, privileged},
	{"LIDT", []byte{0x0f, 0x01, 0x18}, privileged},
	{"MOV from CR0", []byte{0x0f, 0x20, 0xc0}, privileged},
	{"MOV to DR7", []byte{0x0f, 0x23, 0xf8}, privileged},
	{"IN", []byte{0xec}, privileged},
	{"STI", []byte{0xfb}, privileged},
	{"STAC", []byte{0x0f, 0x01, 0xcb}, invalid},
	{"the kernel's data selector in DS", []byte{0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8}, privileged},
	{"no selector in SS", []byte{0x31, 0xc0, 0x8e, 0xd0}, privileged},
	{"a push to a stack that is not canonical", []byte{0x31, 0xe4, 0x48, 0x0f, 0xba, 0xec, 62, 0x50}, "(stack segment fault|general protection)"},
	{"a push to no stack", []byte{0x31, 0xe4, 0x50}, "page fault: write where no page is at 0xfffffffffffffff8"},
	{"a system call without a stack", survives(0x31, 0xe4, 0xbf, 2, 0, 0, 0, 0xb8, 5, 0, 0, 0, 0x0f, 0x05), invalid},
	{"interrupts without a stack", survives(append([]byte{0x31, 0xe4, 0x48, 0x0f, 0xba, 0xec, 62}, spin...)...), invalid},
}

// spin counts down for longer than a time slice.
var spin = []byte{0xb9, 0, 0, 0, 4, 0xff, 0xc9, 0x75, 0xfc} // mov $1<<26, %ecx; 1: dec %ecx; jnz 1b

// TestTrapStorm: tasks raise every vector by INT and every exception that ring 3 can cause,
// one in each life, next to each other. Each is told as what it was, and ends that life.
func TestTrapStorm(t *testing.T) {
	const lives = 32 // that the board gives each task after the first
	var programs []*program
	all := [][]trap{traps}
	for vector := 0; vector < 256; vector += lives {
		all = append(all, nil)
		for v := vector; v < vector+lives; v++ {
			last := &all[len(all)-1]
			*last = append(*last, trap{fmt.Sprintf("INT %d", v), []byte{0xcd, byte(v)}, interrupt(v)})
		}
	}
	for i, some := range all {
		assert.LessOrEqual(t, len(some), lives)
		programs = append(programs, storm(fmt.Sprintf("storm-%d", i), some))
	}
	quiet := newProgram("quiet")
	for range 50 {
		quiet.fill(ram, 64, 'Q')
		quiet.sleep(1000)
		quiet.wantAt("its memory", ram, 0x5151_5151_5151_5151)
	}
	text := play(t, "no-dump", append(programs, quiet)...)
	for i, some := range all {
		stopped(t, text, fmt.Sprintf("storm-%d", i), some)
	}
}

// stopped asserts that each trap of a storm was told as what it was, in order.
func stopped(t *testing.T, console, name string, traps []trap) {
	t.Helper()
	faults := regexp.MustCompile(`(?m)^task \d+ `+name+` faulted: (.*); restarting$`).FindAllStringSubmatch(console, -1)
	if !assert.Len(t, faults, len(traps), "faults of %s", name) {
		return
	}
	for i, tr := range traps {
		assert.Regexp(t, "^"+tr.fault, faults[i][1], tr.name)
	}
}

// interrupt is what the kernel says of INT n: a gate for ring 3 is there for #DB, #BP, #OF
// and the system calls of 32-bit tasks alone.
func interrupt(n int) string {
	switch n {
	case 1:
		return "debug exception"
	case 3:
		return "breakpoint"
	case 4:
		return "overflow"
	case abi.Vector32:
		return "system call of the other kind"
	}
	return fmt.Sprintf("%s, code (%#x|%#x)$", privileged, n*8+2, n*16+2)
}

// storm is a task with one trap in each life, and none in the last.
func storm(name string, traps []trap) *program {
	p := newProgram(name)
	p.emit64(keptPage, 0x48, 0xbb) // movabs keptPage, %rbx
	p.emit(0x48, 0x8b, 0x2b)       // mov (%rbx), %rbp
	p.emit(0x48, 0xff, 0x03)       // incq (%rbx)
	for i, tr := range traps {
		p.emit32(uint32(i), 0x81, 0xfd)                     // cmp $i, %ebp
		p.emit32(uint32(len(tr.code)+10), 0x0f, 0x85)       // jne over what follows
		p.emit(tr.code...)                                  //
		p.emit32(p.check(tr.name+" does not end it"), 0xbe) // mov $number, %esi
		p.jump(failStub, 0xe9)                              //
	}
	return p
}
