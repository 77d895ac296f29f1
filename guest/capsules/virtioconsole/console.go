// Package virtioconsole drives a virtio console with one port (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.3). It
// implements hil.UART and hil.PollingTransmitter. A UART stands by: for output by polling, and if the console breaks.
package virtioconsole

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Sizes of what is lent to the device at once, in bytes.
const (
	transmitSize = 4096
	receiveSize  = 64
)

// maxPolls is how often a transmission under way is looked at before it is given up.
const maxPolls = 1 << 24

// StandBy is a serial line that is used where the console cannot be.
type StandBy interface {
	hil.UART
	hil.PollingTransmitter
}

// Console is the driver of one device.
type Console struct {
	transport     virtio.Transport
	receiveQueue  virtio.Queue
	transmitQueue virtio.Queue
	receiveSlot   [1]virtio.Slot
	transmitSlot  [1]virtio.Slot
	standBy       StandBy
	deferred      kernel.DeferredCall
	midLine       bool // the last byte that was sent was no newline

	transmitClient hil.TransmitClient
	transmit       transfer
	output         dma.Buffer

	receiveClient hil.ReceiveClient
	receive       transfer
	aborted       bool
	input         dma.Buffer
	at, end       int // bytes of input that came and nobody took
}

// transfer is a client's buffer under way: the first done of its n bytes are moved.
type transfer struct {
	buf     []byte // nil if nothing is under way
	n, done int
}

// start takes a buffer, or says why not.
func (t *transfer) start(buf []byte, n int) abi.ErrorCode {
	if t.buf != nil {
		return abi.BUSY
	}
	if n <= 0 || n > len(buf) {
		return abi.SIZE
	}
	t.buf, t.n, t.done = buf, n, 0
	return abi.OK
}

// Init ties the driver to its device, and to the line that stands by. The device's interrupt goes to HandleInterrupt. It
// returns abi.FAIL if the device is broken, which was told then: the driver can be used all the same, and uses the line.
func (c *Console) Init(k *kernel.Kernel, place virtio.Place, line StandBy) abi.ErrorCode {
	c.standBy = line
	c.deferred.Register(k, c)
	t := &c.transport
	t.Init(k, place, "console", c, c)
	c.output, c.input = place.Memory.Buffer(transmitSize), place.Memory.Buffer(receiveSize)
	if e := t.Start(spec.IDConsole, 0); e != abi.OK {
		return e
	}
	// A device answers when whoever reads the console does, or types: it owes no answer.
	if e := c.receiveQueue.Init(t, spec.ConsoleReceiveQueue, c.receiveSlot[:], 1, false); e != abi.OK {
		return e
	}
	if e := c.transmitQueue.Init(t, spec.ConsoleTransmitQueue, c.transmitSlot[:], 1, false); e != abi.OK {
		return e
	}
	return t.Ready()
}

