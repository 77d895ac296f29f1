package service

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// lastSize is how many bytes of payload the last frame of a call has at most, behind its name.
const lastSize = outputSize - abi.ServiceHeader - abi.ServiceName

// input is what comes from the host.
type input struct {
	buffer  []byte
	at, end int  // what of it came and was not looked at
	waits   bool // for more
	state   state

	head   [abi.ServiceHeader + abi.ServiceName]byte // of a frame that came in pieces, with the name
	got    int                                       // of it
	wanted int                                       // likewise, before it can be looked at
	call   uint32                                    // whose payload comes; 0: nobody's
	size   uint32                                    // of the payload
	came   uint32                                    // of it
}

// state is what the host sends next.
type state uint8

const (
	closed  state = iota // nothing, until the port is open
	header               // or the rest of one
	payload              // likewise
	broken               // nothing of meaning: the last frame was none
)

// up reports whether host and kernel talk: PortChanged tells when the port is not open any more.
func (d *Service) up() bool { return d.in.state == header || d.in.state == payload }

// PortChanged implements hil.PortClient.
func (d *Service) PortChanged() {
	open := d.port.State() == abi.OK
	switch {
	case open == (d.in.state != closed): // or what was sent before is gone
		d.send()
		d.read()
	case open:
		d.next()
		d.send()
		d.read()
	default:
		d.in.state, d.in.waits, d.in.at, d.in.end, d.in.call = closed, false, 0, 0, 0
		d.greeted, d.hello = false, false
		d.forget(true)
	}
}

// next waits for a frame.
func (d *Service) next() {
	in := &d.in
	in.state, in.got, in.wanted, in.call = header, 0, abi.ServiceHeader, 0
}

// Received implements hil.PortClient.
func (d *Service) Received(_ []byte, n int, e abi.ErrorCode) {
	d.in.waits = false
	if e == abi.OK {
		d.in.at, d.in.end = 0, n
		d.read()
	}
}

// read looks at what came, and waits for more. While the host is owed an answer to what it said before, it waits.
func (d *Service) read() {
	in := &d.in
	for in.at != in.end && !d.owes() && d.up() {
		if in.state == header {
			d.readHeader()
		} else {
			d.readPayload()
		}
	}
	if in.at == in.end && !in.waits && d.up() {
		if in.waits = d.port.Receive(in.buffer) == abi.OK; !in.waits && d.port.State() == abi.OK {
			d.hangUp("the port is open, and takes no buffer")
		}
	}
}

// owes reports whether the host is owed an answer that no call keeps.
func (d *Service) owes() bool { return d.hello || d.refused }

// readHeader reads what came of a header, and does what it says once it is whole: as mostly at once, where it lies.
func (d *Service) readHeader() {
	in := &d.in
	if b := in.buffer[in.at:in.end]; in.got == 0 && len(b) >= abi.ServiceHeader {
		if size := abi.ServiceHeader + int(b[3]); size <= len(b) {
			in.at += size
			d.begun((*[abi.ServiceHeader]byte)(b), b[abi.ServiceHeader:size])
			return
		}
	}
	n := copy(in.head[in.got:in.wanted], in.buffer[in.at:in.end])
	in.at += n
	if in.got += n; in.got < in.wanted {
		return
	}
	d.begun((*[abi.ServiceHeader]byte)(in.head[:]), in.head[abi.ServiceHeader:in.got])
}

// begun does what the header of a frame says, once the name behind it is there, too.
func (d *Service) begun(head *[abi.ServiceHeader]byte, name []byte) {
	in := &d.in
	kind := head[1]
	in.size, in.came = word((*[4]byte)(head[8:])), 0
	switch {
	case head[0] != abi.ServiceVersion || head[3] > abi.ServiceName || in.size > abi.ServicePayload,
		(kind == abi.ServiceCall) != (head[3] != 0),
		kind != abi.ServiceCall && kind != abi.ServiceAnswer && in.size != 0:
		d.hangUp("what the host sent is no frame")
		return
	case len(name) < int(head[3]):
		in.wanted = abi.ServiceHeader + int(head[3])
		return
	}
	in.state = payload
	switch kind {
	case abi.ServiceHello:
		d.forget(false)
		d.greeted, d.hello = true, true
		d.send()
	case abi.ServiceSettle:
		d.settle = true
	case abi.ServiceCall:
		d.called(head, name)
	case abi.ServiceAnswer:
		d.answered(head)
	default:
		d.hangUp("what the host sent is no frame")
		return
	}
	if in.size == 0 {
		d.whole()
	}
}

