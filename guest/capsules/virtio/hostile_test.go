package virtio_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
)

// What a hostile device can do, by classes. The classes of what a device says about a request, a block's status, a
// configuration's values, are tests of the drivers.

// Why a device is broken.
const (
	notGiven = "it has used a chain that it was not given"
	tooMany  = "its used index counts chains that it was not given"
	tooMuch  = "it claims to have written more than it may"
)

// TestClassA: ids of used chains that are beyond the table, not in flight, no heads, or come twice.
func TestClassA(t *testing.T) {
	for name, id := range map[string]func(head uint32) uint32{
		"beyond the table":        func(uint32) uint32 { return 8 },
		"far beyond":              func(uint32) uint32 { return 1<<32 - 1 },
		"beyond by 16 bits":       func(head uint32) uint32 { return head + 1<<16 },
		"not in flight":           func(uint32) uint32 { return 7 },
		"the middle of the chain": func(head uint32) uint32 { return head + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			head := r.request(t, 0, 1)
			r.device.Queues[0].Use(id(uint32(head)), 0)
			r.HandleInterrupt()
			assert.Empty(t, r.used)
			r.assertBroken(t, notGiven)
		})
	}
	t.Run("twice", func(t *testing.T) {
		r := newRig(t)
		head := uint32(r.request(t, 0, 1))
		r.request(t, 1, 1)
		r.device.Queues[0].Use(head, 0)
		r.device.Queues[0].Use(head, 0)
		r.HandleInterrupt()
		assert.Len(t, r.used, 1)
		r.assertBroken(t, notGiven)
	})
}

// TestClassB: lengths beyond what the device may write.
func TestClassB(t *testing.T) {
	for name, length := range map[string]uint32{"by one": 33, "with what it reads": 64, "all ones": 1<<32 - 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			head := r.request(t, 0, 32)
			r.device.Queues[0].Use(uint32(head), length)
			r.HandleInterrupt()
			assert.Empty(t, r.used)
			r.assertBroken(t, tooMuch)
		})
	}
}

// TestClassC: a used index that jumps ahead, or goes back.
func TestClassC(t *testing.T) {
	for name, index := range map[string]uint16{"one too many": 3, "the whole queue": 8, "more than it": 9, "back": 0xffff, "half way round": 0x8000} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.request(t, 0, 1)
			r.request(t, 1, 1)
			r.device.Queues[0].SetUsedIndex(index)
			r.device.Interrupt = spec.InterruptUsed
			r.HandleInterrupt()
			assert.Empty(t, r.used)
			r.assertBroken(t, tooMany)
		})
	}
	t.Run("back, later", func(t *testing.T) {
		r := newRig(t)
		q := r.device.Queues[0]
		q.Use(uint32(r.request(t, 0, 1)), 0)
		r.HandleInterrupt()
		r.request(t, 0, 1)
		q.SetUsedIndex(0)
		r.device.Interrupt = spec.InterruptUsed
		r.HandleInterrupt()
		r.assertBroken(t, tooMany)
	})
}

