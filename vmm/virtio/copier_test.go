package virtio_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// copier is a device that copies what a request gives to where it has room.
type copier struct {
	queueMax []uint16
	config   []byte
	hook     func(queue int) // called by Notify, if not nil
	hold     bool            // give nothing back
	act      func()          // what Notify is to do once, or nil; guarded by mu

	mu     sync.Mutex // guards what follows, which tests read
	queues []*virtio.Queue
	held   []*virtio.Chain
	order  []int // the queue of each request
	turns  int   // calls of Notify
	resets int

	buffer [16 << 10]byte
}

func (c *copier) ID() uint32         { return abi.IDBlock }
func (c *copier) Features() uint64   { return 1 << 5 }
func (c *copier) QueueMax() []uint16 { return c.queueMax }

func (c *copier) ReadConfig(offset uint64, data []byte) {
	if offset < uint64(len(c.config)) {
		copy(data, c.config[offset:])
	}
}

func (c *copier) WriteConfig(offset uint64, data []byte) {
	if offset < uint64(len(c.config)) {
		copy(c.config[offset:], data)
	}
}

func (c *copier) Activate(_ uint64, queues []*virtio.Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queues = queues
}

func (c *copier) Notify(queue int) {
	if c.hook != nil {
		c.hook(queue)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
	if c.act != nil {
		c.act()
		c.act = nil
	}
	q := c.queues[queue]
	for chain, ok := q.Next(); ok; chain, ok = q.Next() {
		c.order = append(c.order[:min(len(c.order), 1000)], queue)
		if c.hold {
			c.held = append(c.held, chain)
			continue
		}
		c.copy(chain)
	}
}

// copy answers a request.
func (c *copier) copy(chain *virtio.Chain) {
	n := chain.Read(c.buffer[:])
	n = chain.Write(c.buffer[:n])
	c.queues[0].Use(chain, uint32(n)) // does nothing for one of another queue
	if len(c.queues) > 1 {
		c.queues[1].Use(chain, uint32(n))
	}
}

func (c *copier) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets++
	c.held = nil
}

func (c *copier) Close() error { return nil }

func (c *copier) Save(*virtio.State) {}

func (c *copier) Restore(features uint64, queues []*virtio.Queue, _ *virtio.State) error {
	c.Activate(features, queues)
	return nil
}

// locked does something while the device does not serve.
func (c *copier) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// onItsOwn has the device's goroutine do something, and waits until it has.
func (c *copier) onItsOwn(f func()) {
	done := make(chan struct{})
	c.locked(func() {
		c.act = func() {
			f()
			close(done)
		}
		c.queues[0].Wake()
	})
	<-done
}

// rig is a copier with its transport, its driver and how many edges its line had.
type rig struct {
	*virtiotest.Driver
	device    *copier
	transport *virtio.MMIO

	onEdge func() // if not nil

	mu    sync.Mutex
	edges int
}

// newRig makes one with two queues of 16 at the most, and 1 MiB of memory from 0 and from 4 GiB on.
func newRig(t testing.TB) *rig {
	r := &rig{device: &copier{queueMax: []uint16{16, 256}, config: []byte("0123456789")}}
	memory := virtiotest.NewMemory(t, 1<<20)
	r.transport = virtio.NewMMIO(r.device, memory, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.edges++
		if r.onEdge != nil {
			r.onEdge()
		}
	}, func(format string, args ...any) { t.Logf("log: "+format, args...) }, nil)
	r.Driver = virtiotest.NewDriver(t, memory, r.transport)
	t.Cleanup(func() { assert.NoError(t, r.transport.Close()) })
	return r
}

func (r *rig) Edges() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.edges
}

// WaitBroken waits until the device needs a reset, of which the driver is told.
func (r *rig) WaitBroken() {
	r.T.Helper()
	r.Wait("the device does not break", func() bool {
		return r.Broken() && r.Read(abi.RegInterruptStatus)&abi.InterruptConfig != 0
	})
	assert.EqualValues(r.T, 1, r.transport.Counters().Broken)
}

// Works checks that the device, reset and set up, answers a request.
func (r *rig) Works() {
	r.T.Helper()
	r.StartWith(abi.FeatureEventIndex, 2, 16)
	r.device.locked(func() { r.device.hold = false })
	for _, q := range r.Queues {
		r.Put(virtiotest.Buffers, []byte("twelve bytes"))
		r.Put(virtiotest.Buffers+0x1000, make([]byte, 16))
		q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 12}, abi.Descriptor{Address: virtiotest.Buffers + 0x1000, Length: 16, Flags: abi.DescWrite})
		assert.EqualValues(r.T, 12, q.WaitUsed().Length)
		assert.Equal(r.T, "twelve bytes\x00\x00\x00\x00", string(r.Memory.Bytes(r.T, virtiotest.Buffers+0x1000, 16)))
	}
}
