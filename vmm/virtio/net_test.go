package virtio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// wire is a network that keeps what is sent, and gives what a test puts.
type wire struct {
	mu    sync.Mutex
	ready func()
	in    [][]byte
	sent  [][]byte
	full  bool

	endless atomic.Bool // there is always another frame
}

func (w *wire) Start(ready func()) { w.ready = ready }
func (w *wire) Close() error       { return nil }

func (w *wire) Send(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return errors.New("no room")
	}
	w.sent = append(w.sent, bytes.Clone(frame))
	return nil
}

func (w *wire) Receive(frame *[ethernet.MaxFrame]byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.endless.Load():
		return len(frame)
	case len(w.in) == 0:
		return 0
	}
	n := copy(frame[:], w.in[0])
	w.in = w.in[1:]
	return n
}

// put has frames come from the network, and tells the device as an ethernet.Port does.
func (w *wire) put(frames ...[]byte) {
	for _, f := range frames {
		w.mu.Lock()
		w.in = append(w.in, f)
		first := len(w.in) == 1
		w.mu.Unlock()
		if first {
			w.ready()
		}
	}
}

func (w *wire) frames() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (w *wire) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.in)
}

// frame is one of n bytes, all of them b.
func frame(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

var testMAC = ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// testMTU is what the network has, which is less than a device could.
const testMTU = 1400

const (
	netFeatures = abi.FeatureEventIndex | abi.NetFeatureMAC | abi.NetFeatureMTU | abi.NetFeatureStatus
	rxBuffer    = abi.NetHeaderSize + ethernet.MaxFrame
)

func startNet(t testing.TB) (*virtiotest.Driver, *wire, *virtio.MMIO) {
	w := &wire{}
	d, m := start(t, virtio.NewNet(w, testMAC, testMTU))
	d.StartWith(netFeatures, 2, 64)
	return d, w, m
}

// sendFrame sends a request of a header and bytes, and waits until it is given back.
func sendFrame(d *virtiotest.Driver, header, frame []byte) abi.UsedElement {
	d.T.Helper()
	request := append(bytes.Clone(header), frame...)
	d.Put(virtiotest.Buffers, request)
	q := d.Queues[abi.NetTransmitQueue]
	q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: uint32(len(request))})
	return q.WaitUsed()
}

// giveRoom gives the device room for so many frames, of which the i-th lies at roomAt(i).
func giveRoom(d *virtiotest.Driver, n int, size uint32) {
	q := d.Queues[abi.NetReceiveQueue]
	for i := range n {
		q.Offer(q.Chain(abi.Descriptor{Address: roomAt(i), Length: size, Flags: abi.DescWrite}))
	}
	q.Notify()
}

func roomAt(i int) uint64 { return virtiotest.Buffers + 0x10000 + 0x800*uint64(i) }

// received waits for a frame, which lies in the i-th room, and returns it.
func received(d *virtiotest.Driver, i int) []byte {
	d.T.Helper()
	used := d.Queues[abi.NetReceiveQueue].WaitUsed()
	p := d.Memory.Bytes(d.T, roomAt(i), uint64(used.Length))
	want := make([]byte, abi.NetHeaderSize)
	want[abi.NetHeaderBuffers] = 1
	require.GreaterOrEqual(d.T, len(p), len(want))
	assert.Equal(d.T, want, p[:len(want)], "no offloads, and one buffer")
	return bytes.Clone(p[len(want):])
}

func TestNetOffers(t *testing.T) {
	d, _, _ := startNet(t)
	assert.EqualValues(t, abi.FeatureVersion1|netFeatures, d.Offered())
	config := d.Config(0, abi.NetConfigBytes)
	assert.Equal(t, testMAC[:], config[:6])
	assert.EqualValues(t, abi.NetStatusLinkUp, binary.LittleEndian.Uint16(config[abi.NetConfigStatus:]))
	assert.EqualValues(t, testMTU, binary.LittleEndian.Uint16(config[abi.NetConfigMTU:]))
}

