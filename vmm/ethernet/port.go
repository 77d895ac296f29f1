// Package ethernet connects a network device of the monitor to a network: a TAP interface, a peer by
// a socket, another device in memory, or what else is a Backend, as package user's. A Port stands
// between the two: it holds the queues, the rules for frames, the counters and the capture, so
// that neither the device nor a backend has any.
package ethernet

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of frames in bytes, without preamble and check sequence (IEEE 802.3, 3.1.1).
const (
	// HeaderSize is the length of an Ethernet header, and of the shortest frame that passes.
	HeaderSize = 14
	// MTU is the most that a frame carries behind its header.
	MTU = 1500
	// MaxFrame is the length of the longest frame that passes.
	MaxFrame = HeaderSize + MTU
)

// A Backend carries frames between a Port and a network. ReadFrame and WriteFrame may wait; each
// is called by one goroutine at a time, and both return soon after Close.
type Backend interface {
	// ReadFrame waits for a frame from the network and returns its length, of which the first
	// len(buffer) bytes are in buffer. An error means that no more will come.
	ReadFrame(buffer []byte) (int, error)
	// WriteFrame gives a frame to the network and does not keep it. An error means that this
	// frame is lost; the next may pass.
	WriteFrame(frame []byte) error
	// Close ends the connection. It is called once.
	Close() error
}

// errLength is why a frame does not pass.
var errLength = fmt.Errorf("want a frame of %d to %d bytes", HeaderSize, MaxFrame)

// passes is the rule for frames of both directions.
func passes(length int) bool { return length >= HeaderSize && length <= MaxFrame }

// Stats counts the frames of a Port, as the device sees them.
type Stats struct {
	// Sent frames were taken by the backend, Received ones were given to the device.
	Sent, SentBytes, Received, ReceivedBytes uint64
	// SentDropped frames found the queue full, or the backend could not take them.
	SentDropped uint64
	// SentBad and ReceivedBad frames were shorter than HeaderSize or longer than MaxFrame.
	SentBad, ReceivedBad uint64
}

// String returns them in words.
func (s Stats) String() string {
	return fmt.Sprintf("%d frames sent, %d of them lost, %d received; %d and %d refused for their length",
		s.Sent+s.SentDropped, s.SentDropped, s.Received, s.SentBad, s.ReceivedBad)
}

// counters are the live Stats.
type counters struct {
	sent, sentBytes, received, receivedBytes, sentDropped, sentBad, receivedBad atomic.Uint64
}

// lingers is how long Close waits for what the device has sent last.
const lingers = 100 * time.Millisecond

// A Port is a network device's end of a backend. The device's calls never wait. Frames to the
// network wait in a queue of QueueSize frames; behind that they are dropped. Frames from the
// network wait in another for the device to have room for them; behind that the backend is not read.
type Port struct {
	mac     MAC
	backend Backend
	capture *Capture // nil: none
	log     func(format string, args ...any)
	ready   func()
	in, out ring
	stats   counters

	mu      sync.Mutex
	started bool
	ended   chan struct{} // closed by Close
	reader  sync.WaitGroup
	writer  chan struct{} // closed when the writing goroutine has ended
	linger  time.Duration // lingers
}

// NewPort returns the Port of a device with an address. It owns the backend, and the capture unless that is nil. Log takes a
// line when the backend fails for the first time in a direction; nil discards it.
func NewPort(mac MAC, backend Backend, capture *Capture, log func(format string, args ...any)) *Port {
	if log == nil {
		log = func(string, ...any) {}
	}
	p := &Port{mac: mac, backend: backend, capture: capture, log: log, writer: make(chan struct{}), ended: make(chan struct{}), linger: lingers}
	p.in.init()
	p.out.init()
	return p
}

// MAC is the device's address.
func (p *Port) MAC() MAC { return p.mac }

// MTU is the most that a frame carries behind its header on the network: what the backend's method MTU returns, if it has one, and not more than
// the constant.
func (p *Port) MTU() uint16 {
	if b, ok := p.backend.(interface{ MTU() int }); ok {
		return uint16(min(b.MTU(), MTU))
	}
	return MTU
}

