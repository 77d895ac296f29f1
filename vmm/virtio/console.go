package virtio

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"kapsel/guest/abi/virtio"
)

// Line is the outer end of a machine's console, which a console device shares with the UART: what both send goes out in
// turn, and what is typed goes to one of them. See device.Serial.
type Line interface {
	// Offer sends as much of p as there is room for, and returns how much.
	Offer(p []byte) int
	// Await waits until Offer has room.
	Await()
	// Fetch moves what was typed to p, as much as there is, and returns how much.
	Fetch(p []byte) int
	// Divert has what is typed go to the device, whose wake is called when there is something to fetch, and when
	// there is room for what Offer did not take; or to the UART again, if wake is nil.
	Divert(wake func())
}

// Console is a console device (5.3) with one port. It has no memory of its own for what is sent and typed: what the line
// does not take stays in the driver's queue, and what the driver has no room for stays in the line.
type Console struct {
	line Line
	size atomic.Uint32 // columns, and rows in the upper half

	mu                sync.Mutex // holds the rest
	receive, transmit *Queue     // nil without a session
	receiver          receiver   // of what is typed
	sender            sender
	flushing          bool // somebody waits until transmit is empty
	flushed           sync.Cond
}

// consoleQueue is how many descriptors each queue of a console has at the most.
const consoleQueue = 64

// NewConsole returns a console device at a line.
func NewConsole(line Line) *Console {
	c := &Console{line: line}
	c.flushed.L = &c.mu
	return c
}

// ID implements Device.
func (c *Console) ID() uint32 { return virtio.IDConsole }

// Features implements Device.
func (c *Console) Features() uint64 {
	return virtio.ConsoleFeatureSize | virtio.ConsoleFeatureEmergencyWrite
}

// QueueMax implements Device.
func (c *Console) QueueMax() []uint16 { return []uint16{consoleQueue, consoleQueue} }

// ReadConfig implements Device (5.3.4).
func (c *Console) ReadConfig(offset uint64, data []byte) {
	var config [virtio.ConsoleConfigBytes]byte
	binary.LittleEndian.PutUint32(config[virtio.ConsoleConfigColumns:], c.size.Load())
	binary.LittleEndian.PutUint32(config[virtio.ConsoleConfigMaxPorts:], 1)
	readConfig(config[:], offset, data)
}

// WriteConfig implements Device: a character, to be sent at once, in whatever state the device is.
func (c *Console) WriteConfig(offset uint64, data []byte) {
	if offset != virtio.ConsoleConfigEmergencyWrite {
		return
	}
	c.Flush()
	for c.line.Offer(data[:1]) == 0 {
		c.line.Await()
	}
}

// Resize sets the size that the driver sees, in characters; 0 by 0, as at first, is unknown. It reports whether it is
// another one: then the driver is to be told, by MMIO.ConfigChanged.
func (c *Console) Resize(columns, rows uint16) bool {
	size := uint32(columns) | uint32(rows)<<16
	return c.size.Swap(size) != size
}

// Activate implements Device. From now on what is typed is the driver's.
func (c *Console) Activate(_ uint64, queues []*Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	receive, transmit := queues[virtio.ConsoleReceiveQueue], queues[virtio.ConsoleTransmitQueue]
	c.receive, c.transmit = receive, transmit
	c.line.Divert(func() {
		receive.Wake()
		transmit.Wake()
	})
}

// Reset implements Device.
func (c *Console) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Divert(nil)
	c.receive, c.transmit, c.receiver, c.sender = nil, nil, receiver{}, sender{}
	c.endFlush()
}

// Save implements Device.
func (c *Console) Save(s *State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := c.size.Load()
	s.Console = &ConsoleState{Columns: uint16(size), Rows: uint16(size >> 16)}
	if !s.NeedsReset {
		s.Console.Room, s.Console.Sending = c.receiver.room.save(), c.sender.sending.save()
	}
}

// Restore implements Device.
func (c *Console) Restore(features uint64, queues []*Queue, s *State) (err error) {
	if s.Console == nil {
		return errPart
	}
	c.Resize(s.Console.Columns, s.Console.Rows)
	if queues == nil {
		return noChains(s.Console.Room, s.Console.Sending)
	}
	c.Activate(features, queues)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.receiver.room, err = c.receive.restoreChain(s.Console.Room); err != nil {
		return err
	}
	c.sender.sending, err = c.transmit.restoreChain(s.Console.Sending)
	return err
}

// Close implements Device. The line is another's.
func (c *Console) Close() error { return nil }

// Notify implements Device.
func (c *Console) Notify(queue int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if queue == virtio.ConsoleReceiveQueue {
		var typed [256]byte
		c.receiver.receive(c.receive, typed[:], c.line.Fetch)
	} else {
		c.send()
	}
	if c.transmit.session.broken() {
		c.endFlush()
	}
}

// send sends what the driver gave, as far as the line has room.
func (c *Console) send() {
	if c.sender.send(c.transmit, c.line.Offer) {
		c.endFlush()
	}
}

// Flush returns when the line has taken all that the driver had given before the call. So what the guest sends by the UART
// afterwards comes afterwards. It is for the processor's thread: while the guest runs it may have no end.
func (c *Console) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transmit == nil || c.transmit.session.broken() {
		return
	}
	c.flushing = true
	c.transmit.Wake()
	for c.flushing {
		c.transmit.session.await(&c.flushed)
	}
}

// endFlush lets whoever waits in Flush go on.
func (c *Console) endFlush() {
	c.flushing = false
	c.flushed.Broadcast()
}
