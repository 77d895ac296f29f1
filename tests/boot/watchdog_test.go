package boot

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// watchdog is short, for tests that wait for it, and long enough for a host that is busy.
const watchdog = time.Second

// TestWatchdog: a capsule that does not return is told with function, file and line, as any
// other panic.
func TestWatchdog(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: "hang", Watchdog: watchdog})
	ended(t, out, abi.ExitPanic)
	inOrder(t, out.Console, "dying: booted\n",
		"kernel panic: watchdog: the kernel has not returned to its main loop (NMI)\n",
		"main.(*hanging).HandleDeferredCall\n", "kapsel/tests/guest/dying/hang.go:",
		"kapsel/guest/kernel.(*Kernel).work\n", "kapsel/guest/kernel.(*Kernel).step\n", "main.main\n", "RIP 0x")
}

// TestWatchdogEndsTheMachine: a kernel that does not come out of its panic either is ended
// from outside.
func TestWatchdogEndsTheMachine(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: "hang-on", Watchdog: watchdog})
	assert.Equal(t, vmm.Exit{Reason: vmm.Hung}, out.Exit)
	inOrder(t, out.Console, "kernel panic: watchdog: ", "main.(*hanging).HandleDeferredCall\n")
	assert.Regexp(t, `(?i)RIP\s*=?\s*(0x)?ffffffff802`, out.Dump)
}

// TestWatchdogLetsBe: neither a machine that sleeps nor a task that computes and never calls,
// where nothing takes the processor from it, hangs.
func TestWatchdogLetsBe(t *testing.T) {
	for _, test := range []struct {
		name  string
		guest machine.Guest
		shown string
	}{
		{"sleep", machine.Guest{Image: "test/dying.elf", Cmdline: "sleep"}, "dying: booted\n"},
		{"a task that spins", machine.Guest{
			Image: "test/bare.elf", Cmdline: "scheduler=cooperative", Modules: [][]byte{machine.Object(t, "test/spinner.tbf")},
		}, "spinner: spinning\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.guest.Watchdog, test.guest.Timeout = watchdog/2, 6*watchdog
			out := machine.Boot(t, test.guest)
			assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, out.Exit)
			assert.Contains(t, out.Console, test.shown)
			assert.NotContains(t, out.Console, "panic")
		})
	}
}