// HandleInterrupt serves the device's interrupt.
func (c *Console) HandleInterrupt() { c.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (c *Console) AlarmFired() { c.transport.AlarmFired() }

// SetTransmitClient implements hil.Transmitter.
func (c *Console) SetTransmitClient(client hil.TransmitClient) {
	c.transmitClient = client
	c.standBy.SetTransmitClient(client)
}

// SetReceiveClient implements hil.Receiver.
func (c *Console) SetReceiveClient(client hil.ReceiveClient) {
	c.receiveClient = client
	c.standBy.SetReceiveClient(client)
}

// Transmit implements hil.Transmitter.
func (c *Console) Transmit(buf []byte, n int) abi.ErrorCode {
	if !c.transport.Works() {
		return c.fallBack(buf, n)
	}
	if e := c.transmit.start(buf, n); e != abi.OK {
		return e
	}
	c.send()
	return abi.OK
}

// fallBack transmits by the line that stands by.
func (c *Console) fallBack(buf []byte, n int) abi.ErrorCode {
	e := c.standBy.Transmit(buf, n)
	if e == abi.OK {
		c.sent(buf, n)
	}
	return e
}

// send lends the device the next piece of the client's buffer. The driver has one transmission at a time, so there is room.
func (c *Console) send() {
	t := &c.transmit
	n := c.output.WriteAt(t.buf[t.done:t.n], 0)
	c.transmitQueue.AddOne(c.output, n, false)
	c.transmitQueue.Kick()
	t.done += n
}

// Receive implements hil.Receiver.
func (c *Console) Receive(buf []byte, n int) abi.ErrorCode {
	if !c.transport.Works() {
		return c.standBy.Receive(buf, n)
	}
	if e := c.receive.start(buf, n); e != abi.OK {
		return e
	}
	c.aborted = false
	if c.at != c.end {
		c.deferred.Set() // no interrupt tells of what came before
		return abi.OK
	}
	c.listen()
	return abi.OK
}

// listen lends the device room for input, unless it has that already.
func (c *Console) listen() {
	if c.receiveQueue.InFlight() == 0 {
		c.receiveQueue.AddOne(c.input, receiveSize, true)
		c.receiveQueue.Kick()
	}
}

// AbortReceive implements hil.Receiver. What the device gives later waits for the next Receive.
func (c *Console) AbortReceive() abi.ErrorCode {
	if !c.transport.Works() {
		return c.standBy.AbortReceive()
	}
	if c.receive.buf == nil {
		return abi.ALREADY
	}
	c.aborted = true
	c.deferred.Set()
	return abi.OK
}

// HandleDeferredCall goes on with a reception for which there is input, or ends one that was aborted.
func (c *Console) HandleDeferredCall() {
	switch {
	case c.receive.buf == nil:
	case c.aborted:
		c.received(abi.CANCEL)
	default:
		c.take()
	}
}

// take gives the client what came, and asks for more if that is not all it wants.
func (c *Console) take() {
	r := &c.receive
	n := c.input.Read(r.buf[r.done:r.n], c.at, c.end)
	r.done += n
	c.at += n
	if r.done == r.n {
		c.received(abi.OK)
		return
	}
	c.listen()
}

// received hands the receive buffer back.
func (c *Console) received(e abi.ErrorCode) {
	r := c.receive
	c.receive = transfer{}
	c.receiveClient.Received(r.buf, r.done, e)
}

// Used implements virtio.Driver: it goes on with a transmission, or hands the buffer back when all was sent.
func (c *Console) Used(q *virtio.Queue, _ uint16, written uint32) {
	t := &c.transmit
	switch {
	case q == &c.receiveQueue:
		c.came(int(written))
		return
	case t.buf == nil: // it went by polling
		return
	case t.done < t.n:
		c.send()
		return
	}
	buf := t.buf
	t.buf = nil
	c.sent(buf, t.n)
	c.transmitClient.Transmitted(buf, t.n, abi.OK)
}

// came has n bytes of input, which wait if nobody receives.
func (c *Console) came(n int) {
	c.at, c.end = 0, n
	if c.receive.buf != nil && !c.aborted {
		c.take()
	}
}

// sent notes how the n bytes of a buffer that were sent end.
func (c *Console) sent(buf []byte, n int) {
	if n != 0 {
		c.midLine = buf[n-1] != '\n'
	}
}

// MidLine implements hil.PollingTransmitter.
func (c *Console) MidLine() bool { return c.midLine }

// ConfigChanged implements virtio.Driver: the size of a terminal is nobody's business.
func (c *Console) ConfigChanged() {}

// Broken implements virtio.Driver: what was under way goes on by the line that stands by. It does not know how much of its last
// piece the device has sent.
func (c *Console) Broken() {
	t, r := c.transmit, c.receive
	c.transmit, c.receive = transfer{}, transfer{}
	if t.buf != nil && c.fallBack(t.buf, t.n) != abi.OK {
		c.transmitClient.Transmitted(t.buf, 0, abi.FAIL)
	}
	if r.buf != nil {
		c.receiveClient.Received(r.buf, r.done, abi.CANCEL)
	}
}

// TransmitPolling implements hil.PollingTransmitter. What the device has not taken in time is left to it; all else goes by the
// line that stands by, which nobody else uses any more.
func (c *Console) TransmitPolling(buf []byte) {
	t := &c.transmit
	if t.buf != nil {
		for polls := 0; polls < maxPolls && !c.transmitQueue.Done(); polls++ {
		}
		c.sent(t.buf, t.n)
		c.standBy.TransmitPolling(t.buf[t.done:t.n])
		*t = transfer{}
	}
	c.sent(buf, len(buf))
	c.standBy.TransmitPolling(buf)
}
