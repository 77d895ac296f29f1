package boot

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf/tbfbuild"
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
		"kapsel/guest/kernel.(*Kernel).work\n", "kapsel/guest/kernel.(*Kernel).loop\n", "main.main\n", "RIP 0x")
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
			Image: "bare.elf", Cmdline: "scheduler=cooperative", Modules: [][]byte{machine.Object(t, "test/spinner.tbf")},
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

// TestWatchdogLetsALongBootBe: a digest over many MiB takes longer than the watchdog's time, and the
// kernel does not hang.
func TestWatchdogLetsALongBootBe(t *testing.T) {
	size := 96 << 20
	if machine.Accelerator(t) == "kvm" { // nested, it is ten times slower
		size /= 6
	}
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "long", Binary: append(bytes.Clone(exits), make([]byte, size)...), MinimumRAM: abi.PageSize, ABI64: true, SHA256: true,
	})
	require.NoError(t, err)
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{object}, Memory: 256 << 20, Watchdog: watchdog / 2})
	ended(t, out, abi.ExitOK)
	assert.NotContains(t, out.Console, "panic")
	terminated(t, out.Console, "long")
}

// TestNMIDoesNoHarm: where a processor sleeps or runs a task, an NMI comes too late, and
// nothing happens. QEMU's monitor sends some there.
func TestNMIDoesNoHarm(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("needs QEMU's monitor")
	}
	for _, test := range []struct {
		name, at string
		tasks    []string
	}{
		{"asleep", "HLT=1", []string{"hello.tbf"}},
		{"in a task", "CPL=3", []string{"test/spinner.tbf", "test/mixer.tbf", "hello.tbf"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var modules [][]byte
			for _, name := range test.tasks {
				modules = append(modules, machine.Object(t, name))
			}
			socket := filepath.Join(t.TempDir(), "qmp")
			sent := make(chan int, 1)
			go func() { sent <- sendNMIs(socket, test.at) }()
			out := machine.Boot(t, machine.Guest{
				Image: "bare.elf", Modules: modules, Until: "hello: greeting 10 of 10\n",
				Options: []string{"-qmp", "unix:" + socket + ",server=on,wait=off"},
			})
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
			assert.NotContains(t, out.Console, "panic")
			assert.NotContains(t, out.Console, "faulted")
			assert.GreaterOrEqual(t, <-sent, 5, "NMIs")
		})
	}
}

// sendNMIs stops the QEMU whose monitor is at the socket every few milliseconds, until that
// ends, and sends an NMI if at is among its registers. It returns how many it sent.
func sendNMIs(socket, at string) (sent int) {
	q := dialQMP(socket)
	if q == nil {
		return 0
	}
	defer q.Close()
	for {
		time.Sleep(5 * time.Millisecond)
		q.do(`{"execute": "stop"}`)
		registers, ok := q.human("info registers")
		if !ok {
			return sent
		}
		if strings.Contains(registers, at) {
			if _, ok := q.do(`{"execute": "inject-nmi"}`); ok {
				sent++
			}
		}
		q.do(`{"execute": "cont"}`)
	}
}

// A qmp is a second monitor of a QEMU.
type qmp struct {
	net.Conn
	answers *json.Decoder
}

// dialQMP waits for the QEMU that makes the socket. It returns nil if there is none.
func dialQMP(socket string) *qmp {
	for range 1000 {
		if conn, err := net.Dial("unix", socket); err == nil {
			q := &qmp{conn, json.NewDecoder(conn)}
			q.do(`{"execute": "qmp_capabilities"}`)
			return q
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// human gives a command of the monitor that people use, as do gives others.
func (q *qmp) human(command string) (answer string, ok bool) {
	return q.do(`{"execute": "human-monitor-command", "arguments": {"command-line": "` + command + `"}}`)
}

// do gives a command and returns its answer, or reports false if there is none.
func (q *qmp) do(command string) (answer string, ok bool) {
	io.WriteString(q, command)
	for {
		var message struct{ Return, Error json.RawMessage }
		if q.answers.Decode(&message) != nil || message.Error != nil {
			return "", false
		}
		if message.Return != nil {
			return string(message.Return), true
		}
	}
}
