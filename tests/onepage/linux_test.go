package onepage

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/device"
	"kapsel/vmm/linux"
	"kapsel/vmm/linux/linuxtest"
)

// runLinux runs code as a Linux kernel to its end.
func runLinux(t *testing.T, code []byte) vmm.Exit {
	t.Helper()
	needKVM(t)
	k, err := linux.Parse(linuxtest.Kernel(code))
	require.NoError(t, err)
	m, err := vmm.New(t.Context(), vmm.Config{Linux: k, Memory: 32 << 20, Log: t.Logf})
	require.NoError(t, err)
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := m.Run(ctx)
	if err != nil || end.Reason == vmm.Cancelled {
		var dump bytes.Buffer
		m.Dump(&dump)
		require.FailNow(t, "the guest did not end", "%v, error: %v\n%s", end, err, &dump)
	}
	return end
}

// outAL writes a byte to a port.
func outAL(port uint16, value byte) []byte {
	return join(movEDX(uint32(port)), movEAX(uint32(value)), outDXAL)
}

var powerOff = outAL(linux.PortPower+device.PowerSleepControl, device.SleepS5<<2|1<<5)

func TestLinuxPowersOff(t *testing.T) {
	assert.Equal(t, guestExit(0), runLinux(t, join(powerOff, exit(1))))
}

func TestLinuxResets(t *testing.T) {
	reset := outAL(linux.PortPower+device.PowerReset, device.ResetValue)
	assert.Equal(t, vmm.Exit{Reason: vmm.Reset}, runLinux(t, join(reset, exit(1))))
}

func TestLinuxTripleFaults(t *testing.T) {
	assert.Equal(t, vmm.Exit{Reason: vmm.Shutdown}, runLinux(t, join(ud2, exit(1))))
}

// TestLinuxEntry looks at what the 64-bit boot protocol promises: RSI names a zero page with the setup header,
// the segments are those of the GDT, so that they can be loaded anew, and interrupts are off.
func TestLinuxEntry(t *testing.T) {
	wrong := exit(1)
	jneWrong := func(behind int) []byte { return []byte{0x0f, 0x85, byte(behind), byte(behind >> 8), 0, 0} }
	good := exit(0)
	flags := join([]byte{0x9c, 0x58, 0x25, 0, 2, 0, 0}, jneWrong(len(good)), good)                                                // pushf; pop %rax; and $IF, %eax
	data := join([]byte{0xbc, 0, 0, 1, 0, 0x8e, 0xd8, 0x8e, 0xd0}, flags)                                                         // mov $64 KiB, %esp; mov %eax, %ds; mov %eax, %ss
	dataIs := join([]byte{0x8c, 0xd8}, cmpEAX(linux.SelectorData), jneWrong(len(data)), data)                                     // mov %ds, %eax
	code := join([]byte{0x8c, 0xc8}, cmpEAX(linux.SelectorCode), jneWrong(len(dataIs)), dataIs)                                   // mov %cs, %eax
	header := join([]byte{0x8b, 0x86, 2, 2, 0, 0}, cmpEAX(binary.LittleEndian.Uint32([]byte("HdrS"))), jneWrong(len(code)), code) // mov 0x202(%rsi), %eax
	assert.Equal(t, guestExit(0), runLinux(t, join(header, wrong)))
}

// TestPowerPortsAreLinuxs: a machine for an image has nothing there.
func TestPowerPortsAreLinuxs(t *testing.T) {
	r := run(t, join(powerOff, exit(7)), vmm.Config{})
	assert.Equal(t, guestExit(7), r.Exit)
	assert.EqualValues(t, 1, r.stats.UnknownPorts)
}
