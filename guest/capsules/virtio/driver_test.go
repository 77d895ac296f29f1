package virtio_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// kind and feature are those of the device that the tests' driver drives.
const (
	kind    = 42
	feature = 1 << 3
)

// used is what the driver was told of a chain.
type used struct {
	queue   int
	head    uint16
	written uint32
}

// driver drives a device of two queues: requests, which are answered, and room.
type driver struct {
	virtio.Transport
	requests, room virtio.Queue
	slots          [2][8]virtio.Slot
	buffers        [16]dma.Buffer
	used           []used
	changes        int
	broken         int
	onUsed         func(used)
}

func (d *driver) Used(q *virtio.Queue, head uint16, written uint32) {
	u := used{q.Number(), head, written}
	d.used = append(d.used, u)
	if d.onUsed != nil {
		d.onUsed(u)
	}
}
func (d *driver) ConfigChanged() { d.changes++ }
func (d *driver) Broken()        { d.broken++ }

// begin brings the driver as far as its device lets it.
func (d *driver) begin(k *kernel.Kernel, place virtio.Place) abi.ErrorCode {
	d.Transport.Init(k, place, "device", d, d)
	for i := range d.buffers {
		d.buffers[i] = place.Memory.Buffer(64)
	}
	if e := d.Start(kind, feature); e != abi.OK {
		return e
	}
	if e := d.requests.Init(&d.Transport, 0, d.slots[0][:], 2, true); e != abi.OK {
		return e
	}
	if e := d.room.Init(&d.Transport, 1, d.slots[1][:], 1, false); e != abi.OK {
		return e
	}
	return d.Ready()
}

// clock is an alarm whose time a test lets pass, in microseconds.
type clock struct {
	now, deadline uint64
	set           bool
	client        hil.AlarmClient
}

func (c *clock) Now() uint64                      { return c.now }
func (c *clock) Frequency() uint32                { return 1_000_000 }
func (c *clock) SetAlarmClient(a hil.AlarmClient) { c.client = a }
func (c *clock) SetAlarm(deadline uint64)         { c.deadline, c.set = deadline, true }
func (c *clock) Disarm()                          { c.set = false }

// pass lets so many seconds pass.
func (c *clock) pass(seconds uint64) {
	for end := c.now + seconds*1_000_000; ; {
		if !c.set || c.deadline > end {
			c.now = end
			return
		}
		c.now, c.set = c.deadline, false
		c.client.AlarmFired()
	}
}

// rig is a driver and its device.
type rig struct {
	driver
	device *virtiotest.Device
	clock  clock
	kernel kernel.Kernel
}

func newDevice(t testing.TB) *virtiotest.Device {
	return virtiotest.New(t, kind, feature|1<<4, 8, 8)
}

// start starts the driver on a device, whatever comes of it.
func start(device *virtiotest.Device) (*rig, abi.ErrorCode) {
	r := &rig{device: device}
	place := device.Place()
	place.Alarm = &r.clock
	return r, r.begin(&r.kernel, place)
}

func newRig(t testing.TB) *rig {
	r, e := start(newDevice(t))
	require.Equal(t, abi.OK, e)
	return r
}

// request adds a chain of a buffer of n bytes that the device reads and one of 32 that it writes: buffers 2i and 2i+1.
func (r *rig) request(t testing.TB, i, n int) uint16 {
	t.Helper()
	head, e := r.requests.Add([]virtio.Element{
		{Buffer: r.buffers[2*i], Length: n},
		{Buffer: r.buffers[2*i+1], Length: 32, Writable: true},
	})
	require.Equal(t, abi.OK, e)
	r.requests.Kick()
	return head
}

// assertBroken checks that the device is known as broken, for a reason, and that everything has an end.
func (r *rig) assertBroken(t *testing.T, why string) {
	t.Helper()
	assert.Equal(t, "device at 0xd0000000 is broken, and not used any more: "+why+"\n", r.device.Log.String(), "said once")
	assert.Equal(t, 1, r.broken, "the driver is told once")
	assert.False(t, r.Works())
	assert.EqualValues(t, spec.StatusFailed, r.device.Status, "the device was reset, and the driver gave up")
	n := len(r.used)
	r.HandleInterrupt()
	r.HandleDeferredCall()
	r.AlarmFired()
	r.requests.Kick()
	assert.Len(t, r.used, n)
	_, e := r.requests.Add([]virtio.Element{{Buffer: r.buffers[15], Length: 1}})
	assert.Equal(t, abi.FAIL, e)
	assert.Equal(t, abi.FAIL, r.ReadConfig(make([]byte, 4), 0, 4))
	assert.Equal(t, abi.FAIL, r.Ready())
	for i, b := range r.buffers {
		assert.Equal(t, 64, b.ReadAt(make([]byte, 64), 0), "buffer %d is the driver's", i)
	}
	assert.Zero(t, r.device.Refused())
}
