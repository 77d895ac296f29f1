package virtionet

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// rig is a driver, its client, and its device.
type rig struct {
	Network
	sent     []abi.ErrorCode
	received [][]byte
	ends     []abi.ErrorCode
	links    []bool
	again    bool // the client wants one frame after another
	buf      [hil.MaxFrame]byte
	device   *virtiotest.Device
	machine  *kerneltest.Machine
	room     [4]Frame
	slots    [4]virtio.Slot
}

func (r *rig) FrameSent(_ []byte, e abi.ErrorCode) { r.sent = append(r.sent, e) }
func (r *rig) LinkChanged()                        { r.links = append(r.links, r.LinkUp()) }

func (r *rig) FrameReceived(buf []byte, n int, e abi.ErrorCode) {
	r.received = append(r.received, bytes.Clone(buf[:n]))
	r.ends = append(r.ends, e)
	if r.again {
		r.ReceiveFrame(buf)
	}
}

const everything = spec.NetFeatureMAC | spec.NetFeatureMTU | spec.NetFeatureStatus

// config is of a device with this MTU and status.
func config(mtu uint16, status byte) []byte {
	return []byte{2, 1, 2, 3, 4, 5, status, 0, 1, 0, byte(mtu), byte(mtu >> 8)}
}

// start starts the driver on a device, whatever comes of it.
func start(t *testing.T, features uint64, config []byte) (*rig, abi.ErrorCode) {
	r := &rig{device: virtiotest.New(t, spec.IDNet, features, 8, 8), machine: kerneltest.New(t, capability.Mint())}
	r.device.Config = config
	r.SetEthernetClient(r)
	return r, r.Init(&r.machine.Kernel, r.device.Place(), r.room[:], r.slots[:])
}

func newRig(t *testing.T) *rig {
	r, e := start(t, everything, config(1500, spec.NetStatusLinkUp))
	require.Equal(t, abi.OK, e)
	return r
}

// comes has the device give a frame, if there is room.
func (r *rig) comes(t *testing.T, frame []byte) {
	q := r.device.Queues[spec.NetReceiveQueue]
	c, ok := q.Next()
	require.True(t, ok, "there is no room for a frame")
	header := make([]byte, spec.NetHeaderSize)
	header[spec.NetHeaderBuffers] = 1
	q.Use(c.Head, c.Write(append(header, frame...)))
	r.HandleInterrupt()
}

// frame is one of n bytes, which is like no other.
func frame(n, which int) []byte {
	return append(fmt.Appendf(nil, "frame %8d", which), make([]byte, n-14)...)
}

func TestConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features uint64
		config   []byte
		address  hil.EthernetAddress
		mtu      int
		up       bool
	}{
		{"all", everything, config(1400, 1), hil.EthernetAddress{2, 1, 2, 3, 4, 5}, 1400, true},
		{"link down", everything, config(1500, 0), hil.EthernetAddress{2, 1, 2, 3, 4, 5}, 1500, false},
		{"jumbo frames are not taken", everything, config(9000, 1), hil.EthernetAddress{2, 1, 2, 3, 4, 5}, 1500, true},
		{"nothing offered", 0, nil, hil.EthernetAddress{2, 'K', 'a', 'p', 's', 'l'}, 1500, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, e := start(t, tt.features, tt.config)
			assert.Equal(t, abi.OK, e)
			assert.Equal(t, tt.address, r.Address())
			assert.Equal(t, tt.mtu, r.MTU())
			assert.Equal(t, tt.up, r.LinkUp())
		})
	}
}

func TestHostileConfiguration(t *testing.T) {
	group := config(1500, 1)
	group[0] = 0xff
	for name, c := range map[string][]byte{"an MTU of 0": config(0, 1), "an MTU below the least": config(67, 1), "the address of a group": group} {
		t.Run(name, func(t *testing.T) {
			r, e := start(t, everything, c)
			assert.Equal(t, abi.FAIL, e)
			assert.Contains(t, r.device.Log.String(), "network device at 0xd0000000 is broken")
			assert.Equal(t, abi.FAIL, r.SendFrame(r.buf[:], 60))
			assert.Equal(t, abi.FAIL, r.ReceiveFrame(r.buf[:]))
		})
	}
}