// hangUp ends the conversation, as where the next frame begins is not known.
func (d *Service) hangUp(why string) {
	d.in.state, d.in.call = broken, 0
	d.forget(true)
	w := d.kernel.Messages()
	w.WriteString("kapsel: services: ")
	w.WriteString(why)
	w.WriteString(": nothing more is heard until the host opens the port anew\n")
}

// called opens a call of the host's, or refuses it.
func (d *Service) called(head *[abi.ServiceHeader]byte, name []byte) {
	id, e := d.named.Find(d.kernel, name)
	number, takes := word((*[4]byte)(head[4:])), e == abi.OK && d.takes(id)
	switch {
	case e != abi.OK:
	case d.open == len(d.calls), !takes && (d.holding != 0 || d.in.size > abi.ServiceHeld):
		e = abi.BUSY
	}
	if e != abi.OK {
		d.refused, d.refusal, d.status = true, number, e
		d.send()
		return
	}
	c := d.begin(id, holding)
	c.number, c.most = number, min(word((*[4]byte)(head[12:])), abi.ServicePayload)
	d.in.call = c.id
	if takes {
		c.stage = arriving
	} else {
		d.holding, d.heldSize = c.id, 0
	}
}

// answered finds the task's call that the host answers. One that is over, or not the task's latest, is passed over.
func (d *Service) answered(head *[abi.ServiceHeader]byte) {
	for i := range d.open {
		c := &d.calls[i]
		if c.stage != asked || c.id != word((*[4]byte)(head[4:])) || c != d.latest(c.task) {
			continue
		}
		d.in.call = c.id
		c.status = abi.ErrorCode(head[2])
		switch {
		case c.status > abi.NOACK, c.status != abi.OK && d.in.size != 0:
			c.status = abi.FAIL
		case d.in.size > c.most:
			c.status = abi.SIZE
		}
	}
}

// readPayload reads a piece of a payload.
func (d *Service) readPayload() {
	in := &d.in
	piece := in.buffer[in.at:in.end]
	if left := in.size - in.came; uint32(len(piece)) > left {
		piece = piece[:left]
	}
	in.at += len(piece)
	if c := d.find(in.call); c != nil {
		switch {
		case c.stage == holding:
			d.heldSize += copy(d.held[d.heldSize:], piece)
		case c.status == abi.OK && (c.stage == arriving || c.stage == asked):
			d.fill(c, piece, uint64(in.came))
		}
	}
	if in.came += uint32(len(piece)); in.came == in.size {
		d.whole()
	}
}

// whole does what a frame asks for.
func (d *Service) whole() {
	id, size := d.in.call, d.in.size
	d.next()
	if i := d.index(id); i >= 0 {
		switch c := &d.calls[i]; c.stage {
		case arriving:
			d.came(c, size)
		case asked:
			if c.status != abi.OK {
				size = 0
			}
			d.finish(i, c.status, size)
		}
		d.handOver()
	}
}

// send sends what is to be sent, as far as the port takes it. No other frame comes between the parts of a payload.
func (d *Service) send() {
	waits := d.owes()
	for d.owesFrame() && d.greeted && d.up() && d.sendNext() {
	}
	if waits && !d.owes() {
		d.deferred.Set() // to read on
	}
}

// owesFrame reports whether there may be a frame to be sent.
func (d *Service) owesFrame() bool { return d.open != 0 || d.owes() }

