package vmm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/snapshot"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// TestSnapshotWhileClosing: between the processor's end and the thread's, as Close has it, a snapshot and a reset are refused.
func TestSnapshotWhileClosing(t *testing.T) {
	m := &Machine{thread: newThread()}
	_, err := m.Snapshot()
	assert.ErrorIs(t, err, errClosed)
	_, err = m.Reset(&snapshot.Snapshot{}, StandStill)
	assert.ErrorIs(t, err, errClosed)
	m.thread.close()
	_, err = m.Snapshot()
	assert.ErrorIs(t, err, errClosed)
}

// TestPauseComesBeforeDevices: a device that wants to be served again and again does not hold a pause up, nor the watchdog.
func TestPauseComesBeforeDevices(t *testing.T) {
	m := &Machine{}
	m.wants.bits.Store(wantServe | wantWatch | wantPause)
	_, err := m.attend()
	require.NoError(t, err)
	assert.Equal(t, wantServe|wantPause, m.wants.bits.Load(), "the watchdog was answered")
	exit, err := m.attend()
	require.NoError(t, err)
	assert.Equal(t, Paused, exit.Reason)
	assert.Equal(t, wantServe, m.wants.bits.Load(), "which is done when the guest is to go on")
	m.wants.bits.Or(wantCancel)
	exit, err = m.attend()
	require.NoError(t, err)
	assert.Equal(t, Cancelled, exit.Reason)
}

// resting is a machine without a processor: a UART with a console device, which has a driver. raised counts how often the UART's line rose.
func resting(t *testing.T) (m *Machine, d *virtiotest.Driver, raised *int) {
	raised = new(int)
	m = &Machine{ioapic: device.NewIOAPIC(func(device.MSI) {}, func(int, device.MSI) {}), cmos: device.NewCMOS(time.Now)}
	m.serial = device.NewSerial(nil, func(level bool) {
		if level {
			*raised++
		}
	})
	m.serial.WritePort(abi.PortCOM1+1, 1, []byte{1}) // received bytes interrupt
	memory := virtiotest.NewMemory(t, 1<<20)
	p := &place{name: "console", transport: virtio.NewMMIO(virtio.NewConsole(m.serial), memory, func() {}, t.Logf, func() {})}
	m.places = append(m.places, p)
	return m, virtiotest.NewDriver(t, memory, p.transport), raised
}

// TestTypedWhileDevicesRest: what is typed while the machine is saved or restored interrupts behind that.
func TestTypedWhileDevicesRest(t *testing.T) {
	m, _, raised := resting(t)
	m.pauseDevices()
	require.NoError(t, m.serial.Feed([]byte("x")))
	assert.Zero(t, *raised)
	assert.False(t, m.serial.Save().Line)
	m.resumeDevices()
	assert.Equal(t, 1, *raised)
}

// TestLineIsTheDevicesWhenTheUARTIsRestored: what was typed for a driver of the console device does not become the UART's.
func TestLineIsTheDevicesWhenTheUARTIsRestored(t *testing.T) {
	m, d, _ := resting(t)
	d.StartWith(0, 2, 8)
	require.NoError(t, m.serial.Feed([]byte("typed")))
	m.pauseDevices()
	s := snapshot.State{Serial: m.serial.Save(), IOAPIC: m.ioapic.Save(), CMOS: m.cmos.Save(),
		Devices: []snapshot.Device{{State: m.places[0].transport.Save()}}}
	assert.Equal(t, "typed", string(s.Serial.Waiting))
	other, _, raised := resting(t)
	other.pauseDevices()
	require.NoError(t, other.restoreDevices(&s))
	other.resumeDevices()
	assert.Zero(t, *raised)
	assert.Equal(t, s.Serial, other.serial.Save())
}