// TestClassD: registers that are no device's, or another's, and queues of odd sizes.
func TestClassD(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(d *virtiotest.Device)
		why    string
	}{
		"magic":           {func(d *virtiotest.Device) { d.Magic = 0xffff_ffff }, "there are no registers of virtio-mmio"},
		"legacy":          {func(d *virtiotest.Device) { d.Version = 1 }, "it is not of version 2"},
		"future":          {func(d *virtiotest.Device) { d.Version = 3 }, "it is not of version 2"},
		"no device":       {func(d *virtiotest.Device) { d.ID = 0 }, "it is of another kind"},
		"the id changes":  {func(d *virtiotest.Device) { d.ID = kind + 1 }, "it is of another kind"},
		"no queue":        {func(d *virtiotest.Device) { d.QueueMax[0] = 0 }, "a queue is too small"},
		"a queue too few": {func(d *virtiotest.Device) { d.QueueMax[1] = 0 }, "a queue is too small"},
		"a queue of one":  {func(d *virtiotest.Device) { d.QueueMax[0] = 1 }, "a queue is too small"},
		"a queue in use":  {readsAs(spec.RegQueueReady, 1), "a queue is in use after a reset"},
		"never DRIVER_OK": {readsAs(spec.RegStatus, 11), "its reset does not end"},
		"broken from DRIVER_OK on": {func(d *virtiotest.Device) {
			d.OnRead = func(offset uint16, v uint32) uint32 {
				if offset == spec.RegStatus && v&spec.StatusDriverOK != 0 {
					v |= spec.StatusNeedsReset
				}
				return v
			}
		}, "it does not become ready"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			tt.change(d)
			r, e := start(d)
			assert.Equal(t, abi.FAIL, e)
			assert.Equal(t, 1, r.broken)
			assert.Equal(t, "device at 0xd0000000 is broken, and not used any more: "+tt.why+"\n", d.Log.String())
		})
	}
	for most, size := range map[uint32]int{2: 2, 3: 2, 7: 4, 8: 8, 65535: 8, 1<<32 - 1: 8} {
		d := newDevice(t)
		d.QueueMax[0] = most
		r, e := start(d)
		assert.Equal(t, abi.OK, e, "%d", most)
		assert.Equal(t, size, r.requests.Size())
		assert.Equal(t, size, d.Queues[0].Size())
		q := d.Queues[0]
		for range 10 {
			q.Use(uint32(r.request(t, 0, 1)), 0)
			r.HandleInterrupt()
		}
		assert.Len(t, r.used, 10, "a queue of %d works", size)
	}
}

// readsAs makes a register of the device always read the same.
func readsAs(register uint16, value uint32) func(d *virtiotest.Device) {
	return func(d *virtiotest.Device) {
		d.OnRead = func(offset uint16, v uint32) uint32 {
			if offset == register {
				return value
			}
			return v
		}
	}
}

// TestClassE: FEATURES_OK that does not stay, a reset that does not end: at the beginning, and when the device is broken.
func TestClassE(t *testing.T) {
	d := newDevice(t)
	d.OnRead = func(offset uint16, v uint32) uint32 {
		if offset == spec.RegStatus {
			v &^= spec.StatusFeaturesOK
		}
		return v
	}
	r, e := start(d)
	assert.Equal(t, abi.FAIL, e)
	assert.Equal(t, 1, r.broken)
	assert.Contains(t, d.Log.String(), "it refuses the features that it offers")

	d = newDevice(t)
	reads := 0
	d.OnRead = func(offset uint16, v uint32) uint32 {
		if offset == spec.RegStatus {
			reads++
			return 15
		}
		return v
	}
	_, e = start(d)
	assert.Equal(t, abi.FAIL, e)
	assert.Contains(t, d.Log.String(), "its reset does not end")
	assert.LessOrEqual(t, reads, 10_000, "the wait is bounded")

	// What may still write keeps what it was lent.
	r = newRig(t)
	head := r.request(t, 0, 1)
	readsAs(spec.RegStatus, 15)(r.device)
	r.device.Queues[0].SetUsedIndex(uint16(head) + 9)
	r.HandleInterrupt()
	assert.Equal(t, 1, r.broken)
	assert.Contains(t, r.device.Log.String(), tooMany)
	for i, b := range r.buffers {
		assert.Equal(t, i >= 2, b.ReadAt(make([]byte, 1), 0) == 1, "buffer %d", i)
	}
	assert.EqualValues(t, 2, r.device.Refused())
}