// Backend is what the Port was made of, which may have counters of its own. It is the Port that calls it.
func (p *Port) Backend() Backend { return p.backend }

// Start begins to carry frames; before it they wait. It is called once, and does nothing after Close. Ready is called on another goroutine when a frame waits
// for Receive where none waited before. It must not wait, and may not call the Port.
func (p *Port) Start(ready func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return
	}
	p.ready, p.started = ready, true
	p.reader.Go(p.read)
	go p.write()
}

// Send takes a copy of a frame to the network. One that is too short, too long, or finds the queue
// full is dropped and counted. The error says which, for who wants to know.
func (p *Port) Send(frame []byte) error {
	if !passes(len(frame)) {
		p.stats.sentBad.Add(1)
		return fmt.Errorf("%w, found %d", errLength, len(frame))
	}
	if !p.out.put(frame) {
		p.stats.sentDropped.Add(1)
		return errors.New("the network takes frames slower than they are sent")
	}
	return nil
}

// Receive takes the frame that waits longest into buffer and returns its length, or 0 if none waits. A
// device calls it when it has room for a frame: after ready was called, and when the guest has made room.
// It goes on until Receive returns 0 or there is no room.
func (p *Port) Receive(buffer *[MaxFrame]byte) int {
	n := p.in.take(buffer)
	if n > 0 {
		p.stats.received.Add(1)
		p.stats.receivedBytes.Add(uint64(n))
	}
	return n
}

// Stats returns the counters. It may be called at any time.
func (p *Port) Stats() Stats {
	c := &p.stats
	return Stats{
		Sent: c.sent.Load(), SentBytes: c.sentBytes.Load(),
		Received: c.received.Load(), ReceivedBytes: c.receivedBytes.Load(),
		SentDropped: c.sentDropped.Load(), SentBad: c.sentBad.Load(), ReceivedBad: c.receivedBad.Load(),
	}
}

// Close ends the Port and its backend, and its capture. What was sent last may still go out, for at
// most a tenth of a second. Send and Receive may be called afterwards: they drop and find nothing. The
// error is the backend's or the capture's. A second Close does nothing.
func (p *Port) Close() error {
	p.mu.Lock()
	closed, started := p.isClosed(), p.started
	if !closed {
		close(p.ended)
	}
	p.mu.Unlock()
	if closed {
		return nil
	}
	p.in.close()
	p.out.close()
	if started {
		select {
		case <-p.writer:
		case <-time.After(p.linger):
		}
	}
	err := p.backend.Close()
	if started {
		p.reader.Wait()
		<-p.writer
	}
	if p.capture != nil {
		err = errors.Join(err, p.capture.Close())
	}
	return err
}

// isClosed reports whether Close was called.
func (p *Port) isClosed() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// read brings the network's frames to the device until the backend ends.
func (p *Port) read() {
	buffer := make([]byte, 1<<16) // more than MaxFrame, so that longer frames are known as such
	for {
		n, err := p.backend.ReadFrame(buffer)
		if err != nil {
			if !p.isClosed() {
				p.log("network: nothing is received any more: %v", err)
			}
			return
		}
		if !passes(n) {
			p.stats.receivedBad.Add(1)
			continue
		}
		p.record(buffer[:n])
		first, ok := p.in.putWait(buffer[:n])
		if !ok {
			return
		}
		if first {
			p.ready()
		}
	}
}

// write brings the device's frames to the network until Close.
func (p *Port) write() {
	defer close(p.writer)
	var frame [MaxFrame]byte
	failed := false
	for {
		n := p.out.takeWait(&frame)
		if n == 0 {
			return
		}
		p.record(frame[:n]) // before an answer can come
		if err := p.backend.WriteFrame(frame[:n]); err != nil {
			p.stats.sentDropped.Add(1)
			if !failed && !p.isClosed() {
				failed = true
				p.log("network: a frame is lost, as may be others: %v", err)
			}
			continue
		}
		p.stats.sent.Add(1)
		p.stats.sentBytes.Add(uint64(n))
	}
}

// record gives a frame to the capture, if there is one.
func (p *Port) record(frame []byte) {
	if p.capture != nil {
		p.capture.Frame(frame)
	}
}