func TestNetSendsAndReceives(t *testing.T) {
	d, w, m := startNet(t)
	assert.Zero(t, sendFrame(d, make([]byte, 12), frame(60, 1)).Length)
	sendFrame(d, make([]byte, 12), frame(ethernet.MaxFrame, 2))
	sendFrame(d, make([]byte, 12), frame(ethernet.HeaderSize, 3))
	assert.Equal(t, [][]byte{frame(60, 1), frame(ethernet.MaxFrame, 2), frame(ethernet.HeaderSize, 3)}, w.frames())

	giveRoom(d, 2, rxBuffer)
	w.put(frame(60, 4), frame(ethernet.MaxFrame, 5))
	assert.Equal(t, frame(60, 4), received(d, 0))
	assert.Equal(t, frame(ethernet.MaxFrame, 5), received(d, 1))
	assert.Zero(t, m.Counters().Errors)
	assert.EqualValues(t, 5, m.Counters().Requests)
}

// Framing means nothing: header and frame are split anywhere, in both directions.
func TestNetFraming(t *testing.T) {
	d, w, _ := startNet(t)
	d.Put(virtiotest.Buffers, append(make([]byte, 12), frame(60, 7)...))
	tx := d.Queues[abi.NetTransmitQueue]
	tx.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 5}, abi.Descriptor{Address: virtiotest.Buffers + 5, Length: 20},
		abi.Descriptor{Address: virtiotest.Buffers + 25, Length: 47})
	tx.WaitUsed()
	assert.Equal(t, [][]byte{frame(60, 7)}, w.frames())

	d.Queues[abi.NetReceiveQueue].Send(abi.Descriptor{Address: roomAt(0), Length: 3, Flags: abi.DescWrite},
		abi.Descriptor{Address: roomAt(0) + 3, Length: 30, Flags: abi.DescWrite},
		abi.Descriptor{Address: roomAt(0) + 33, Length: 1500, Flags: abi.DescWrite})
	w.put(frame(60, 8))
	assert.Equal(t, frame(60, 8), received(d, 0))
}

// 12: a request that holds no frame which could be sent is dropped and counted, and given back.
func TestNetHostileSends(t *testing.T) {
	header := func(flags, segmentation byte, words ...byte) []byte {
		return append(append([]byte{flags, segmentation}, words...), make([]byte, 10-len(words))...)
	}
	for _, tt := range []struct {
		name          string
		header, frame []byte
		sent          bool
	}{
		{"no bytes", nil, nil, false},
		{"half a header", make([]byte, 6), nil, false},
		{"a header alone", header(0, 0), nil, false},
		{"a frame of 13 bytes", header(0, 0), frame(13, 1), false},
		{"a frame of 14 bytes", header(0, 0), frame(14, 1), true},
		{"a frame of 1514 bytes", header(0, 0), frame(1514, 1), true},
		{"a frame of 1515 bytes", header(0, 0), frame(1515, 1), false},
		{"a frame of 65562 bytes", header(0, 0), frame(65562, 1), false},
		{"segmentation that was not negotiated", header(0, 1), frame(60, 1), false},
		{"an unknown segmentation", header(0, 0x83), frame(60, 1), false},
		{"a checksum to be filled in", header(1, 0), frame(60, 1), false},
		{"unknown flags, which mean nothing", header(0xfe, 0), frame(60, 1), true},
		{"sizes and offsets of nothing", header(0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), frame(60, 1), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, w, m := startNet(t)
			assert.Zero(t, sendFrame(d, tt.header, tt.frame).Length)
			if tt.sent {
				assert.Equal(t, [][]byte{tt.frame}, w.frames())
				assert.Zero(t, m.Counters().Errors)
			} else {
				assert.Empty(t, w.frames())
				assert.EqualValues(t, 1, m.Counters().Errors)
			}
			sendFrame(d, make([]byte, 12), frame(60, 9))
			assert.Equal(t, frame(60, 9), w.frames()[len(w.frames())-1], "the next one")
			assert.False(t, d.Broken())
		})
	}
}

