package onepage

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// A guest that polls the UART gets all input, more than any queue holds, in order.
func TestInputPolled(t *testing.T) {
	code := join(
		movEDX(abi.PortCOM1+5), inALDX, // 1: line status
		[]byte{0xa8, 1, 0x74, 0xf6},           // test $1, %al; je 1b
		movEDX(abi.PortCOM1), inALDX, outDXAL, // echo
		[]byte{0x3c, '.', 0x75, 0xeb}, // cmp $'.', %al; jne 1b
		exit(0))
	text := strings.Repeat("0123456789", 500) + "."
	r := run(t, code, vmm.Config{Input: strings.NewReader(text)})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, text, r.console)
}

// A guest that sleeps in HLT is woken by the UART's interrupt, through the I/O APIC and its
// local APIC, for every byte.
func TestInputByInterrupt(t *testing.T) {
	for _, tt := range []struct {
		name        string
		redirection uint32
		eois        bool
	}{
		{"edge-triggered", 0x24, false},
		{"level-triggered", 0x8024, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "every byte an interrupt."
			r := run(t, interruptGuest(tt.redirection), vmm.Config{Input: strings.NewReader(text)})
			assert.Equal(t, guestExit(0), r.Exit)
			assert.Equal(t, text, r.console)
			assert.Equal(t, tt.eois, r.stats.EOI > 0, "ends of interrupt reach the I/O APIC if it needs them: %d", r.stats.EOI)
			assert.Zero(t, r.stats.UnknownMMIO)
		})
	}
}

// Interrupts to a processor that does not exist go nowhere, and nobody writes about them.
func TestInterruptToNobody(t *testing.T) {
	write := func(register, value uint32) []byte {
		return join(movEAX(register), storeEAX, movEAX(value), []byte{0x89, 0x43, 0x10}) // mov %eax, 0x10(%rbx)
	}
	code := join(
		mapMMIO(abi.IOAPICBase),
		write(0x19, 5<<24), write(0x18, 0x24), // pin 4: vector 0x24 to APIC 5
		movEDX(abi.PortCOM1+1), movEAX(1), outDXAL, // interrupt when received
		movEDX(abi.PortCOM1+5), inALDX, // 1: line status
		[]byte{0xa8, 1, 0x74, 0xf6}, // test $1, %al; je 1b
		exit(0))
	r := run(t, code, vmm.Config{Input: strings.NewReader("x")})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Empty(t, r.log)
}

// interruptGuest echoes by interrupts with vector 0x24 until it reads a full stop.
func interruptGuest(redirection uint32) []byte {
	const handler = 0x55
	code := join(
		[]byte{0x0f, 0x01, 0x15, 0x79, 0, 0, 0},                                 // lgdt 0x80
		[]byte{0x0f, 0x01, 0x1d, 0x82, 0, 0, 0},                                 // lidt 0x90
		[]byte{0x48, 0x8d, 0x25, 0xeb, 0x1f, 0, 0},                              // lea 0x2000, %rsp
		[]byte{0xc7, 0x04, 0x25, 0xf0, 0x4f, 0, 0, 0x9b, 0, 0xc0, 0xfe},         // movl $IOAPIC|flags, pd+510*8
		[]byte{0xc7, 0x04, 0x25, 0xf8, 0x4f, 0, 0, 0x9b, 0, 0xe0, 0xfe},         // movl $LAPIC|flags, pd+511*8
		[]byte{0x48, 0xc7, 0xc3, 0, 0, 0xc0, 0xbf},                              // mov $KernelBase+510*2 MiB, %rbx
		[]byte{0xc7, 0x83, 0xf0, 0, 0x20, 0, 0xff, 1, 0, 0},                     // movl $0x1ff, SVR: local APIC on
		[]byte{0xc7, 0x03, 0x18, 0, 0, 0},                                       // movl $0x18, IOREGSEL: pin 4
		binary.LittleEndian.AppendUint32([]byte{0xc7, 0x43, 0x10}, redirection), // movl $redirection, IOWIN
		movEDX(abi.PortCOM1+1), []byte{0xb0, 1}, outDXAL,                        // interrupt when received
		[]byte{0xfb}, haltLoop, // sti; 1: hlt; jmp 1b
		// handler:
		movEDX(abi.PortCOM1), inALDX, outDXAL,
		[]byte{0xc7, 0x83, 0xb0, 0, 0x20, 0, 0, 0, 0, 0}, // movl $0, EOI
		[]byte{0x3c, '.', 0x74, 2},                       // cmp $'.', %al; je 2f
		[]byte{0x48, 0xcf},                               // iretq
		[]byte{0x31, 0xc0}, exitEAX)                      // 2: xor %eax, %eax; exit

	page := make([]byte, 0x2000)
	copy(page, code)
	put := binary.LittleEndian
	// GDT at 0x100: null, code (present, long), data.
	put.PutUint16(page[0x80:], 3*8-1)
	put.PutUint64(page[0x82:], entry+0x100)
	put.PutUint64(page[0x108:], 0x00af_9b00_0000_ffff)
	put.PutUint64(page[0x110:], 0x00cf_9300_0000_ffff)
	// IDT at 0x1000 with one interrupt gate (Intel SDM vol. 3, section 7.14.1).
	put.PutUint16(page[0x90:], 0x100*16-1)
	put.PutUint64(page[0x92:], entry+0x1000)
	const target = uint64(entry + handler)
	gate := page[0x1000+0x24*16:]
	put.PutUint64(gate, target&0xffff|8<<16|0x8e00<<32|target>>16&0xffff<<48)
	put.PutUint64(gate[8:], target>>32)
	return page
}
