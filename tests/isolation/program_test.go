package isolation

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// A program is a task under construction, as machine code. Its object has a page that is
// writeable and outlives a restart, between the header's page and the code. What it checks
// it checks itself: a check that fails ends it with the check's number.
type program struct {
	name   string
	ram    uint32 // bytes that it asks for
	code   []byte
	checks []string // names; the numbers begin with 1
	faults string   // pattern of the fault that ends it; "": it exits with code 0
}

// Where things are in the task of a program.
const (
	keptPage   = abi.FlashStart + abi.PageSize   // the writeable page
	codeStart  = abi.FlashStart + 2*abi.PageSize //
	upcall     = codeStart                       // a RET
	failStub   = 1                               // offset of the code that exits with ESI
	mainOffset = 16
)

// RAM of a program that asks for 4 pages: the first lies below the first break, and the
// fifth is for grants.
const ramEnd = ram + 5*abi.PageSize

func newProgram(name string) *program {
	p := &program{name: name, ram: 4 * abi.PageSize}
	p.emit(0xc3)                         // upcall: ret
	p.emit(0x31, 0xff, 0xb8, 6, 0, 0, 0) // fail: xor %edi, %edi; mov $6, %eax: Exit
	p.emit(0x0f, 0x05)                   // syscall
	for len(p.code) < mainOffset {
		p.emit(0x90) // nop
	}
	p.emit(0x48, 0x83, 0xec, 8) // sub $8, %rsp: aligned to 16
	return p
}

func (p *program) emit(code ...byte) { p.code = append(p.code, code...) }

// emit64 emits code and a word that is its operand.
func (p *program) emit64(word uint64, code ...byte) {
	p.code = binary.LittleEndian.AppendUint64(append(p.code, code...), word)
}

func (p *program) emit32(word uint32, code ...byte) {
	p.code = binary.LittleEndian.AppendUint32(append(p.code, code...), word)
}

// call makes a system call. Its results are in RDI, RSI, RDX and R10.
func (p *program) call(class abi.Class, r0, r1, r2, r3 uint64) {
	p.emit64(r0, 0x48, 0xbf)
	p.emit64(r1, 0x48, 0xbe)
	p.emit64(r2, 0x48, 0xba)
	p.emit64(r3, 0x49, 0xba)
	p.emit32(uint32(class), 0xb8)
	p.emit(0x0f, 0x05)
}

// want checks the results of a system call. Those that are not given are 0.
func (p *program) want(what string, results ...uint64) {
	number := p.check(what)
	for i, compare := range [][]byte{{0x48, 0x39, 0xc7}, {0x48, 0x39, 0xc6}, {0x48, 0x39, 0xc2}, {0x49, 0x39, 0xc2}} {
		word := uint64(0)
		if i < len(results) {
			word = results[i]
		}
		p.emit64(word, 0x48, 0xb8) // movabs word, %rax
		p.emit(compare...)         // cmp %rax, %reg
		p.failUnlessEqual(number)
	}
}

func (p *program) check(what string) (number uint32) {
	p.checks = append(p.checks, what)
	return uint32(len(p.checks))
}

func (p *program) failUnlessEqual(number uint32) {
	p.emit(0x74, 10) // je: over what follows
	p.emit32(number, 0xbe)
	p.jump(failStub, 0xe9)
}

// jump emits a jump, whose operation code is given, to an offset in the code.
func (p *program) jump(to int, code ...byte) {
	p.emit(code...)
	p.emit32(uint32(to - len(p.code) - 4))
}

// store writes a word.
func (p *program) store(addr, word uint64) {
	p.emit64(addr, 0x48, 0xb8)
	p.emit64(word, 0x48, 0xb9)
	p.emit(0x48, 0x89, 0x08) // mov %rcx, (%rax)
}

// wantAt checks a word in memory.
func (p *program) wantAt(what string, addr, word uint64) {
	p.read(addr)
	p.emit64(word, 0x48, 0xb9)
	p.emit(0x48, 0x39, 0xc8) // cmp %rcx, %rax
	p.failUnlessEqual(p.check(what))
}

// read loads RAX from memory.
func (p *program) read(addr uint64) {
	p.emit64(addr, 0x48, 0xb8)
	p.emit(0x48, 0x8b, 0x00) // mov (%rax), %rax
}

// fill writes n times the same byte.
func (p *program) fill(addr uint64, n uint32, with byte) {
	p.emit64(addr, 0x48, 0xbf)
	p.emit32(n, 0xb9)
	p.emit(0xb0, with, 0xfc, 0xf3, 0xaa) // mov $with, %al; cld; rep stosb
}

// firstLife emits what the task does only before a restart.
func (p *program) firstLife(does func()) {
	p.read(keptPage)
	p.emit(0x48, 0x85, 0xc0)       // test %rax, %rax
	p.emit(0x0f, 0x85, 0, 0, 0, 0) // jne
	from := len(p.code)
	p.store(keptPage, 1)
	does()
	binary.LittleEndian.PutUint32(p.code[from-4:], uint32(len(p.code)-from))
}

// sleep waits for so many microseconds.
func (p *program) sleep(microseconds uint64) {
	p.call(abi.Command, abi.DriverAlarm, 5, microseconds, 0)
	p.call(abi.Yield, abi.YieldWaitFor, abi.DriverAlarm, 0, 0)
}

// object is the task, which exits with code 0 at the end.
func (p *program) object(t *testing.T) []byte {
	t.Helper()
	code := append([]byte(nil), p.code...)
	code = append(code, 0x31, 0xf6) // xor %esi, %esi
	code = append(code, 0xe9)
	code = binary.LittleEndian.AppendUint32(code, uint32(failStub-len(code)-4))
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: p.name, Binary: append(make([]byte, abi.PageSize), code...), BinaryOffset: abi.PageSize,
		Init: abi.PageSize + mainOffset, Writeable: []tbf.Region{{Offset: 0, Size: abi.PageSize}},
		MinimumRAM: p.ram, ABI64: true,
	})
	require.NoError(t, err)
	return object
}

// play runs the programs beside each other and checks how each ended. It returns the console.
func play(t *testing.T, cmdline string, programs ...*program) string {
	t.Helper()
	record(t)
	var modules [][]byte
	for _, p := range programs {
		modules = append(modules, p.object(t))
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: cmdline})
	assert.Equal(t, vmm.GuestExit, out.Exit.Reason)
	assert.NotContains(t, out.Console, "kernel panic")
	for _, p := range programs {
		p.ended(t, out.Console)
	}
	return out.Console
}

func (p *program) ended(t *testing.T, console string) {
	t.Helper()
	if p.faults != "" {
		assert.Regexp(t, fmt.Sprintf(`(?m)^task \d+ %s faulted: %s.*; stopped$`, p.name, p.faults), console)
		return
	}
	end := regexp.MustCompile(`(?m)^ *\d+ +` + p.name + ` +Terminated .* exit with code (\d+)$`).FindStringSubmatch(console)
	if !assert.NotNil(t, end, "%s should exit", p.name) {
		return
	}
	if n, _ := strconv.Atoi(end[1]); n != 0 {
		what := "a check that it does not have"
		if n <= len(p.checks) {
			what = p.checks[n-1]
		}
		assert.Fail(t, fmt.Sprintf("%s: check %d failed: %s", p.name, n, what))
	}
}