// 12: a request far longer than a frame is not copied: FC's memory grew with malformed frames.
func TestNetHugeSendTakesNoMemory(t *testing.T) {
	d, w, m := startNet(t)
	list := make([]abi.Descriptor, 60) // 60 times the same 256 KiB
	for i := range list {
		list[i] = abi.Descriptor{Address: virtiotest.Buffers, Length: 256 << 10}
	}
	q := d.Queues[abi.NetTransmitQueue]
	bytesOf := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			q.Send(list...)
			q.WaitUsed()
		}
	}).AllocedBytesPerOp()
	assert.Less(t, bytesOf, int64(64<<10))
	assert.Empty(t, w.frames())
	assert.NotZero(t, m.Counters().Errors)
	assert.Zero(t, m.Counters().Read, "nothing of it was read")
}

// A network that is full loses frames; that is no error of the driver's, and its requests go on.
func TestNetFullNetwork(t *testing.T) {
	d, w, m := startNet(t)
	w.full = true
	sendFrame(d, make([]byte, 12), frame(60, 1))
	assert.Empty(t, w.frames())
	assert.Zero(t, m.Counters().Errors)
}

// 12: frames wait in the network until the driver has room, of which none is lost or comes twice.
func TestNetWithoutRoomHoldsTheNetworkBack(t *testing.T) {
	d, w, _ := startNet(t)
	for i := range 10 {
		w.put(frame(60, byte(i)))
	}
	sendFrame(d, make([]byte, 12), frame(60, 9)) // by now the device had its turn
	assert.Equal(t, 10, w.waiting())
	giveRoom(d, 4, rxBuffer)
	for i := range 4 {
		assert.Equal(t, frame(60, byte(i)), received(d, i))
	}
	assert.Equal(t, 6, w.waiting())
	giveRoom(d, 6, rxBuffer)
	for i := range 6 {
		assert.Equal(t, frame(60, byte(4+i)), received(d, i))
	}
}

// 12, CVE-2020-16843: room is exhausted while the network is full, and then filled again, many times over. Reception must
// not freeze.
func TestNetReceptionDoesNotFreeze(t *testing.T) {
	d, w, _ := startNet(t)
	const frames = 2000
	go func() {
		for i := range frames {
			w.put(frame(60, byte(i)))
		}
	}()
	for i := 0; i < frames; {
		n := min(1+i%7, frames-i)
		giveRoom(d, n, rxBuffer)
		for j := range n {
			require.Equal(t, frame(60, byte(i)), received(d, j))
			i++
		}
	}
}

// 12: a frame for which a buffer is too small is lost and counted. The buffer serves the next that it has room for.
func TestNetShortRoom(t *testing.T) {
	d, w, m := startNet(t)
	giveRoom(d, 1, 12+100)
	w.put(frame(101, 1), frame(100, 2))
	assert.Equal(t, frame(100, 2), received(d, 0))
	assert.EqualValues(t, 1, m.Counters().Errors)
}

// 12: buffers without any room, and such as the driver gives, neither break the device nor freeze what follows a reset.
func TestNetUselessRoom(t *testing.T) {
	for _, tt := range []struct {
		name string
		room abi.Descriptor
	}{
		{"without bytes", abi.Descriptor{Address: roomAt(0), Flags: abi.DescWrite}},
		{"half a header", abi.Descriptor{Address: roomAt(0), Length: 6, Flags: abi.DescWrite}},
		{"to be read", abi.Descriptor{Address: roomAt(0), Length: 2000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, w, m := startNet(t)
			d.Queues[abi.NetReceiveQueue].Send(tt.room)
			w.put(frame(60, 1), frame(60, 2))
			d.Wait("both are lost", func() bool { return m.Counters().Errors == 2 })
			assert.False(t, d.Broken())
			d.StartWith(netFeatures, 2, 64)
			giveRoom(d, 1, rxBuffer)
			w.put(frame(60, 3))
			assert.Equal(t, frame(60, 3), received(d, 0))
		})
	}
}