// sendNext sends a frame, or reports false if there is none, or the port does not take it. It may be that there was one that cannot be sent any more.
func (d *Service) sendNext() bool {
	switch {
	case d.partly != 0:
		return d.sendCall(d.index(d.partly))
	case d.hello:
		d.hello = !d.transmit(abi.ServiceHello, 0, 0, 0, 0, 0)
		return !d.hello
	case d.refused:
		d.refused = !d.transmit(abi.ServiceAnswer, d.status, d.refusal, 0, 0, 0)
		return !d.refused
	}
	for i := range d.open {
		if s := d.calls[i].stage; s == answering || s == asking {
			return d.sendCall(i)
		}
	}
	return false
}

// sendCall sends what is next of a call: a part of its payload, or the last.
func (d *Service) sendCall(i int) bool {
	c := &d.calls[i]
	n := c.size - c.sent
	part := n > lastSize
	if part {
		n = min(n, outputSize-abi.ServiceHeader)
	}
	name, ok := 0, true
	if n != 0 || c.stage == asking {
		name, ok = d.load(c, int(n), !part && c.stage == asking)
	}
	switch {
	case !ok:
		d.unreadable(i)
		return true
	case part:
		if d.transmit(abi.ServicePart, 0, c.number, 0, int(n), 0) {
			c.sent += n
			d.partly = c.id
			d.deferred.Set() // a host may be quick, and a payload long: the rest is other pieces of work
		}
		return false
	case c.stage == asking:
		ok = d.transmit(abi.ServiceCall, 0, c.number, name, int(n), c.most)
		if ok {
			c.stage, c.sent, d.partly = asked, c.size, 0
			d.handOver()
		}
	default:
		ok = d.transmit(abi.ServiceAnswer, c.status, c.number, 0, int(n), c.reason)
		if ok {
			if c.waited {
				d.wasRead(c, abi.OK)
			}
			d.end(i)
		}
	}
	return ok
}

// load reads the next n bytes of a call's payload into the frame that is to be sent, behind the name if that is wanted. It reports false if they, or the name,
// are not there any more.
func (d *Service) load(c *call, n int, named bool) (name int, ok bool) {
	d.grant.Enter(c.task, func(_ *task, data *kernel.TaskData) {
		bytes := data.ReadOnly(answerBuffer)
		if c.stage == asking {
			bytes = data.ReadOnly(askBuffer)
		}
		if named {
			name = data.ReadOnly(nameBuffer).ReadAt(d.out[abi.ServiceHeader:][:abi.ServiceName], 0)
		}
		ok = named == (name != 0) && bytes.ReadAt(d.out[abi.ServiceHeader+name:][:n], uint64(c.sent)) == n
	})
	return name, ok
}

// unreadable gives up what a task wants to send, because it took the buffer away.
func (d *Service) unreadable(i int) {
	d.partly = 0
	c := &d.calls[i]
	if c.stage == asking {
		d.finish(i, abi.INVAL, 0)
		return
	}
	if c.waited {
		d.wasRead(c, abi.SIZE)
	}
	c.status, c.size, c.sent, c.waited = abi.SIZE, 0, 0, false
}

// transmit sends a frame, whose name and payload of so many bytes are in the buffer already. It reports false if the port does not take it now: then that will say
// when it does, or it is closed.
func (d *Service) transmit(kind byte, status abi.ErrorCode, number uint32, name, size int, last uint32) bool {
	b := (*[abi.ServiceHeader]byte)(d.out) // so that no index is checked, or masked
	b[0], b[1], b[2], b[3] = abi.ServiceVersion, kind, byte(status), byte(name)
	setWord((*[4]byte)(b[4:]), number)
	setWord((*[4]byte)(b[8:]), uint32(size))
	setWord((*[4]byte)(b[12:]), last)
	return d.port.Post(d.out[:abi.ServiceHeader+name+size]) == abi.OK
}

// Sent implements hil.PortClient: nothing is sent but what is posted.
func (d *Service) Sent([]byte, int, abi.ErrorCode) {}

// Idle implements kernel.IdleClient: no task is ready.
func (d *Service) Idle() {
	if d.settle && d.greeted && d.up() {
		d.settle = !d.transmit(abi.ServiceSettle, 0, 0, 0, 0, 0)
	}
}

func word(b *[4]byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func setWord(b *[4]byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
