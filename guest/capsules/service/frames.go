package service

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// lastSize is how many bytes of payload the last frame of a call has at most, behind its name.
const lastSize = outputSize - abi.ServiceHeader - abi.ServiceName

// input is what comes from the host.
type input struct {
	buffer []byte
	rest   []byte // what of it came and was not looked at
	waits  bool   // for more
	state  state

	head   [abi.ServiceHeader + abi.ServiceName]byte // of a frame that came in pieces, with the name
	got    int                                       // of it
	wanted int                                       // likewise, before it can be looked at
	call   *call                                     // whose payload comes; nil: nobody's
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
		d.in.state, d.in.waits, d.in.rest, d.in.call = closed, false, nil, nil
		d.greeted, d.hello = false, false
		d.forget(true)
	}
}

// next waits for a frame.
func (d *Service) next() {
	in := &d.in
	in.state, in.got, in.wanted, in.call = header, 0, abi.ServiceHeader, nil
}

// Received implements hil.PortClient.
func (d *Service) Received(buf []byte, n int, e abi.ErrorCode) {
	d.in.waits = false
	if e == abi.OK {
		d.in.rest = buf[:n]
		d.read()
	}
}

// read looks at what came, and waits for more. While the host is owed an answer to what it said before, it waits.
func (d *Service) read() {
	in := &d.in
	for len(in.rest) != 0 && !d.owes() && d.up() {
		if in.state == header {
			d.readHeader()
		} else {
			d.readPayload()
		}
	}
	if len(in.rest) == 0 && !in.waits && d.up() {
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
	if b := in.rest; in.got == 0 && len(b) >= abi.ServiceHeader {
		head := (*[abi.ServiceHeader]byte)(b)
		if size := abi.ServiceHeader + int(head[3]); size <= len(b) {
			in.rest = b[size:]
			d.begun(head, b[abi.ServiceHeader:size])
			return
		}
	}
	n := copy(in.head[in.got:in.wanted], in.rest)
	in.rest = in.rest[n:]
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
	d.in.state, d.in.call = broken, nil
	d.forget(true)
	w := d.kernel.Messages()
	w.WriteString("kapsel: services: ")
	w.WriteString(why)
	w.WriteString(": nothing more is heard until the host opens the port anew\n")
}

// called opens a call of the host's, or refuses it.
func (d *Service) called(head *[abi.ServiceHeader]byte, name []byte) {
	id, e := d.named.Find(d.kernel, name)
	number, takes := word((*[4]byte)(head[4:])), false
	if e == abi.OK {
		takes = d.takes(id)
		if d.spare == nil || !takes && (d.holding != nil || d.in.size > abi.ServiceHeld) {
			e = abi.BUSY
		}
	}
	if e != abi.OK {
		d.refused, d.refusal, d.status = true, number, e
		d.send()
		return
	}
	c := d.begin(id, arriving)
	c.number, c.most = number, min(word((*[4]byte)(head[12:])), abi.ServicePayload)
	d.in.call = c
	if !takes {
		c.stage, d.holding, d.heldSize = holding, c, 0
	}
}

// answered finds the task's call that the host answers. One that is over, or not the task's latest, is passed over.
func (d *Service) answered(head *[abi.ServiceHeader]byte) {
	for c := d.first; c != nil; c = c.next {
		if c.stage != asked || c.id != word((*[4]byte)(head[4:])) || c != d.latest(c.task) {
			continue
		}
		d.in.call = c
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
	piece := in.rest
	if left := in.size - in.came; uint32(len(piece)) > left {
		piece = piece[:left]
	}
	in.rest = in.rest[len(piece):]
	if c := in.call; c != nil {
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
	c, size := d.in.call, d.in.size
	d.next()
	if c == nil {
		return
	}
	switch c.stage {
	case arriving:
		d.came(c, size)
	case asked:
		if c.status != abi.OK {
			size = 0
		}
		d.finish(c, c.status, size)
	}
	d.handOver()
}

// send sends what is to be sent, as far as the port takes it. No other frame comes between the parts of a payload.
func (d *Service) send() {
	for d.owesFrame() && d.greeted && d.up() && d.sendNext() {
	}
}

// owesFrame reports whether there may be a frame to be sent.
func (d *Service) owesFrame() bool { return d.first != nil || d.owes() }

// sendNext sends a frame, or reports false if there is none, or the port does not take it. It may be that there was one that cannot be sent any more.
func (d *Service) sendNext() bool {
	switch {
	case d.partly != nil:
		return d.sendCall(d.partly)
	case d.hello:
		d.hello = !d.transmit(abi.ServiceHello, 0, 0, 0, 0, 0)
		return d.readOn(!d.hello)
	case d.refused:
		d.refused = !d.transmit(abi.ServiceAnswer, d.status, d.refusal, 0, 0, 0)
		return d.readOn(!d.refused)
	}
	for c := d.first; c != nil; c = c.next {
		if c.stage == answering || c.stage == asking {
			return d.sendCall(c)
		}
	}
	return false
}

// readOn has what the host said be looked at that had to wait until now, if what it was owed was sent, and reports whether it was.
func (d *Service) readOn(sent bool) bool {
	if sent {
		d.deferred.Set()
	}
	return sent
}

// sendCall sends what is next of a call: a part of its payload, or the last.
func (d *Service) sendCall(c *call) bool {
	switch n := c.size - c.sent; {
	case n > lastSize:
		return d.sendPart(c, min(n, outputSize-abi.ServiceHeader))
	case c.stage == asking:
		return d.sendAsk(c, n)
	default:
		return d.sendAnswer(c, n)
	}
}

// sendPart sends n bytes of a payload, behind which there are more.
func (d *Service) sendPart(c *call, n uint32) bool {
	if _, ok := d.load(c, n, false); !ok {
		d.unreadable(c)
		return true
	}
	if d.transmit(abi.ServicePart, 0, c.number, 0, n, 0) {
		c.sent += n
		d.partly = c
		d.deferred.Set() // a host may be quick, and a payload long: the rest is other pieces of work
	}
	return false
}

// sendAsk sends a call of the host's, with the last n bytes of its payload.
func (d *Service) sendAsk(c *call, n uint32) bool {
	name, ok := d.load(c, n, true)
	if !ok {
		d.unreadable(c)
		return true
	}
	if !d.transmit(abi.ServiceCall, 0, c.number, name, n, c.most) {
		return false
	}
	c.stage, c.sent, d.partly = asked, c.size, nil
	d.handOver()
	return true
}

// sendAnswer sends an answer, with the last n bytes of its payload, and ends the call.
func (d *Service) sendAnswer(c *call, n uint32) bool {
	if n != 0 {
		if _, ok := d.load(c, n, false); !ok {
			d.unreadable(c)
			return true
		}
	}
	if !d.transmit(abi.ServiceAnswer, c.status, c.number, 0, n, c.reason) {
		return false
	}
	if c.waited {
		d.wasRead(c, abi.OK)
	}
	d.end(c)
	return true
}

// load reads the next n bytes of a call's payload into the frame that is to be sent, behind the name if that is wanted. It reports false if they, or the name,
// are not there any more.
func (d *Service) load(c *call, n uint32, named bool) (name uint32, ok bool) {
	d.grant.Enter(c.task, func(_ *task, data *kernel.TaskData) {
		bytes := data.ReadOnly(answerBuffer)
		if c.stage == asking {
			bytes = data.ReadOnly(askBuffer)
		}
		if named {
			name = uint32(data.ReadOnly(nameBuffer).ReadAt(d.out[abi.ServiceHeader:][:abi.ServiceName], 0))
		}
		ok = named == (name != 0) && bytes.ReadAt(d.out[abi.ServiceHeader+name:][:n], uint64(c.sent)) == int(n)
	})
	return name, ok
}

// unreadable gives up what a task wants to send, because it took the buffer away.
func (d *Service) unreadable(c *call) {
	d.partly = nil
	if c.stage == asking {
		d.finish(c, abi.INVAL, 0)
		return
	}
	if c.waited {
		d.wasRead(c, abi.SIZE)
	}
	c.status, c.size, c.sent, c.waited = abi.SIZE, 0, 0, false
}

// transmit sends a frame, whose name and payload of so many bytes are in the buffer already. It reports false if the port does not take it now: then that will say
// when it does, or it is closed.
func (d *Service) transmit(kind byte, status abi.ErrorCode, number, name, size, last uint32) bool {
	b := d.out
	b[0], b[1], b[2], b[3] = abi.ServiceVersion, kind, byte(status), byte(name)
	setWord((*[4]byte)(b[4:]), number)
	setWord((*[4]byte)(b[8:]), size)
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
