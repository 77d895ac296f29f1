// Package virtionet drives a virtio network device (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.1), without offloads. It
// implements hil.Ethernet.
package virtionet

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// bufferSize is room for the largest frame and the header in front of it: without offloads a device that receives needs no more
// (5.1.6.3.1).
const bufferSize = spec.NetHeaderSize + hil.MaxFrame

// leastMTU is the smallest that a network has (RFC 791, section 3.2).
const leastMTU = 68

// Network is the driver of one device.
type Network struct {
	transport     virtio.Transport
	receiveQueue  virtio.Queue
	transmitQueue virtio.Queue
	transmitSlot  [1]virtio.Slot
	deferred      kernel.DeferredCall
	client        hil.EthernetClient
	address       hil.EthernetAddress
	mtu           int
	linkUp        bool

	output dma.Buffer
	out    []byte // the client's, that is being sent, or nil

	frames []Frame
	first  uint   // of the frames that came, which the client gets next
	end    uint   // how many came
	in     []byte // the client's, that waits for a frame, or nil
}

// Frame is room for a frame that comes. The board has an array of them.
type Frame struct {
	buffer dma.Buffer

	// Two lists beside: by number of a chain the frame that was lent by it, and, at first to end, those that came.
	lent int
	came int
	n    int // bytes of that one, its header not counted
}

// Init ties the driver to its device, and gives it room for frames that come before the client takes them: as many as slots,
// a power of two. The device's interrupt goes to HandleInterrupt. It returns abi.FAIL if the device is broken, which was told
// then.
func (n *Network) Init(k *kernel.Kernel, place virtio.Place, frames []Frame, slots []virtio.Slot) abi.ErrorCode {
	if len(frames) != len(slots) {
		panic("virtionet: not as many frames as slots")
	}
	n.deferred.Register(k, n)
	t := &n.transport
	t.Init(k, place, "network device", n, n)
	n.output = place.Memory.Buffer(bufferSize)
	for i := range frames {
		frames[i].buffer = place.Memory.Buffer(bufferSize)
	}
	const wanted = spec.NetFeatureMAC | spec.NetFeatureMTU | spec.NetFeatureStatus
	if e := t.Start(spec.IDNet, wanted); e != abi.OK {
		return e
	}
	if e := n.configure(); e != abi.OK {
		return e
	}
	// A device owes an answer for what it is to send, and none for room that it is given.
	if e := n.receiveQueue.Init(t, spec.NetReceiveQueue, slots, 1, false); e != abi.OK {
		return e
	}
	if e := n.transmitQueue.Init(t, spec.NetTransmitQueue, n.transmitSlot[:], 1, true); e != abi.OK {
		return e
	}
	n.frames = frames[:n.receiveQueue.Size()]
	for i := range n.frames {
		n.lend(i)
	}
	n.receiveQueue.Kick()
	return t.Ready()
}

// configure reads the configuration.
func (n *Network) configure() abi.ErrorCode {
	t := &n.transport
	var b [2]byte
	n.address, n.mtu = hil.EthernetAddress{2, 'K', 'a', 'p', 's', 'l'}, hil.MaxFrame-hil.EthernetHeader // locally administered
	if t.Has(spec.NetFeatureMAC) {
		if e := t.ReadConfig(n.address[:], spec.NetConfigMAC, 1); e != abi.OK {
			return e
		}
		if n.address[0]&1 != 0 {
			t.Break("its address is one of a group")
			return abi.FAIL
		}
	}
	if t.Has(spec.NetFeatureMTU) {
		if e := t.ReadConfig(b[:], spec.NetConfigMTU, 2); e != abi.OK {
			return e
		}
		mtu := int(b[0]) | int(b[1])<<8
		if mtu < leastMTU {
			t.Break("its MTU is below 68")
			return abi.FAIL
		}
		n.mtu = min(n.mtu, mtu)
	}
	return n.readLink()
}

// readLink reads whether the link is up.
func (n *Network) readLink() abi.ErrorCode {
	n.linkUp = true
	if !n.transport.Has(spec.NetFeatureStatus) {
		return abi.OK
	}
	var b [2]byte
	e := n.transport.ReadConfig(b[:], spec.NetConfigStatus, 2)
	n.linkUp = b[0]&spec.NetStatusLinkUp != 0
	return e
}