// More frames than a turn has come with one notification.
func TestNetManyFramesAtOnce(t *testing.T) {
	d, w, _ := startNet(t)
	d.StartWith(netFeatures, 2, 256)
	const frames = 200
	for i := range frames {
		w.put(frame(60, byte(i)))
	}
	q := d.Queues[abi.NetReceiveQueue]
	for range frames {
		q.Offer(q.Chain(abi.Descriptor{Address: roomAt(0), Length: rxBuffer, Flags: abi.DescWrite}))
	}
	q.Notify()
	for range frames {
		assert.EqualValues(t, 12+60, q.WaitUsed().Length)
	}
}

// 12, 20: a network that never pauses, whose frames have no room, keeps the other queue from its turn no more than a reset.
func TestNetFloodDoesNotStarveSending(t *testing.T) {
	d, w, m := startNet(t)
	w.endless.Store(true)
	d.Queues[abi.NetReceiveQueue].Send(abi.Descriptor{Address: roomAt(0), Length: 12 + 14, Flags: abi.DescWrite})
	d.Wait("frames are lost", func() bool { return m.Counters().Errors > 0 })
	for range 100 {
		sendFrame(d, make([]byte, 12), frame(60, 2))
	}
	assert.Len(t, w.frames(), 100)
	d.Write(abi.RegStatus, 0)
	assert.Zero(t, d.Status())
}

// 15: frames that come after a reset touch no memory, and wait for the next session.
func TestNetFramesAcrossAReset(t *testing.T) {
	d, w, _ := startNet(t)
	giveRoom(d, 8, rxBuffer)
	d.Write(abi.RegStatus, 0)
	d.Memory.Snapshot()
	w.put(frame(60, 1), frame(60, 2))
	assert.False(t, d.Memory.Changed())
	assert.Equal(t, 2, w.waiting())
	d.StartWith(netFeatures, 2, 64)
	giveRoom(d, 2, rxBuffer)
	assert.Equal(t, frame(60, 1), received(d, 0))
	assert.Equal(t, frame(60, 2), received(d, 1))
}

// Through a real port: what one device sends another receives.
func TestNetTwoDevices(t *testing.T) {
	a, b := ethernet.Pair()
	left, _ := start(t, virtio.NewNet(ethernet.NewPort(testMAC, a, nil, t.Logf), testMAC, ethernet.MTU))
	right, _ := start(t, virtio.NewNet(ethernet.NewPort(testMAC, b, nil, t.Logf), testMAC, ethernet.MTU))
	left.StartWith(netFeatures, 2, 64)
	right.StartWith(netFeatures, 2, 64)
	giveRoom(right, 8, rxBuffer)
	for i := range 8 {
		sendFrame(left, make([]byte, 12), frame(60+i, byte(i)))
	}
	for i := range 8 {
		assert.Equal(t, frame(60+i, byte(i)), received(right, i))
	}
}

// FuzzNet has a driver send any request: it is given back, and what is sent is what it gave.
func FuzzNet(f *testing.F) {
	f.Add(append(make([]byte, 12), frame(60, 1)...), uint16(5))
	f.Add(append(make([]byte, 12), frame(1514, 1)...), uint16(12))
	f.Add(append(make([]byte, 12), frame(1515, 1)...), uint16(1000))
	f.Add([]byte{1, 3, 0xff}, uint16(1))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, request []byte, split uint16) {
		request = request[:min(len(request), 4096)]
		at := min(int(split), len(request))
		d, w, m := startNet(t)
		d.Put(virtiotest.Buffers, request)
		q := d.Queues[abi.NetTransmitQueue]
		q.Send(abi.Descriptor{Address: virtiotest.Buffers, Length: uint32(at)},
			abi.Descriptor{Address: virtiotest.Buffers + uint64(at), Length: uint32(len(request) - at)})
		assert.Zero(t, q.WaitUsed().Length)
		if sent := w.frames(); len(sent) > 0 {
			assert.Equal(t, [][]byte{request[12:]}, sent)
			assert.True(t, len(sent[0]) >= ethernet.HeaderSize && len(sent[0]) <= ethernet.MaxFrame)
		}
		assert.Equal(t, len(w.frames()) == 0, m.Counters().Errors == 1)
		assert.False(t, d.Broken())
	})
}
