package virtiorng

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/generation"
)

// client records what it is given.
type client struct {
	got   [][]byte
	ends  []abi.ErrorCode
	again func()
}

func (c *client) EntropyDone(buf []byte, n int, e abi.ErrorCode) {
	c.got = append(c.got, append([]byte(nil), buf[:n]...))
	c.ends = append(c.ends, e)
	if c.again != nil {
		c.again()
	}
}

// rig is a driver, its device and its client.
type rig struct {
	RNG
	client client
	device *virtiotest.Device
	kernel kernel.Kernel
}

func newRig(t *testing.T) *rig {
	r := &rig{device: virtiotest.New(t, virtio.IDEntropy, 0, 8)}
	r.SetEntropyClient(&r.client)
	require.Equal(t, abi.OK, r.Init(&r.kernel, r.device.Place()))
	return r
}

// answer has the device answer what it was asked for with p, claiming that it wrote so many bytes.
func (r *rig) answer(t *testing.T, p string, written uint32) {
	q := r.device.Queues[0]
	c, ok := q.Next()
	require.True(t, ok, "nothing is asked for")
	c.Write([]byte(p))
	q.Use(c.Head, written)
	r.HandleInterrupt()
}

func TestEntropy(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 10)
	assert.Equal(t, abi.SIZE, r.GetEntropy(buf, 11))
	assert.Equal(t, abi.SIZE, r.GetEntropy(buf, 0))
	assert.Equal(t, abi.OK, r.GetEntropy(buf, 10))
	assert.Equal(t, abi.BUSY, r.GetEntropy(buf, 10))
	assert.Empty(t, r.client.got, "no callback from within the call")
	assert.Equal(t, []int{0}, r.device.Notified)
	r.answer(t, "0123456789", 10)
	r.client.again = func() {
		if len(r.client.got) == 2 {
			assert.Equal(t, abi.OK, r.GetEntropy(buf, 3), "from the callback")
		}
	}
	r.GetEntropy(buf, 10)
	r.answer(t, "abcd", 4)
	r.answer(t, "xyz", 3)
	assert.Equal(t, [][]byte{[]byte("0123456789"), []byte("abcd"), []byte("xyz")}, r.client.got)
	assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OK, abi.OK}, r.client.ends)
	assert.Zero(t, r.device.Refused())
}

// TestEntropyIsAskedForInPieces: a client that wants very much gets a part of it.
func TestEntropyIsAskedForInPieces(t *testing.T) {
	r := newRig(t)
	assert.Equal(t, abi.OK, r.GetEntropy(make([]byte, 1000), 1000))
	c, _ := r.device.Queues[0].Next()
	assert.Equal(t, bufferSize, c.Room())
	assert.Empty(t, c.Readable, "writable only (5.4.6.1)")
}

// TestBrokenEntropyDevice: the client is told, once, and every later call fails.
func TestBrokenEntropyDevice(t *testing.T) {
	for name, answer := range map[string]func(t *testing.T, r *rig){
		"no bytes":            func(t *testing.T, r *rig) { r.answer(t, "", 0) },
		"more than there are": func(t *testing.T, r *rig) { r.answer(t, "", 11) },
		"nobody's chain":      func(t *testing.T, r *rig) { r.device.Queues[0].Use(1, 1); r.HandleInterrupt() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			buf := make([]byte, 10)
			r.GetEntropy(buf, 10)
			answer(t, r)
			r.HandleInterrupt()
			assert.Equal(t, []abi.ErrorCode{abi.FAIL}, r.client.ends)
			assert.Equal(t, abi.FAIL, r.GetEntropy(buf, 10))
			assert.Contains(t, r.device.Log.String(), "entropy device at 0xd0000000 is broken, and not used any more: ")
			assert.Equal(t, 2, r.device.Resets)
			assert.EqualValues(t, virtio.StatusFailed, r.device.Status)
		})
	}
}

func TestNoEntropyDevice(t *testing.T) {
	d := virtiotest.New(t, virtio.IDBlock, 0, 8)
	var r RNG
	assert.Equal(t, abi.FAIL, r.Init(new(kernel.Kernel), d.Place()))
	assert.Equal(t, "entropy device at 0xd0000000 is broken, and not used any more: it is of another kind\n", d.Log.String())
	assert.Equal(t, abi.FAIL, r.GetEntropy(make([]byte, 1), 1))
}

// Bytes that the device gave in another generation may be those of other machines: the client gets new ones.
func TestBytesOfAnotherGenerationAreDropped(t *testing.T) {
	r := newRig(t)
	require.Equal(t, abi.OK, r.GetEntropy(make([]byte, 10), 5))
	generation.Set(7)
	t.Cleanup(func() { generation.Set(0) })
	r.answer(t, "known", 5)
	assert.Empty(t, r.client.got)
	assert.Equal(t, abi.BUSY, r.GetEntropy(make([]byte, 10), 5), "it is being asked again")
	r.answer(t, "fresh", 5)
	assert.Equal(t, [][]byte{[]byte("fresh")}, r.client.got)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, r.client.ends)
}
