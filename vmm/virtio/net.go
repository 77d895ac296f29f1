package virtio

import (
	"encoding/binary"
	"sync/atomic"

	"kapsel/guest/abi/virtio"
	"kapsel/vmm/ethernet"
)

// Network is what a network device is connected to: an ethernet.Port. None of its calls waits.
type Network interface {
	// Start begins to carry frames. From then on ready is called when a frame waits for Receive where none waited
	// before. It may not call the Network.
	Start(ready func())
	// Send takes a copy of a frame. The error says why the frame is lost.
	Send(frame []byte) error
	// Receive takes the frame that waits longest and returns its length, or 0 if none waits.
	Receive(frame *[ethernet.MaxFrame]byte) int
	Close() error
}

// Net is a network device (5.1) without offloads: a request is a header and one frame. A frame from the network waits
// there until the driver has room for it.
type Net struct {
	network Network
	config  [virtio.NetConfigBytes]byte

	awake             atomic.Pointer[Queue] // the receive queue of the session, for whoever has a frame; nil without one
	receive, transmit *Queue
	room              *Chain // for a frame; nil: none yet
	frame             [ethernet.MaxFrame]byte
	sent              [virtio.NetHeaderSize + ethernet.MaxFrame]byte
}

// netQueue is how many descriptors each queue of a network device has at the most.
const netQueue = 256

// NewNet returns a network device that owns its network, and starts it. The MTU is told to the driver, which keeps to it.
func NewNet(network Network, mac ethernet.MAC, mtu uint16) *Net {
	n := &Net{network: network}
	copy(n.config[virtio.NetConfigMAC:], mac[:])
	binary.LittleEndian.PutUint16(n.config[virtio.NetConfigStatus:], virtio.NetStatusLinkUp)
	binary.LittleEndian.PutUint16(n.config[virtio.NetConfigMTU:], mtu)
	network.Start(n.wake)
	return n
}

// ID implements Device.
func (n *Net) ID() uint32 { return virtio.IDNet }

// Features implements Device.
func (n *Net) Features() uint64 {
	return virtio.NetFeatureMAC | virtio.NetFeatureStatus | virtio.NetFeatureMTU
}

// QueueMax implements Device.
func (n *Net) QueueMax() []uint16 { return []uint16{netQueue, netQueue} }

// ReadConfig implements Device.
func (n *Net) ReadConfig(offset uint64, data []byte) { readConfig(n.config[:], offset, data) }

// WriteConfig implements Device: nothing in the configuration can be written.
func (n *Net) WriteConfig(uint64, []byte) {}

// Activate implements Device.
func (n *Net) Activate(_ uint64, queues []*Queue) {
	n.receive, n.transmit = queues[virtio.NetReceiveQueue], queues[virtio.NetTransmitQueue]
	n.awake.Store(n.receive)
}

// Reset implements Device. Frames that come without a session wait for the next.
func (n *Net) Reset() {
	n.awake.Store(nil)
	n.receive, n.transmit, n.room = nil, nil, nil
}

// Save implements Device.
func (n *Net) Save(s *State) {
	s.Net = &NetState{}
	if !s.NeedsReset {
		s.Net.Room = n.room.save()
	}
}

// Restore implements Device.
func (n *Net) Restore(features uint64, queues []*Queue, s *State) (err error) {
	switch {
	case s.Net == nil:
		return errPart
	case queues == nil:
		return noChains(s.Net.Room)
	}
	n.Activate(features, queues)
	n.room, err = n.receive.restoreChain(s.Net.Room)
	return err
}

// Close implements Device.
func (n *Net) Close() error { return n.network.Close() }

// wake has frames given to the driver.
func (n *Net) wake() {
	if q := n.awake.Load(); q != nil {
		q.Wake()
	}
}

// Notify implements Device.
func (n *Net) Notify(queue int) {
	if queue == virtio.NetReceiveQueue {
		n.giveFrames()
	} else {
		n.sendFrames()
	}
}

// giveFrames gives the driver what the network has, as far as both go on; a number of frames at once.
func (n *Net) giveFrames() {
	for range requestsPerTurn {
		if n.room == nil {
			var ok bool
			if n.room, ok = n.receive.Next(); !ok {
				return // and the network waits until the driver has filled the queue
			}
		}
		length := n.network.Receive(&n.frame)
		if length == 0 {
			return // until wake
		}
		n.give(n.frame[:length])
	}
	n.receive.Wake()
}

// give gives a frame to the driver. One for which the room is too small is lost: it goes into one request (5.1.6.4), and
// the room may do for the next.
func (n *Net) give(frame []byte) {
	size := uint64(virtio.NetHeaderSize + len(frame))
	if n.room.Writable() < size {
		n.receive.CountError()
		return
	}
	var header [virtio.NetHeaderSize]byte
	binary.LittleEndian.PutUint16(header[virtio.NetHeaderBuffers:], 1)
	n.room.Write(header[:])
	n.room.Write(frame)
	n.receive.Use(n.room, uint32(size))
	n.room = nil
}

func (n *Net) sendFrames() {
	for {
		c, ok := n.transmit.Next()
		if !ok {
			return
		}
		if !n.send(c) {
			n.transmit.CountError()
		}
		n.transmit.Use(c, 0)
	}
}

// What a header says of a frame that it is to be sent as the offloads, which the device has not, would make it (5.1.6).
const (
	headerFlags        = 0
	headerSegmentation = 1
	flagNeedsChecksum  = 1
)

// send copies a request and sends the frame. It returns false if there is none that can be sent. That the network has no
// room for one is no error of the driver's, and not told.
func (n *Net) send(c *Chain) bool {
	if c.Readable() > uint64(len(n.sent)) {
		return false
	}
	request := n.sent[:c.Read(n.sent[:])]
	if len(request) < virtio.NetHeaderSize+ethernet.HeaderSize {
		return false
	}
	if request[headerSegmentation] != 0 || request[headerFlags]&flagNeedsChecksum != 0 {
		return false
	}
	n.network.Send(request[virtio.NetHeaderSize:])
	return true
}
