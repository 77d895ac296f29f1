package isolation

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// A probe is an access of one byte by a task of its own.
type probe struct {
	name    string
	before  []uint64 // breaks to move to first
	access  byte     // 'r', 'w' or 'x'
	addr    uint64
	allowed bool
}

// The task of a probe: an object of one page, and RAM of which one page is below the first break.
const (
	flash    = abi.FlashStart
	flashEnd = flash + abi.PageSize
	ram      = abi.RAMStart
	ramBreak = ram + abi.PageSize
)

var probes = []probe{
	{name: "flash-before-r", access: 'r', addr: flash - 1},
	{name: "flash-first-r", access: 'r', addr: flash, allowed: true},
	{name: "flash-last-r", access: 'r', addr: flashEnd - 1, allowed: true},
	{name: "flash-behind-r", access: 'r', addr: flashEnd},
	{name: "flash-first-w", access: 'w', addr: flash},
	{name: "flash-last-w", access: 'w', addr: flashEnd - 1},
	{name: "flash-behind-w", access: 'w', addr: flashEnd},
	{name: "flash-last-x", access: 'x', addr: flashEnd - 1, allowed: true}, // a RET lies there
	{name: "flash-behind-x", access: 'x', addr: flashEnd},

	{name: "ram-before-r", access: 'r', addr: ram - 1},
	{name: "ram-before-w", access: 'w', addr: ram - 1},
	{name: "ram-first-w", access: 'w', addr: ram, allowed: true},
	{name: "ram-last-w", access: 'w', addr: ramBreak - 1, allowed: true},
	{name: "ram-behind-r", access: 'r', addr: ramBreak},
	{name: "ram-behind-w", access: 'w', addr: ramBreak},
	{name: "ram-first-x", access: 'x', addr: ram},

	{name: "grown-last-w", before: []uint64{ramBreak + 1}, access: 'w', addr: ramBreak + abi.PageSize - 1, allowed: true},
	{name: "grown-behind-w", before: []uint64{ramBreak + 1}, access: 'w', addr: ramBreak + abi.PageSize},
	{name: "shrunk-r", before: []uint64{ramBreak + 1, ramBreak}, access: 'r', addr: ramBreak},
	{name: "shrunk-w", before: []uint64{ramBreak + 1, ramBreak}, access: 'w', addr: ramBreak},
	{name: "shrunk-to-0-r", before: []uint64{ram}, access: 'r', addr: ram},
	{name: "grants-r", access: 'r', addr: ram + 4*abi.PageSize + abi.PageSize - 1},
	{name: "ram-end-r", access: 'r', addr: ram + 5*abi.PageSize},

	{name: "zero-r", access: 'r', addr: 0},
	{name: "zero-w", access: 'w', addr: 0},
	{name: "zero-x", access: 'x', addr: 0},
	{name: "below-64k-r", access: 'r', addr: abi.UserMin - 1},
	{name: "user-end-r", access: 'r', addr: abi.UserMax - 1},
	{name: "non-canonical-r", access: 'r', addr: abi.UserMax},
	{name: "non-canonical-x", access: 'x', addr: abi.UserMax},
	{name: "kernel-r", access: 'r', addr: abi.KernelBase + 0x200000},
	{name: "kernel-w", access: 'w', addr: abi.KernelBase + 0x200000},
	{name: "kernel-x", access: 'x', addr: abi.KernelBase + 0x200000},
	{name: "kernel-window-0-r", access: 'r', addr: abi.KernelBase},
	{name: "direct-map-r", access: 'r', addr: abi.DirectMap + 0x1000},
	{name: "direct-map-w", access: 'w', addr: abi.DirectMap + 0x1000},
	{name: "direct-map-x", access: 'x', addr: abi.DirectMap + 0x1000},
	{name: "lapic-r", access: 'r', addr: abi.DirectMap + abi.LAPICBase},
	{name: "last-byte-r", access: 'r', addr: ^uint64(0)},
}

// TestEdges: a byte inside and a byte outside of every region, for every access. Tasks that
// may exit with code 0, the others stop at the probed address.
func TestEdges(t *testing.T) {
	record(t)
	const perMachine = 12
	for first := 0; first < len(probes); first += perMachine {
		some := probes[first:min(first+perMachine, len(probes))]
		t.Run(fmt.Sprintf("%s..%s", some[0].name, some[len(some)-1].name), func(t *testing.T) {
			var modules [][]byte
			for _, p := range some {
				modules = append(modules, p.task(t))
			}
			out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: "fault=stop no-dump"})
			assert.Equal(t, vmm.GuestExit, out.Exit.Reason)
			for _, p := range some {
				p.check(t, out.Console)
			}
		})
	}
}

func (p probe) check(t *testing.T, console string) {
	t.Helper()
	if p.allowed {
		assert.Regexp(t, `(?m)^ *\d+ +`+p.name+` +Terminated .* exit with code 0$`, console, "%s should be allowed", p.name)
		return
	}
	at := fmt.Sprintf(`page fault: .* at %#x, `, p.addr)
	if p.addr >= abi.UserMax && p.addr < abi.DirectMap {
		at = `(general protection|jump to an address that is not canonical)` // no address is told
	}
	assert.Regexp(t, `(?m)^task \d+ `+p.name+` faulted: `+at, console, "%s should be stopped", p.name)
	assert.Regexp(t, `(?m)^ *\d+ +`+p.name+` +Faulted `, console)
}

// task makes the task: it moves its break, probes, and exits with code 0. Its object is filled
// up with RETs.
func (p probe) task(t *testing.T) []byte {
	var code []byte
	for _, addr := range p.before {
		code = append(code, 0x31, 0xff)       // xor %edi, %edi: brk
		code = append(code, 0x48, 0xbe)       // movabs addr, %rsi
		code = append64(code, addr)           //
		code = append(code, 0xb8, 5, 0, 0, 0) // mov $5, %eax: Memop
		code = append(code, 0x0f, 0x05)       // syscall
	}
	code = append(code, 0x48, 0xb8) // movabs addr, %rax
	code = append64(code, p.addr)
	switch p.access {
	case 'r':
		code = append(code, 0x8a, 0x08) // mov (%rax), %cl
	case 'w':
		code = append(code, 0x88, 0x08) // mov %cl, (%rax)
	case 'x':
		code = append(code, 0xff, 0xd0) // call *%rax
	}
	code = append(code, 0x31, 0xff, 0x31, 0xf6) // xor %edi, %edi; xor %esi, %esi: terminate, 0
	code = append(code, 0xb8, 6, 0, 0, 0)       // mov $6, %eax: Exit
	code = append(code, 0x0f, 0x05)             // syscall
	object := machine.Code(t, p.name, code)
	if len(object) != abi.PageSize {
		t.Fatalf("the object of %s has %d bytes, want one page", p.name, len(object))
	}
	object[len(object)-1] = 0xc3 // RET: footers are padding that nobody reads
	return object
}

func append64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
