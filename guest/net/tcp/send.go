package tcp

// reply is what is to be sent apart from data: acknowledgments and resets.
type reply struct {
	now           bool  // acknowledge at once
	waiting       uint8 // segments whose acknowledgment waits, until at
	reset         bool  // send a reset with resetSequence
	challenges    uint8 // since challengesSince
	resetSequence uint32
	at            uint64
	since         uint64
}

// acknowledge says that data has come. The acknowledgment of every first segment may wait (RFC 9293, 3.8.6.3).
func (r *reply) acknowledge(mayWait bool, now uint64) {
	if r.waiting == 0 {
		r.at = now + AckDelay
	}
	r.waiting++
	if !mayWait || r.waiting >= 2 {
		r.now = true
	}
}

// challenge answers what may be an attack, or a peer who has forgotten the connection: with an acknowledgment, so that it sends a
// reset that is surely its own (RFC 5961).
func (r *reply) challenge(now uint64) {
	if r.challenges == 0 || now-r.since >= challengesTime {
		r.challenges, r.since = 0, now
	}
	if r.challenges < maxChallenges {
		r.challenges++
		r.now = true
	}
}

func (r *reply) sendReset(sequence uint32) { r.reset, r.resetSequence = true, sequence }

// due says that an acknowledgment is to be sent.
func (r *reply) due(now uint64) bool { return r.now || r.waiting > 0 && now >= r.at }

// Next makes the next segment to send, whose data is copied to buf. buf bounds the data: a MSS is enough, and there has to be room for a
// byte. It reports false if there is nothing to send now.
func (c *Conn) Next(s *Segment, buf []byte, now uint64) bool {
	c.expire(now)
	switch {
	case c.reply.reset:
		c.makeReset(s)
		return true
	case c.state == Closed:
		return false
	case c.opening():
		return c.nextSyn(s, now) || c.nextAck(s, now)
	}
	return c.nextAgain(s, buf, now) || c.nextText(s, buf, now) || c.nextAck(s, now)
}

// makeReset makes a reset. For SYN-SENT and SYN-RECEIVED it has no ACK, as its sequence number is one that the peer acknowledged.
func (c *Conn) makeReset(s *Segment) {
	c.reply.reset = false
	*s = Segment{Source: c.local, Destination: c.remote, Sequence: c.reply.resetSequence, Flags: RST}
}

// make makes a segment without data, which acknowledges and offers what there is.
func (c *Conn) make(s *Segment, sequence uint32, flags Flags) {
	*s = Segment{Source: c.local, Destination: c.remote, Sequence: sequence, Flags: flags}
	if c.state == SynSent {
		s.Window = uint16(c.in.largest())
		return
	}
	c.in.edge += c.in.growth()
	s.Flags |= ACK
	s.Acknowledgment, s.Window = c.in.expected, uint16(c.in.window())
	c.reply.now, c.reply.waiting = false, 0
}

// nextSyn makes SYN, with ACK when the peer's has come.
func (c *Conn) nextSyn(s *Segment, now uint64) bool {
	if c.out.next != c.out.una {
		return false
	}
	c.make(s, c.out.una, SYN)
	s.MSS = uint16(c.in.mss)
	c.sent(s, now)
	return true
}

// nextAgain makes the segment that fast retransmit wants, of what was sent before.
func (c *Conn) nextAgain(s *Segment, buf []byte, now uint64) bool {
	o := &c.out
	if !c.congestion.resend || o.una == o.max {
		return false
	}
	c.congestion.resend = false
	n := min(o.max-o.una, o.end-o.una, o.mss, o.window, uint32(len(buf)))
	fin := c.finSent() && o.una+n == o.end
	if n == 0 && !fin {
		return false
	}
	c.timer.measuring = false
	c.makeText(s, buf[:n], o.una, fin)
	return true
}

// nextText makes a segment of what follows, or waits for a window.
func (c *Conn) nextText(s *Segment, buf []byte, now uint64) bool {
	o := &c.out
	if o.next == o.max && o.una == o.max && now-c.timer.lastSent > uint64(c.timer.rto) {
		c.congestion.idle(o.mss)
	}
	n, fin := c.sendable(uint32(len(buf)))
	if n == 0 && !fin {
		c.waitForWindow(now)
		return false
	}
	c.makeText(s, buf[:n], o.next, fin)
	c.sent(s, now)
	return true
}

