package virtioports

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// Port is a port with a name, and implements hil.Port.
type Port struct {
	driver *Ports
	name   string
	line   *line // nil: the device has none of the name
	client hil.PortClient

	sending    []byte // nil: nothing is being sent
	size, sent int    // bytes of sending, and how many of them went to the device
	room       []byte // nil: nobody receives
}

// SetPortClient implements hil.Port.
func (p *Port) SetPortClient(client hil.PortClient) { p.client, p.sending, p.room = client, nil, nil }

// State implements hil.Port.
func (p *Port) State() abi.ErrorCode {
	switch {
	case p.line != nil && p.line.open: // which no line of a broken device is
		return abi.OK
	case p.driver == nil || p.driver.told && !p.driver.transport.Works():
		return abi.FAIL
	case p.line == nil:
		return abi.NODEVICE
	}
	return abi.OFF
}

// Send implements hil.Port.
func (p *Port) Send(buf []byte, n int) abi.ErrorCode {
	switch e := p.State(); {
	case e != abi.OK:
		return e
	case !p.free():
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	p.sending, p.size, p.sent = buf, n, 0
	p.send()
	return abi.OK
}

// Post implements hil.Port.
func (p *Port) Post(b []byte) abi.ErrorCode {
	switch e := p.State(); {
	case e != abi.OK:
		return e
	case !p.free():
		return abi.BUSY
	case len(b) == 0 || len(b) > hil.PortPiece:
		return abi.SIZE
	}
	p.line.lend(b)
	p.line.transmit.KickQuietly()
	return abi.OK
}

// free reports whether nothing is being sent. What was before may be of before the port was closed.
func (p *Port) free() bool { return p.sending == nil && p.line.transmit.Collect() }

// send lends the device the next piece of what is being sent.
func (p *Port) send() {
	p.sent += p.line.lend(p.sending[p.sent:p.size])
	p.line.transmit.Kick()
}

// went goes on with what is being sent, or hands its buffer back. If nobody is called for it the next can be sent.
func (p *Port) went() {
	switch {
	case p.sending == nil:
		p.changed()
	case p.sent < p.size:
		p.send()
	default:
		p.endSend(abi.OK)
	}
}

// endSend hands the buffer of what was being sent back.
func (p *Port) endSend(e abi.ErrorCode) {
	buf := p.sending
	if buf == nil {
		return
	}
	p.sending = nil
	p.client.Sent(buf, p.size, e)
}

// Receive implements hil.Port.
func (p *Port) Receive(buf []byte) abi.ErrorCode {
	holds := p.holds()
	if !holds {
		if e := p.State(); e != abi.OK {
			return e
		}
	}
	switch {
	case p.room != nil:
		return abi.BUSY
	case len(buf) == 0:
		return abi.SIZE
	}
	p.room = buf
	if holds {
		p.driver.deferred.Set() // no interrupt tells of what came before
	} else {
		p.line.listen()
	}
	return abi.OK
}

// holds reports whether there are bytes that came and nobody took. Those of a device that has broken are nobody's.
func (p *Port) holds() bool {
	return p.line != nil && p.line.at != p.line.end && p.driver.transport.Works()
}

// take gives the client what came, if it waits for that.
func (p *Port) take() {
	if p.room != nil && p.holds() {
		p.receive(p.line)
	}
}

// receive gives the client, which waits, what of the line's input nobody took.
func (p *Port) receive(l *line) {
	buf := p.room
	n := l.input.Read(buf, l.at, l.end)
	l.at += n
	p.room = nil
	p.client.Received(buf, n, abi.OK)
}

// endReceive hands the buffer of who receives back.
func (p *Port) endReceive(n int, e abi.ErrorCode) {
	buf := p.room
	if buf == nil {
		return
	}
	p.room = nil
	p.client.Received(buf, n, e)
}

// changed tells the client of another state, which ends what was under way if the port cannot be used any more. What came before is
// received all the same.
func (p *Port) changed() {
	if e := p.State(); e != abi.OK {
		p.endSend(e)
		if !p.holds() {
			p.endReceive(0, e)
		}
	}
	if p.client != nil {
		p.client.PortChanged()
	}
}

// lend lends the device as much of b as it takes at once, and returns how much that is.
func (l *line) lend(b []byte) int {
	n := l.output.WriteAt(b, 0)
	l.transmit.AddOne(l.output, n, false)
	return n
}

// listen lends the device room for input, unless it has that already.
func (l *line) listen() {
	if l.receive.InFlight() == 0 {
		l.receive.AddOne(l.input, inputSize, true)
		l.receive.Kick()
	}
}

// came has n bytes of input, which wait if nobody receives. A device that gives none back is asked again.
func (l *line) came(n int) {
	l.at, l.end = 0, n
	switch {
	case l.port == nil || l.port.room == nil:
	case n == 0:
		l.listen()
	default:
		l.port.receive(l)
	}
}

// changed tells the line's port that it is open or closed.
func (l *line) changed() {
	if l.port != nil {
		l.port.changed()
	}
}