// HandleInterrupt serves the device's interrupt.
func (n *Network) HandleInterrupt() { n.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (n *Network) AlarmFired() { n.transport.AlarmFired() }

// SetEthernetClient implements hil.Ethernet.
func (n *Network) SetEthernetClient(client hil.EthernetClient) { n.client = client }

// Address implements hil.Ethernet.
func (n *Network) Address() hil.EthernetAddress { return n.address }

// MTU implements hil.Ethernet.
func (n *Network) MTU() int { return n.mtu }

// LinkUp implements hil.Ethernet.
func (n *Network) LinkUp() bool { return n.linkUp }

// SendFrame implements hil.Ethernet. The header in front of the frame is zeros, as the buffer's beginning always is (5.1.6.2.1).
func (n *Network) SendFrame(buf []byte, size int) abi.ErrorCode {
	switch {
	case !n.transport.Works():
		return abi.FAIL
	case n.out != nil:
		return abi.BUSY
	case size < hil.MinFrame || size > hil.EthernetHeader+n.mtu || size > len(buf):
		return abi.SIZE
	}
	n.output.WriteAt(buf[:size], spec.NetHeaderSize)
	chain := [1]virtio.Element{{Buffer: n.output, Length: spec.NetHeaderSize + size}}
	if _, e := n.transmitQueue.Add(chain[:]); e != abi.OK {
		return e
	}
	n.out = buf
	n.transmitQueue.Kick()
	return abi.OK
}

// ReceiveFrame implements hil.Ethernet.
func (n *Network) ReceiveFrame(buf []byte) abi.ErrorCode {
	switch {
	case !n.transport.Works():
		return abi.FAIL
	case n.in != nil:
		return abi.BUSY
	case len(buf) < hil.MaxFrame:
		return abi.SIZE
	}
	n.in = buf
	if n.first != n.end {
		n.deferred.Set() // no interrupt tells of what came before
	}
	return abi.OK
}

// HandleDeferredCall gives the client a frame that came before it asked.
func (n *Network) HandleDeferredCall() { n.deliver() }

// lend gives the device room for a frame. There is a slot for each frame, so this cannot fail but on a device that is broken.
func (n *Network) lend(frame int) {
	chain := [1]virtio.Element{{Buffer: n.frames[frame].buffer, Length: bufferSize, Writable: true}}
	if head, e := n.receiveQueue.Add(chain[:]); e == abi.OK {
		n.frames[head].lent = frame
	}
}

// Used implements virtio.Driver.
func (n *Network) Used(q *virtio.Queue, head uint16, written uint32) {
	if q == &n.transmitQueue {
		n.sent(abi.OK)
		return
	}
	frame, size := n.frames[head].lent, int(written)-spec.NetHeaderSize
	switch {
	case size < 0:
		n.transport.Break("it gives frames without a header")
		return
	case size < hil.MinFrame: // nothing that a network carries
		n.lend(frame)
		n.receiveQueue.Kick()
		return
	}
	last := &n.frames[n.end%uint(len(n.frames))]
	last.came, last.n = frame, size
	n.end++
	n.deliver()
}

// deliver gives the client the oldest frame that came, if it waits for one.
func (n *Network) deliver() {
	if n.in == nil || n.first == n.end {
		return
	}
	next := &n.frames[n.first%uint(len(n.frames))]
	n.first++
	buf, frame := n.in, next.came
	n.in = nil
	size := n.frames[frame].buffer.ReadAt(buf[:next.n], spec.NetHeaderSize)
	n.lend(frame)
	n.receiveQueue.Kick()
	n.client.FrameReceived(buf, size, abi.OK)
}

// sent hands the client's frame back.
func (n *Network) sent(e abi.ErrorCode) {
	out := n.out
	n.out = nil
	n.client.FrameSent(out, e)
}

// ConfigChanged implements virtio.Driver.
func (n *Network) ConfigChanged() {
	was := n.linkUp
	if n.readLink() == abi.OK && n.linkUp != was && n.client != nil {
		n.client.LinkChanged()
	}
}

// Broken implements virtio.Driver.
func (n *Network) Broken() {
	if n.out != nil {
		n.sent(abi.FAIL)
	}
	if in := n.in; in != nil {
		n.in = nil
		n.client.FrameReceived(in, 0, abi.FAIL)
	}
}
