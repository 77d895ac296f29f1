package kerneltest

import (
	"bytes"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// Port is a hil.Port, whose host is the test. The zero Port is open.
type Port struct {
	AtOnce func(text string) // if it is set, the host takes each text that is posted at once

	state     abi.ErrorCode
	client    hil.PortClient
	sending   []byte
	n         int
	forgotten bool // sending is of an earlier client
	posted    bool // it is posted
	refused   bool // another was refused meanwhile
	room      []byte
}

// SetPortClient implements hil.Port.
func (p *Port) SetPortClient(c hil.PortClient) {
	p.client, p.room, p.forgotten = c, nil, p.sending != nil
}

// State implements hil.Port.
func (p *Port) State() abi.ErrorCode { return p.state }

// Send implements hil.Port.
func (p *Port) Send(buf []byte, n int) abi.ErrorCode {
	switch {
	case p.state != abi.OK:
		return p.state
	case p.sending != nil:
		p.refused = p.posted
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	p.sending, p.n = buf, n
	return abi.OK
}

// Post implements hil.Port.
func (p *Port) Post(b []byte) abi.ErrorCode {
	if len(b) > hil.PortPiece {
		return abi.SIZE
	}
	if p.AtOnce != nil && p.state == abi.OK {
		p.AtOnce(string(b))
		return abi.OK
	}
	e := p.Send(bytes.Clone(b), len(b))
	p.posted = p.posted || e == abi.OK
	return e
}

// Receive implements hil.Port.
func (p *Port) Receive(buf []byte) abi.ErrorCode {
	switch {
	case p.state != abi.OK:
		return p.state
	case p.room != nil:
		return abi.BUSY
	case len(buf) == 0:
		return abi.SIZE
	}
	p.room = buf
	return abi.OK
}

// Take has the host take what is being sent, and returns it, "" if there is nothing.
func (p *Port) Take() string {
	buf, n := p.sending, p.n
	if buf == nil {
		return ""
	}
	text := string(buf[:n])
	silent, changed := p.posted || p.forgotten, p.refused || p.forgotten && !p.posted
	p.sending, p.posted, p.forgotten, p.refused = nil, false, false, false
	switch {
	case changed:
		p.client.PortChanged()
	case !silent:
		p.client.Sent(buf, n, abi.OK)
	}
	return text
}

// Give has the host send a text in pieces, and returns what of it nobody wanted.
func (p *Port) Give(text string, piece int) string {
	for text != "" && p.room != nil {
		buf := p.room
		n := copy(buf, text[:min(piece, len(text))])
		p.room = nil
		text = text[n:]
		p.client.Received(buf, n, abi.OK)
	}
	return text
}

// Change gives the port another state, which ends what goes on if it is not abi.OK.
func (p *Port) Change(state abi.ErrorCode) {
	p.state = state
	if buf := p.sending; buf != nil && state != abi.OK {
		posted := p.posted
		p.sending, p.posted, p.refused = nil, false, false
		if !posted {
			p.client.Sent(buf, p.n, state)
		}
	}
	if buf := p.room; buf != nil && state != abi.OK {
		p.room = nil
		p.client.Received(buf, 0, state)
	}
	p.client.PortChanged()
}

// Timer is a hil.Alarm whose time the test sets, in milliseconds.
type Timer struct {
	now, deadline uint64
	set           bool
	client        hil.AlarmClient
}

// Now implements hil.Time.
func (t *Timer) Now() uint64 { return t.now }

// Frequency implements hil.Time.
func (t *Timer) Frequency() uint32 { return 1000 }

// SetAlarmClient implements hil.Alarm.
func (t *Timer) SetAlarmClient(c hil.AlarmClient) { t.client = c }

// SetAlarm implements hil.Alarm.
func (t *Timer) SetAlarm(deadline uint64) { t.deadline, t.set = deadline, true }

// Disarm implements hil.Alarm.
func (t *Timer) Disarm() { t.set = false }

// Pass lets milliseconds pass, and has the alarm fire if it is due.
func (t *Timer) Pass(milliseconds uint64) {
	t.now += milliseconds
	if t.set && t.deadline <= t.now {
		t.set = false
		t.client.AlarmFired()
	}
}
