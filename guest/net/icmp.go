package net

import "kapsel/guest/net/checksum"

// Messages of ICMP (RFC 792).
const (
	icmpSize         = 8
	icmpChecksum     = 2
	icmpIdentifier   = 4
	icmpSequence     = 6
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12
)

// Codes of icmpUnreachable.
const (
	codeProtocol = 2
	codePort     = 3
)

// Rates, in a second, of what answers those who may send as fast as they want.
const (
	EchoRate        = 100 // echo replies
	UnreachableRate = 20  // "unreachable" (RFC 1812, 4.3.2.8)
	ResetRate       = 100 // resets of TCP segments that belong to no connection
)

// A rate lets so many through in a second, all of a second's at once if they come so.
type rate struct {
	left uint32
	from Time // when left was counted
}

// allow takes one of perSecond.
func (r *rate) allow(perSecond uint32, now Time) bool {
	if r.from == 0 || now-r.from >= Second {
		r.left, r.from = perSecond, max(now, 1)
	}
	if r.left == 0 {
		return false
	}
	r.left--
	return true
}

// parseICMP checks a message.
func parseICMP(b []byte) Cause {
	if len(b) < icmpSize {
		return ICMPMalformed
	}
	if checksum.Finish(checksum.Add(0, b)) != 0 {
		return ICMPChecksum
	}
	return taken
}

// A quotation is what an error of ICMP quotes of the datagram that it is about.
type quotation struct {
	source, destination         Address
	protocol                    uint8
	sourcePort, destinationPort uint16
}

// parseQuotation reads what is behind the header of an error: a header of IPv4 and 8 bytes. The datagram's length and checksum may
// have been changed on its way.
func parseQuotation(b []byte, q *quotation) Cause {
	if len(b) < ipv4Size || b[0]>>4 != 4 {
		return ICMPMalformed
	}
	header := int(b[0]&15) * 4
	if header < ipv4Size || header+8 > len(b) {
		return ICMPMalformed
	}
	q.source, q.destination, q.protocol = getAddress(b[ipv4Source:]), getAddress(b[ipv4Destination:]), b[ipv4Protocol]
	q.sourcePort, q.destinationPort = get16(b[header:]), get16(b[header+2:])
	return taken
}

// inputICMP takes a message. Redirects are not obeyed: whoever sends one could be anybody.
func (s *Stack) inputICMP(d *datagram, now Time) Cause {
	if c := parseICMP(d.data); c != taken {
		return c
	}
	switch d.data[0] {
	case icmpEcho:
		return s.echo(d, now)
	case icmpEchoReply:
		return s.pong(d, now)
	case icmpUnreachable, icmpTimeExceeded, icmpParameter:
		return s.failed(d)
	}
	return ICMPType
}

// echo answers an echo request; one to many is not answered (RFC 1122, 3.2.2.6).
func (s *Stack) echo(d *datagram, now Time) Cause {
	if d.group || !s.bound {
		return ICMPGroup
	}
	if !s.echoes.allow(EchoRate, now) {
		return ICMPLimit
	}
	f := s.answer(d.source, protocolICMP, len(d.data))
	if f == nil {
		return AnswerFull
	}
	reply := f.data[ethernetSize+ipv4Size:][:len(d.data)]
	copy(reply, d.data)
	reply[0] = icmpEchoReply
	finishICMP(reply)
	return taken
}

// finishICMP writes a message's checksum.
func finishICMP(b []byte) {
	put16(b[icmpChecksum:], 0)
	put16(b[icmpChecksum:], checksum.Finish(checksum.Add(0, b)))
}

// refuse answers a datagram with "unreachable", where that may be (RFC 1122, 3.2.2), and returns the cause for which it is dropped.
func (s *Stack) refuse(d *datagram, code uint8, c Cause, now Time) Cause {
	if d.group || !s.bound || !s.refusals.allow(UnreachableRate, now) {
		return c
	}
	quoted := min(len(d.data), 8)
	length := icmpSize + len(d.header) + quoted
	f := s.answer(d.source, protocolICMP, length)
	if f == nil {
		return c
	}
	b := f.data[ethernetSize+ipv4Size:][:length]
	clear(b[:icmpSize])
	b[0], b[1] = icmpUnreachable, code
	copy(b[icmpSize:], d.header)
	copy(b[icmpSize+len(d.header):], d.data[:quoted])
	finishICMP(b)
	return c
}

// failed tells the socket that sent a datagram that it did not arrive (RFC 1122, 4.1.3.3). A connection is not told: TCP finds
// out itself, and anybody could send this.
func (s *Stack) failed(d *datagram) Cause {
	var q quotation
	if c := parseQuotation(d.data[icmpSize:], &q); c != taken {
		return c
	}
	if !s.bound || q.source != s.address || q.protocol != protocolUDP {
		return ICMPType
	}
	k := s.socket(q.sourcePort)
	if k == nil {
		return UDPNoSocket
	}
	k.failed, k.failedAt = true, Endpoint{q.destination, q.destinationPort}
	return taken
}

// A ping is an echo request of ours.
type ping struct {
	to         Address
	identifier uint16
	sequence   uint16
	waiting    bool // to be sent
	open       bool // sent, and not yet answered
	answered   bool
	sent, took Time
}

// pingData is how many bytes an echo request of ours carries.
const pingData = 32

// Ping sends an echo request. It forgets the one before. The error is ErrNoAddress or ErrNoRoute.
func (s *Stack) Ping(to Address, now Time) error {
	if err := s.reachable(to); err != nil {
		return err
	}
	s.ping = ping{to: to, identifier: uint16(s.random()), sequence: s.ping.sequence + 1, waiting: true, sent: now}
	return nil
}

// Pong returns how long the answer to the last Ping took; ok is false while there is none.
func (s *Stack) Pong() (took Time, ok bool) { return s.ping.took, s.ping.answered }

// outputPing writes the echo request that waits.
func (s *Stack) outputPing(buf []byte, now Time) int {
	p := &s.ping
	if !p.waiting {
		return 0
	}
	p.waiting, p.open = false, true
	b := buf[ethernetSize+ipv4Size:][:icmpSize+pingData]
	clear(b)
	b[0] = icmpEcho
	put16(b[icmpIdentifier:], p.identifier)
	put16(b[icmpSequence:], p.sequence)
	finishICMP(b)
	return s.send(buf, p.to, protocolICMP, len(b), now)
}

// pong takes an echo reply.
func (s *Stack) pong(d *datagram, now Time) Cause {
	p := &s.ping
	if !p.open || d.source != p.to || get16(d.data[icmpIdentifier:]) != p.identifier || get16(d.data[icmpSequence:]) != p.sequence {
		return ICMPType
	}
	p.open, p.answered, p.took = false, true, now-p.sent
	return taken
}
