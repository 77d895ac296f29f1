//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

func TestMachineGivesWhatTheMonitorSaid(t *testing.T) {
	r := newRAM(t, 8*mib)
	before := image
	t.Cleanup(func() { image = before })
	image.Text = abi.KernelBase + 2*mib
	image.Tasks, image.TasksEnd = image.Text+0x3000, image.Text+0x3000+5000
	m := &Machine{boot: bootParameters{
		ram: 8 * mib, image: span{0x7000, 0xc000}, free: span{4 * mib, 6 * mib}, modules: span{6 * mib, 6*mib + 10},
		cmdline: [abi.CmdlineMax]byte{'a', 'b', 'c'}, cmdlineSize: 2,
	}}
	assert.Equal(t, "ab", string(m.Cmdline()))
	assert.EqualValues(t, 8*mib, m.RAM())
	for _, tt := range []struct {
		name        string
		got         []byte
		start, size int
	}{
		{"the image's tasks, in whole pages", m.ImageTasks(), 0xa000, 8192},
		{"the module's tasks", m.ModuleTasks(), 6 * mib, 10},
	} {
		assert.Len(t, tt.got, tt.size, tt.name)
		assert.Same(t, &r[tt.start], &tt.got[0], tt.name)
		assert.EqualValues(t, tt.start, physicalOf(tt.got), tt.name)
	}
	image.TasksEnd = image.Tasks
	assert.Empty(t, m.ImageTasks(), "an image without tasks")
}

// Where nobody says how fast the clocks run, the hypervisor's leaf counts, and then a
// measurement.
func TestClockSources(t *testing.T) {
	for _, tt := range []struct {
		name     string
		boot     bootParameters
		features features
		hz       uint64 // of the time-stamp counter; 0: measured
		lapicHz  uint64
	}{
		{"the monitor says both", bootParameters{tscHz: 2_000_000_000, lapicHz: 24_000_000}, features{tscKHz: 5}, 2_000_000_000, 24_000_000},
		{"the hypervisor says", bootParameters{}, features{tscKHz: 2_893_437}, 2_893_437_000, 1_000_000_000},
		{"KVM says", bootParameters{}, features{kvmClock: true}, 2_000_000_000, 1_000_000_000},
		{"nobody says", bootParameters{}, features{}, 0, 1_000_000_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			newHostCPU(t)
			kvmClock.multiplier, kvmClock.shift = 1<<30, 1 // half a nanosecond, as KVM fills it in
			m := &Machine{boot: tt.boot, features: tt.features}
			m.startTimer()
			assert.Equal(t, tt.hz, m.Timer.clock.hz)
			assert.Equal(t, tt.lapicHz, m.Timer.hz)
		})
	}
}
