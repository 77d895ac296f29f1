package virtio_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
)

// TestNegotiation: of what is offered the driver gets what it wants, and the queues what they know.
func TestNegotiation(t *testing.T) {
	r := newRig(t)
	assert.EqualValues(t, feature|spec.FeatureVersion1|spec.FeatureEventIndex, r.device.Accepted)
	assert.True(t, r.Has(feature))
	assert.False(t, r.Has(1<<4), "offered, not wanted")
	assert.EqualValues(t, 15, r.device.Status)
	assert.Equal(t, 1, r.device.Resets)
	assert.Equal(t, []int{8, 8}, []int{r.device.Queues[0].Size(), r.device.Queues[1].Size()})
	assert.Empty(t, r.device.Notified)
	assert.Empty(t, r.device.Log.String())
}

// TestRequest: a chain goes to the device and comes back.
func TestRequest(t *testing.T) {
	r := newRig(t)
	r.buffers[0].WriteAt([]byte("question"), 0)
	head := r.request(t, 0, 8)
	assert.Equal(t, []int{0}, r.device.Notified)
	assert.Equal(t, []int{1, 6}, []int{r.requests.InFlight(), r.requests.Room()})
	q := r.device.Queues[0]
	c, _ := q.Next()
	assert.Equal(t, "question", string(c.Readable))
	assert.Equal(t, 32, c.Room())
	q.Use(c.Head, c.Write([]byte("answer")))
	assert.EqualValues(t, spec.InterruptUsed, r.device.Interrupt)
	assert.Empty(t, r.used)
	r.HandleInterrupt()
	assert.Zero(t, r.device.Interrupt, "acknowledged")
	assert.Equal(t, []used{{0, head, 6}}, r.used)
	var p [6]byte
	r.buffers[1].ReadAt(p[:], 0)
	assert.Equal(t, "answer", string(p[:]))
	assert.Equal(t, []int{0, 8}, []int{r.requests.InFlight(), r.requests.Room()})
	assert.Zero(t, r.device.Refused())
}

// TestChainsComeBackInAnyOrder, also over the ends of the rings and of their indices.
func TestChainsComeBackInAnyOrder(t *testing.T) {
	r := newRig(t)
	q := r.device.Queues[0]
	for round := range 20_000 {
		heads := map[uint32]string{}
		for i := range 4 {
			text := fmt.Sprintf("%d.%d", round, i)
			r.buffers[2*i].WriteAt([]byte(text), 0)
			heads[uint32(r.request(t, i, len(text)))] = text
		}
		assert.Len(t, heads, 4)
		assert.Zero(t, r.requests.Room())
		for range heads {
			c, ok := q.Next()
			if !ok || string(c.Readable) != heads[c.Head] {
				t.Fatalf("round %d: %v", round, c)
			}
		}
		for head := range heads { // a map's order is none
			q.Use(head, 0)
		}
		r.HandleInterrupt()
		if len(r.used) != 4 || r.requests.Room() != 8 {
			t.Fatalf("round %d: %v", round, r.used)
		}
		r.used = nil
	}
}

func TestAddRefuses(t *testing.T) {
	r := newRig(t)
	b := r.buffers
	many := make([]virtio.Element, 9)
	for i := range many {
		many[i] = virtio.Element{Buffer: b[i], Length: 1}
	}
	for _, tt := range []struct {
		name  string
		chain []virtio.Element
		want  abi.ErrorCode
	}{
		{"nothing", nil, abi.INVAL},
		{"more than there is room for", many, abi.BUSY},
		{"reads behind what it writes", []virtio.Element{{Buffer: b[0], Length: 1, Writable: true}, {Buffer: b[1], Length: 1}}, abi.INVAL},
		{"an empty part", []virtio.Element{{Buffer: b[0], Length: 1}, {Buffer: b[1]}}, abi.SIZE},
		{"more than the buffer has", []virtio.Element{{Buffer: b[0], Length: 65}}, abi.SIZE},
		{"a buffer twice", []virtio.Element{{Buffer: b[0], Length: 1}, {Buffer: b[0], Length: 1}}, abi.BUSY},
		{"no buffer", []virtio.Element{{Buffer: b[0], Length: 1}, {Buffer: dma.Buffer{}, Length: 1}}, abi.SIZE},
	} {
		_, e := r.requests.Add(tt.chain)
		assert.Equal(t, tt.want, e, tt.name)
		r.requests.Kick()
		assert.Equal(t, []int{0, 8}, []int{r.requests.InFlight(), r.requests.Room()}, tt.name)
		assert.Equal(t, 1, b[0].ReadAt(make([]byte, 1), 0), "%s: no buffer is lent", tt.name)
	}
	assert.Empty(t, r.device.Notified)
	var none virtio.Queue
	_, e := none.Add(many[:1])
	assert.Equal(t, abi.FAIL, e, "a queue that was not set up")
}