func TestSend(t *testing.T) {
	r, e := start(t, everything, config(1000, 1))
	require.Equal(t, abi.OK, e)
	for _, n := range []int{0, 13, 1015, 1514} {
		assert.Equal(t, abi.SIZE, r.SendFrame(r.buf[:], n), "%d bytes", n)
	}
	assert.Equal(t, abi.SIZE, r.SendFrame(r.buf[:20], 21))
	for i, n := range []int{14, 1014} {
		f := frame(n, i)
		assert.Equal(t, abi.OK, r.SendFrame(f, n))
		assert.Equal(t, abi.BUSY, r.SendFrame(f, n))
		assert.Len(t, r.sent, i, "no callback from within the call")
		q := r.device.Queues[spec.NetTransmitQueue]
		c, ok := q.Next()
		require.True(t, ok)
		assert.Equal(t, append(make([]byte, spec.NetHeaderSize), f...), c.Readable)
		q.Use(c.Head, 0)
		r.HandleInterrupt()
	}
	assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OK}, r.sent)
	assert.Zero(t, r.device.Refused())
}

// TestReceive: frames that come before the client wants them are kept, in order, and their room is given to the device again.
func TestReceive(t *testing.T) {
	r := newRig(t)
	assert.Equal(t, abi.SIZE, r.ReceiveFrame(r.buf[:hil.MaxFrame-1]))
	for i := range r.room {
		r.comes(t, frame(60+i, i))
	}
	assert.Zero(t, r.device.Queues[0].Waiting(), "there is no more room")
	assert.Equal(t, abi.OK, r.ReceiveFrame(r.buf[:]))
	assert.Equal(t, abi.BUSY, r.ReceiveFrame(r.buf[:]))
	assert.Empty(t, r.received, "no callback from within the call")
	r.HandleDeferredCall()
	assert.Equal(t, 1, r.device.Queues[0].Waiting())
	r.comes(t, frame(hil.MaxFrame, 4))
	r.again = true
	r.ReceiveFrame(r.buf[:])
	for range 6 {
		r.HandleDeferredCall()
	}
	r.comes(t, frame(14, 5))
	r.comes(t, frame(15, 6))
	want := [][]byte{frame(60, 0), frame(61, 1), frame(62, 2), frame(63, 3), frame(hil.MaxFrame, 4), frame(14, 5), frame(15, 6)}
	assert.Equal(t, want, r.received)
	assert.Equal(t, len(r.room), r.device.Queues[0].Waiting(), "all room is the device's")
	assert.Zero(t, r.device.Refused())
}

// TestFrameThatIsNone: it is dropped, and its room not lost.
func TestFrameThatIsNone(t *testing.T) {
	r := newRig(t)
	r.again = true
	r.ReceiveFrame(r.buf[:])
	for range 3 * len(r.room) {
		r.comes(t, frame(14, 0)[:13])
		r.comes(t, nil)
	}
	r.comes(t, frame(14, 1))
	assert.Equal(t, [][]byte{frame(14, 1)}, r.received)
}

func TestLink(t *testing.T) {
	r := newRig(t)
	for _, status := range []byte{0, 0, 1} {
		r.device.ChangeConfig(config(1500, status))
		r.HandleInterrupt()
	}
	assert.Equal(t, []bool{false, true}, r.links)
}

// TestBrokenNetwork: the client gets both buffers back, once, and every later call fails.
func TestBrokenNetwork(t *testing.T) {
	for name, attack := range map[string]func(r *rig){
		"a frame shorter than its header": func(r *rig) { r.device.Queues[0].Use(0, spec.NetHeaderSize-1) },
		"a frame larger than its room":    func(r *rig) { r.device.Queues[0].Use(0, bufferSize+1) },
		"a frame of 65562 bytes":          func(r *rig) { r.device.Queues[0].Use(0, 65562) },
		"room that it was not given":      func(r *rig) { r.device.Queues[0].Use(4, 60) },
		"a frame sent twice":              func(r *rig) { r.device.Queues[1].Use(0, 0); r.device.Queues[1].Use(0, 0) },
		"it wrote to what it is to send":  func(r *rig) { r.device.Queues[1].Use(0, 1) },
		"it needs a reset": func(r *rig) {
			r.device.Status |= spec.StatusNeedsReset
			r.device.Interrupt |= spec.InterruptConfig
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.device.Lenient = true
			r.ReceiveFrame(r.buf[:])
			r.SendFrame(frame(60, 0), 60)
			attack(r)
			r.HandleInterrupt()
			r.HandleInterrupt()
			assert.Equal(t, []abi.ErrorCode{abi.FAIL}, r.ends)
			assert.Len(t, r.sent, 1)
			assert.Equal(t, abi.FAIL, r.SendFrame(frame(60, 1), 60))
			assert.Equal(t, abi.FAIL, r.ReceiveFrame(r.buf[:]))
		})
	}
}