// TestClassF: features without VERSION_1, and all of them.
func TestClassF(t *testing.T) {
	d := newDevice(t)
	d.Offered = 1<<32 - 1
	_, e := start(d)
	assert.Equal(t, abi.FAIL, e)
	assert.Contains(t, d.Log.String(), "it does not offer VERSION_1")
	assert.Zero(t, d.Accepted)

	d = newDevice(t)
	d.Offered = 1<<64 - 1
	r, e := start(d)
	assert.Equal(t, abi.OK, e)
	assert.EqualValues(t, feature|spec.FeatureVersion1|spec.FeatureEventIndex, d.Accepted, "no packed ring, no access platform")
	r.device.Queues[0].Use(uint32(r.request(t, 0, 1)), 0)
	r.HandleInterrupt()
	assert.Len(t, r.used, 1)
}

// TestClassG: a configuration that never stands still.
func TestClassG(t *testing.T) {
	r := newRig(t)
	r.device.Config = make([]byte, 8)
	reads := uint32(0)
	r.device.OnRead = func(offset uint16, v uint32) uint32 {
		if offset == spec.RegConfigGeneration {
			reads++
			return reads
		}
		return v
	}
	assert.Equal(t, abi.FAIL, r.ReadConfig(make([]byte, 8), 0, 4))
	assert.LessOrEqual(t, reads, uint32(100), "the reads are bounded")
	r.device.OnRead = nil
	r.assertBroken(t, "its configuration does not stand still")
}

// TestClassH: interrupts without a reason and before the driver is ready, and answers that never come.
func TestClassH(t *testing.T) {
	t.Run("no reason", func(t *testing.T) {
		r := newRig(t)
		r.request(t, 0, 1)
		for range 1000 {
			r.HandleInterrupt()
			r.HandleDeferredCall()
		}
		assert.True(t, r.Works())
		r.device.Interrupt = 0xffff_fffc
		r.HandleInterrupt()
		assert.EqualValues(t, 0xffff_fffc, r.device.Interrupt, "unknown bits are ignored")
		assert.True(t, r.Works())
	})
	t.Run("before DRIVER_OK", func(t *testing.T) {
		d := newDevice(t)
		r := &rig{device: d}
		r.Transport.Init(&r.kernel, d.Place(), "device", &r.driver, &r.driver)
		d.Interrupt = spec.InterruptUsed | spec.InterruptConfig
		r.HandleInterrupt()
		r.Start(kind, feature)
		d.Interrupt = spec.InterruptUsed | spec.InterruptConfig
		r.HandleInterrupt()
		assert.Zero(t, r.changes)
		assert.Empty(t, d.Log.String())
	})
	t.Run("never", func(t *testing.T) {
		r := newRig(t)
		r.clock.pass(1000)
		r.request(t, 0, 1)
		r.clock.pass(29)
		assert.True(t, r.Works())
		r.clock.pass(10)
		assert.Empty(t, r.used)
		r.assertBroken(t, "it does not answer")
	})
	t.Run("never to one", func(t *testing.T) {
		r := newRig(t)
		r.request(t, 0, 1)
		q := r.device.Queues[0]
		for seconds := 0; r.Works(); seconds++ {
			q.Use(uint32(r.request(t, 1, 1)), 0)
			r.HandleInterrupt()
			r.clock.pass(1)
			require.Less(t, seconds, 40)
		}
		r.assertBroken(t, "it does not answer")
	})
	t.Run("an interrupt is lost", func(t *testing.T) {
		r := newRig(t)
		head := r.request(t, 0, 1)
		r.device.Queues[0].Use(uint32(head), 0)
		r.clock.pass(1)
		assert.Len(t, r.used, 1, "found by the alarm")
		r.device.Queues[0].Use(uint32(r.request(t, 0, 1)), 0)
		r.device.Interrupt = 0
		r.clock.pass(1)
		assert.Len(t, r.used, 2, "found though the device does not say so")
	})
	t.Run("room is not a request", func(t *testing.T) {
		r := newRig(t)
		r.room.Add([]virtio.Element{{Buffer: r.buffers[0], Length: 64, Writable: true}})
		r.room.Kick()
		r.clock.pass(1000)
		assert.True(t, r.Works())
		assert.False(t, r.clock.set, "nobody waits")
	})
}