// makeText makes a segment with the bytes from sequence on, which fill buf.
func (c *Conn) makeText(s *Segment, buf []byte, sequence uint32, fin bool) {
	flags := ACK
	if fin {
		flags |= FIN
	}
	if sequence+uint32(len(buf)) == c.out.end {
		flags |= PSH
	}
	c.make(s, sequence, flags)
	c.out.buffer.load(buf, sequence)
	s.Data = buf
}

// sendable is how much of at most limit bytes is sent now, and whether FIN follows.
func (c *Conn) sendable(limit uint32) (n uint32, fin bool) {
	o := &c.out
	if before(o.end, o.next) {
		return 0, false
	}
	limit = min(limit, o.mss)
	unsent, usable := o.end-o.next, c.usable()
	n = min(unsent, usable, limit)
	fin = c.closing && n == unsent && n < usable
	if c.timer.force {
		if usable == 0 {
			n, fin = min(unsent, limit, 1), c.closing && unsent == 0
		}
		return n, fin
	}
	if fin || n == limit || o.next != o.max || c.worthwhile(n, unsent) {
		return n, fin
	}
	return 0, false
}

// worthwhile is the sender's silly window avoidance for less than a whole segment (RFC 9293, 3.8.6.2.1), with the Nagle algorithm.
func (c *Conn) worthwhile(n, unsent uint32) bool {
	o := &c.out
	return (c.noDelay || o.next == o.una) && (n == unsent || n >= o.maxWindow/2)
}

// usable is how much of the windows is left.
func (c *Conn) usable() uint32 {
	o := &c.out
	window, sent := min(o.window, c.congestion.allowed(o.mss)), o.next-o.una
	if sent >= window {
		return 0
	}
	return window - sent
}

// sent notes that a segment was sent at next. A probe of a closed window leaves next where it is.
func (c *Conn) sent(s *Segment, now uint64) {
	o, t := &c.out, &c.timer
	end := s.Sequence + s.length()
	switch {
	case s.Sequence != o.max:
		t.measuring = false
	case !t.measuring && !t.force:
		t.measuring, t.sequence, t.since = true, end, now
	}
	if before(o.max, end) {
		o.max = end
	}
	c.waitForAck(now)
	if t.purpose == retransmit {
		o.next = end
	}
	t.force = false
	t.lastSent = now
}

// waitForWindow starts the timer when something is there to send, nothing under way, and no window for it.
func (c *Conn) waitForWindow(now uint64) {
	o, t := &c.out, &c.timer
	if t.purpose == none && (before(o.next, o.end) || c.closing && o.next == o.end) {
		t.start(persist, now+t.timeout())
	}
}

// nextAck makes an acknowledgment by itself, if one is due or the window has grown so far that the peer should know. Each segment
// behind a gap gets one, even if data that went meanwhile has acknowledged as much: the peer counts those without data, to send at
// once again what is missing (RFC 5681, 3.2 and 4.2).
func (c *Conn) nextAck(s *Segment, now uint64) bool {
	switch {
	case c.in.behind > 0:
		c.in.behind--
	case !c.reply.due(now) && !c.windowHasGrown():
		return false
	}
	c.make(s, c.sequence(), ACK)
	return true
}

// windowHasGrown is true for two segments, or for one where the peer cannot send any.
func (c *Conn) windowHasGrown() bool {
	if c.state == SynSent {
		return false
	}
	n := c.in.growth()
	return n > 0 && (c.in.window() < c.in.mss || n >= min(2*c.in.mss, c.in.buffer.size()/2))
}

// sequence is the sequence number of a segment without data: behind what was sent, but not behind the peer's window, where it would
// not be accepted.
func (c *Conn) sequence() uint32 {
	o := &c.out
	if c.state == SynReceived || o.max-o.una <= o.window {
		return o.max
	}
	return o.una + o.window
}
