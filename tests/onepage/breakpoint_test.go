package onepage

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
)

// notStopped is the status of a guest that ran over its breakpoints.
const notStopped = 9

// runToBreakpoint runs a guest until its end and returns that and its state there.
func runToBreakpoint(t *testing.T, code []byte, breakpoints ...uint64) (vmm.Exit, string) {
	t.Helper()
	m := newMachine(t, code, vmm.Config{Breakpoints: breakpoints})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	end, err := m.Run(ctx)
	require.NoError(t, err, dump(m))
	return end, dump(m)
}

// The processor under KVM stops the guest, if its debug registers work.
func TestBreakpoint(t *testing.T) {
	code := join(hello, movEAX(0x1234), exit(notStopped))
	at := entry + uint64(len(hello)+len(movEAX(0)))
	end, dump := runToBreakpoint(t, code, entry+0x800, at)
	if end == guestExit(notStopped) {
		t.Skip("the guest ran over a breakpoint that KVM had taken: the processor under KVM does not stop at its debug registers; QEMU's emulated one does not in a nested guest")
	}
	assert.Equal(t, vmm.Exit{Reason: vmm.Breakpoint, Address: at}, end)
	assert.Contains(t, dump, "rip ffffffff80200010")
	assert.Contains(t, dump, "rax 0000000000001234", "what is before it was executed")
	assert.Contains(t, dump, "code at rip  b8 09 00 00 00 e7 f4", "and it was not")
}

// KVM executes a string instruction itself, and compares its address with the breakpoints
// itself: this does not need a processor that stops.
func TestBreakpointAtAnEmulatedInstruction(t *testing.T) {
	code := join(rsiRDI, outString(3), exit(notStopped))
	at := entry + uint64(len(join(rsiRDI, movECX(3), movEDX(0))))
	for n, breakpoints := range [][]uint64{
		{at}, {entry + 0x800, at}, {at + 1, at + 2, at}, {0, 1, 2, at},
	} {
		t.Run(fmt.Sprintf("number %d", n), func(t *testing.T) {
			end, dump := runToBreakpoint(t, code, breakpoints...)
			assert.Equal(t, vmm.Exit{Reason: vmm.Breakpoint, Address: at}, end)
			assert.Contains(t, dump, "rcx 0000000000000003")
			assert.Contains(t, dump, "code at rip  f3 6e")
			assert.Contains(t, dump, "Exits: 0 port")
		})
	}
}

// A debug exception that is no breakpoint reaches the guest, which has no handler for it:
// a triple fault, rather than a guest that goes on.
func TestDebugExceptionOfTheGuest(t *testing.T) {
	code := join(
		[]byte{0x48, 0x8d, 0x25, 0, 0x8, 0, 0}, // lea 0x800(%rip), %rsp
		[]byte{0x68, 0x02, 0x01, 0, 0},         // push $RFLAGS with TF
		[]byte{0x9d, 0x90},                     // popf; nop
		exit(notStopped))
	for name, breakpoints := range map[string][]uint64{"without breakpoints": nil, "with one": {entry + 0x700}} {
		t.Run(name, func(t *testing.T) {
			r := run(t, code, vmm.Config{Breakpoints: breakpoints})
			assert.Equal(t, vmm.Exit{Reason: vmm.Shutdown}, r.Exit)
		})
	}
}