// TestLineThatStaysUp: the line is up while the status has a bit, as QEMU's is, and the I/O APIC sees edges. A change of the
// configuration that is hidden behind used chains, or that comes with some, does not keep later interrupts away for longer than
// a round of the alarm.
func TestLineThatStaysUp(t *testing.T) {
	use := func(r *rig, queue int, head uint16) {
		wasUp := r.device.Interrupt != 0
		r.device.Queues[queue].Use(uint32(head), 0)
		if !wasUp && r.device.Interrupt != 0 {
			r.HandleInterrupt()
		}
	}
	t.Run("a change behind used chains", func(t *testing.T) {
		r := newRig(t)
		r.device.Queues[0].Use(uint32(r.request(t, 0, 1)), 0)
		r.device.Interrupt |= spec.InterruptConfig
		r.HandleInterrupt()
		require.Len(t, r.used, 1)
		use(r, 0, r.request(t, 0, 1))
		r.clock.pass(1)
		assert.Len(t, r.used, 2)
		assert.Equal(t, 1, r.changes, "seen although chains were used, too")
		for range 3 {
			use(r, 0, r.request(t, 0, 1))
		}
		assert.Len(t, r.used, 5, "each at once: the line is down between them")
	})
	t.Run("chains used behind a change", func(t *testing.T) {
		r := newRig(t)
		room, e := r.room.Add([]virtio.Element{{Buffer: r.buffers[0], Length: 64, Writable: true}})
		require.Equal(t, abi.OK, e)
		r.room.Kick()
		r.device.Interrupt = spec.InterruptConfig
		r.device.OnRead = func(offset uint16, v uint32) uint32 {
			if offset == spec.RegInterruptStatus {
				r.device.OnRead = nil
				use(r, 1, room)
			}
			return v
		}
		r.HandleInterrupt()
		require.Equal(t, 1, r.changes)
		require.Empty(t, r.used)
		r.clock.pass(1)
		assert.Len(t, r.used, 1, "found by the alarm, though the device owes nothing")
		r.clock.pass(2)
		assert.False(t, r.clock.set, "nobody waits")
	})
}

// TestClassI: NEEDS_RESET at any time.
func TestClassI(t *testing.T) {
	r := newRig(t)
	r.request(t, 0, 1)
	r.device.Status |= spec.StatusNeedsReset
	r.device.Interrupt = spec.InterruptConfig | spec.InterruptUsed
	r.HandleInterrupt()
	assert.Empty(t, r.used)
	assert.Zero(t, r.changes)
	r.assertBroken(t, "it says that it needs a reset")
}

// TestClassK: a descriptor table, an available ring and events that the device writes over and over: the driver reads none.
func TestClassK(t *testing.T) {
	r := newRig(t)
	q := r.device.Queues[0]
	scribble := func() {
		for _, part := range [][]byte{q.Descriptors(), q.Available()} {
			for i := range part {
				part[i] = 0xff
			}
		}
		binary.LittleEndian.PutUint16(q.Used()[spec.RingFlags:], 0xffff)
		binary.LittleEndian.PutUint16(q.Used()[spec.AvailableEvent(8):], 0x1234)
	}
	for i := range 100 {
		a, b := r.request(t, 0, 1), r.request(t, 1, 1)
		scribble()
		q.Use(uint32(b), 32)
		scribble()
		q.Use(uint32(a), 0)
		scribble()
		r.device.Interrupt = spec.InterruptUsed
		r.HandleInterrupt()
		assert.Equal(t, []used{{0, b, 32}, {0, a, 0}}, r.used, "round %d", i)
		assert.Equal(t, 8, r.requests.Room())
		r.used = nil
	}
	assert.Zero(t, r.device.Refused())
	assert.Empty(t, r.device.Log.String())
}

// TestAlarmIsTheDrivers: the device's alarm calls the driver, and not what drivers share: what fails there is the driver, and not the alarms.
func TestAlarmIsTheDrivers(t *testing.T) {
	r := newRig(t)
	assert.Same(t, &r.driver, r.clock.client)
}