// TestNotifications: only those that the device asks for, by its event index or, without that feature, by its flag.
func TestNotifications(t *testing.T) {
	t.Run("by the event index", func(t *testing.T) {
		r := newRig(t)
		q := r.device.Queues[0]
		r.request(t, 0, 1)
		assert.Len(t, r.device.Notified, 1, "the first")
		r.request(t, 1, 1)
		assert.Len(t, r.device.Notified, 1, "the device has not looked at the first yet")
		q.Next()
		q.Next()
		r.request(t, 2, 1)
		assert.Len(t, r.device.Notified, 2, "the device waits for it")
		r.requests.Kick()
		assert.Len(t, r.device.Notified, 2, "nothing is new")
	})
	t.Run("by the flag", func(t *testing.T) {
		d := newDevice(t)
		d.Offered &^= spec.FeatureEventIndex
		r, e := start(d)
		assert.Equal(t, abi.OK, e)
		q := d.Queues[0]
		r.request(t, 0, 1)
		r.request(t, 1, 1)
		assert.Len(t, d.Notified, 2)
		q.Used()[spec.RingFlags] = spec.RingNoNotify
		r.request(t, 2, 1)
		assert.Len(t, d.Notified, 2)
		for range 3 {
			c, _ := q.Next()
			q.Use(c.Head, 0)
			r.HandleInterrupt()
		}
		assert.Len(t, r.used, 3)
	})
}

// TestBufferBeforeReady: what a queue holds when the driver is ready the device is told of then, not before.
func TestBufferBeforeReady(t *testing.T) {
	d := newDevice(t)
	var r rig
	r.device = d
	place := d.Place()
	b := place.Memory.Buffer(64)
	r.Transport.Init(new(kernel.Kernel), place, "device", &r.driver, &r.driver)
	r.Start(kind, feature)
	r.room.Init(&r.Transport, 1, r.slots[1][:], 1, false)
	_, e := r.room.Add([]virtio.Element{{Buffer: b, Length: 64, Writable: true}})
	assert.Equal(t, abi.OK, e)
	r.room.Kick()
	assert.Empty(t, d.Notified)
	assert.Equal(t, abi.OK, r.Ready())
	assert.Equal(t, []int{1}, d.Notified)
	assert.Equal(t, 1, d.Queues[1].Waiting())
}

// TestInterruptsAreAskedForByEventIndex: one for each time that the driver has nothing left to do, not one for each chain.
func TestInterruptsAreAskedForByEventIndex(t *testing.T) {
	r := newRig(t)
	q := r.device.Queues[0]
	for i := range 3 {
		r.request(t, i, 1)
	}
	for range 3 {
		c, _ := q.Next()
		q.Use(c.Head, 0)
	}
	r.HandleInterrupt()
	assert.Len(t, r.used, 3)
	r.request(t, 0, 1)
	c, _ := q.Next()
	q.Use(c.Head, 0)
	assert.EqualValues(t, spec.InterruptUsed, r.device.Interrupt, "the next interrupts again")
}

// TestWorkForAnInterruptIsBounded: a device that is quick, and a driver that gives it every buffer again, do not keep the
// kernel.
func TestWorkForAnInterruptIsBounded(t *testing.T) {
	r := newRig(t)
	q := r.device.Queues[1]
	add := func() {
		_, e := r.room.Add([]virtio.Element{{Buffer: r.buffers[0], Length: 64, Writable: true}})
		assert.Equal(t, abi.OK, e)
		r.room.Kick()
	}
	answer := func() {
		c, _ := q.Next()
		q.Use(c.Head, 1)
	}
	r.onUsed = func(used) {
		if len(r.used) < 1000 {
			add()
			answer()
		}
	}
	_, e := r.room.Add([]virtio.Element{{Buffer: r.buffers[1], Length: 64, Writable: true}})
	assert.Equal(t, abi.OK, e)
	r.room.Kick()
	q.Next() // which stays in flight
	add()
	answer()
	r.HandleInterrupt()
	assert.Len(t, r.used, 16)
	r.HandleDeferredCall()
	assert.Len(t, r.used, 32)
}

func TestConfig(t *testing.T) {
	r := newRig(t)
	r.device.Config = []byte{1, 2, 3, 4, 5, 6, 7, 8}
	var p [8]byte
	for _, width := range []int{1, 2, 4} {
		clear(p[:])
		assert.Equal(t, abi.OK, r.ReadConfig(p[:], 0, width))
		assert.Equal(t, r.device.Config, p[:], "by accesses of %d bytes", width)
	}
	assert.Equal(t, abi.OK, r.ReadConfig(p[:2], 4, 2))
	assert.Equal(t, []byte{5, 6}, p[:2])

	reads := 0
	r.device.OnRead = func(offset uint16, v uint32) uint32 {
		if reads++; reads == 2 { // between the two halves
			r.device.ChangeConfig([]byte{8, 7, 6, 5, 4, 3, 2, 1})
		}
		return v
	}
	assert.Equal(t, abi.OK, r.ReadConfig(p[:], 0, 4))
	assert.Equal(t, []byte{8, 7, 6, 5, 4, 3, 2, 1}, p[:], "of one time")
	r.HandleInterrupt()
	assert.Equal(t, 1, r.changes)
}

func TestWiringErrors(t *testing.T) {
	r := newRig(t)
	var q virtio.Queue
	for _, n := range []int{0, 3, 65536} {
		assert.Panics(t, func() { q.Init(&r.Transport, 0, make([]virtio.Slot, n), 1, true) }, "%d slots", n)
	}
	assert.Panics(t, func() { r.room.Init(&r.Transport, 0, make([]virtio.Slot, 8), 1, true) }, "a queue that is set up")
}
