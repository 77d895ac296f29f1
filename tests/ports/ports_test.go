// Package ports boots the image with named ports, the monitor's own under KVM and QEMU's under QEMU, at whose other ends are a
// converter, a buzzer and a text screen, and lets tasks use them.
package ports

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/peripheral"
)

const image = "bare.elf"

// panel32 is the object of the 32-bit program (testdata/panel32).
func panel32(t *testing.T) []byte {
	t.Helper()
	const header = 0x80
	binary, err := os.ReadFile("testdata/panel32.bin")
	require.NoError(t, err)
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "panel32", Binary: binary, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
	})
	require.NoError(t, err)
	return object
}

// peripherals are what a machine's ports are connected with.
type peripherals struct {
	dac, buzzer bytes.Buffer
	rows        string
}

// ports are the ports of all of them, with an ADC of two channels.
func (p *peripherals) ports(t *testing.T) vmm.Ports {
	t.Helper()
	adc, err := peripheral.NewADC([]byte("0: 1 20 300 # and again\n0: 4095\n1: 7 8 9\n"))
	require.NoError(t, err)
	screen := peripheral.NewScreen(func(text []byte) error {
		p.rows = string(text)
		return nil
	})
	return vmm.Ports{
		{Name: abi.PortADC, Input: adc, Output: adc},
		{Name: "nobody-knows", Output: &p.dac},
		{Name: abi.PortDAC, Output: &p.dac},
		{Name: abi.PortBuzzer, Output: peripheral.NewBuzzer(&p.buzzer)},
		{Name: abi.PortScreen, Output: screen},
	}
}

// boot boots a task in a machine with devices.
func boot(t *testing.T, task []byte, devices ...vmm.Device) machine.Outcome {
	t.Helper()
	return machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{task}, Devices: devices})
}

// said are the lines that a task printed.
func said(o machine.Outcome) (lines []string) {
	for _, line := range strings.Split(o.Console, "\n") {
		if after, ok := strings.CutPrefix(line, "panel: "); ok {
			lines = append(lines, after)
		}
	}
	return lines
}

// TestPanel: a task of 64 bits uses the ADC, the DAC, the buzzer and the text screen, and the host sees it.
func TestPanel(t *testing.T) {
	var p peripherals
	o := boot(t, machine.Object(t, "test/panel.tbf"), p.ports(t))
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Equal(t, []string{
		"channels: 2", "resolution: 12", "reference: 3300",
		"sample: 16", "sample: 320", "sample: 112", "sample: 4800", "sample: 65520", "sample: NODEVICE", "continuous sampling: NOSUPPORT",
		"set: 0", "set: 4095", "set: INVAL", "set: 1234",
		"buzz: 0", "buzz: 0", "silence: INVAL", "buzz at once: 0", "stop: 0", "stop again: OFF",
		"columns: 80", "rows: 25", "clear: 0", "write: 0", "move: 0", "move away: INVAL", "off: 0", "write: OFF", "on: 0", "hide: 0", "blink: 0", "write: 0",
	}, said(o))
	assert.Equal(t, "0\n4095\n1234\n", p.dac.String())
	assert.Equal(t, "buzzer: 440 Hz, 20 ms\nbuzzer: 880 Hz, 10 ms\nbuzzer: 1000 Hz, 5000 ms\nbuzzer: off\n", p.buzzer.String())
	assert.Equal(t, "Hello, screen!\nsecond ?[2J row\n\n    fourth row\n", p.rows)
}

// TestPanel32: so does one of 32 bits, by the calls that libtock-c makes, beside a virtio console.
func TestPanel32(t *testing.T) {
	var p peripherals
	o := boot(t, panel32(t), vmm.Console{}, p.ports(t))
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit, "another status is the line of testdata/panel32/main.c whose check failed, or 99")
	assert.Equal(t, "32\n33\n34\n", p.dac.String())
	assert.Equal(t, "buzzer: 262 Hz, 5000 ms\nbuzzer: off\nbuzzer: 330 Hz, 20 ms\n", p.buzzer.String())
	assert.Equal(t, "\n  thirty-two bits\n", p.rows)
}

// TestNoPorts: a port that the machine does not have has no driver.
func TestNoPorts(t *testing.T) {
	o := boot(t, machine.Object(t, "test/panel.tbf"), vmm.Ports{{Name: "other", Output: new(bytes.Buffer)}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Len(t, said(o), 32)
	for _, line := range said(o) {
		assert.True(t, strings.HasSuffix(line, ": NODEVICE"), line)
	}
}
