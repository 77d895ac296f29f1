package tcp

// Receive takes a segment for the ports of the connection (RFC 9293, 3.10.7). Its data is copied.
func (c *Conn) Receive(s *Segment, now uint64) {
	switch c.state {
	case Closed:
		return
	case SynSent:
		c.receiveInSynSent(s, now)
		return
	case SynReceived:
		if s.Flags&(SYN|RST) == SYN && s.Sequence == c.in.initial {
			c.receiveSynAgain(s, now)
			return
		}
	}
	c.receiveSynchronized(s, now)
}

// receiveInSynSent is RFC 9293, 3.10.7.3.
func (c *Conn) receiveInSynSent(s *Segment, now uint64) {
	acked := s.Flags&ACK != 0
	if acked && !c.acknowledgesNew(s) {
		if s.Flags&RST == 0 {
			c.reply.sendReset(s.Acknowledgment)
		}
		return
	}
	switch {
	case s.Flags&RST != 0:
		if acked {
			c.end(ErrRefused)
		}
	case s.Flags&SYN != 0 && acked:
		c.synchronize(s)
		c.establish(s, now)
		c.reply.now = true
		c.receiveText(s.Sequence+1, s, now)
	case s.Flags&SYN != 0: // simultaneous open
		c.synchronize(s)
		c.state = SynReceived
		c.out.next = c.out.una
	}
}

// receiveSynAgain is the peer's SYN for a second time, or the SYN and ACK of a simultaneous open. It wants ours again.
func (c *Conn) receiveSynAgain(s *Segment, now uint64) {
	if s.Flags&ACK == 0 {
		c.out.next = c.out.una
		return
	}
	behind := *s
	behind.Flags &^= SYN
	behind.Sequence++
	c.reply.now = true
	c.receiveSynchronized(&behind, now)
}

// receiveSynchronized is RFC 9293, 3.10.7.4, with the rules of RFC 5961 for RST and SYN.
func (c *Conn) receiveSynchronized(s *Segment, now uint64) {
	switch {
	case !c.acceptable(s):
		c.receiveUnacceptable(s, now)
	case s.Flags&RST != 0:
		c.receiveReset(s, now)
	case s.Flags&SYN != 0 && c.state == SynReceived && c.passive:
		c.end(ErrReset)
	case s.Flags&SYN != 0:
		c.reply.challenge(now)
	case s.Flags&ACK != 0 && c.receiveAck(s, now):
		c.receiveText(s.Sequence, s, now)
	}
}

// acceptable is the test of RFC 9293, 3.4. It is wider in two points: where the window ends, a segment without length is taken, so
// that the acknowledgments of a peer who has filled the window count even while its data is lost; and where it is closed, a segment at
// expected, for its acknowledgment's sake and for FIN's.
func (c *Conn) acceptable(s *Segment) bool {
	window, length := c.in.window(), s.length()
	from := s.Sequence - c.in.expected
	if length == 0 || from == 0 {
		return from <= window
	}
	return from < window || from+length-1 < window
}

// receiveUnacceptable answers with an acknowledgment. Those for segments that have nothing to deliver are limited, so that two
// ends that disagree do not answer each other for ever. What a segment that is not far away acknowledges counts all the same.
func (c *Conn) receiveUnacceptable(s *Segment, now uint64) {
	switch {
	case s.Flags&RST != 0:
		return
	case s.Flags&SYN != 0 || s.length() == 0:
		c.reply.challenge(now)
	default:
		c.reply.now = true
		if c.state == TimeWait && s.Flags&FIN != 0 && s.Sequence+s.length() == c.in.expected {
			c.timer.start(timeWait, now+TimeWaitTime)
		}
	}
	if s.Flags&(SYN|ACK) == ACK && c.state != SynReceived && c.near(s) {
		c.receiveAck(s, now)
	}
}

// near says that a segment begins where one of a peer can that breaks no rule but that of the window (RFC 9293, 3.10.7.4, asks for such an
// allowance): from the byte before expected, which probes a closed window, to behind the largest window that was ever offered, and FIN.
// So far does a peer get that takes a window which another has overtaken, and from there it acknowledges. If that did not count, what was
// sent to it would stay in the buffer; and where the owner waits for room there before it reads on, the window would never open again.
func (c *Conn) near(s *Segment) bool {
	return s.Sequence-(c.in.expected-1) <= c.in.largest()+2
}

// receiveReset ends the connection if the sequence number is exactly the expected one (RFC 5961, 3.2).
func (c *Conn) receiveReset(s *Segment, now uint64) {
	switch {
	case s.Sequence != c.in.expected:
		c.reply.challenge(now)
	case c.state == Closing || c.state == LastAck || c.state == TimeWait:
		c.end(nil)
	case c.state == SynReceived && !c.passive:
		c.end(ErrRefused)
	default:
		c.end(ErrReset)
	}
}

// acknowledgesNew says that the segment acknowledges something that was not yet.
func (c *Conn) acknowledgesNew(s *Segment) bool {
	return before(c.out.una, s.Acknowledgment) && notAfter(s.Acknowledgment, c.out.max)
}

// receiveAck takes the acknowledgment and the window. It reports false if the segment is to be dropped.
func (c *Conn) receiveAck(s *Segment, now uint64) bool {
	switch {
	case c.state == SynReceived && !c.acknowledgesNew(s):
		c.reply.sendReset(s.Acknowledgment)
		return false
	case c.state == SynReceived:
		c.establish(s, now)
	case before(c.out.max, s.Acknowledgment) || before(s.Acknowledgment, c.out.una-c.out.maxWindow): // RFC 5961, 5.2
		c.reply.challenge(now)
		return false
	case before(s.Acknowledgment, c.out.una):
		return true
	case before(c.out.una, s.Acknowledgment):
		c.acknowledged(s.Acknowledgment, now)
	case c.duplicate(s):
		c.congestion.duplicate(&c.out)
	}
	c.receiveWindow(s)
	return c.advance(now)
}

// establish ends the handshake with the segment that acknowledges our SYN.
func (c *Conn) establish(s *Segment, now uint64) {
	again := c.timer.retries > 0
	c.moveUna(s.Acknowledgment, now)
	c.timer.stop()
	c.out.setWindow(s)
	if again { // RFC 6298, 5.7, and RFC 5681, 3.1
		c.timer.rto, c.timer.backoff = lossyRTO, 0
		c.congestion.window = c.out.mss
	}
	c.state = Established
	if c.closing {
		c.state = FinWait1
	}
}

// moveUna makes ack the oldest that is not acknowledged.
func (c *Conn) moveUna(ack uint32, now uint64) {
	t, o := &c.timer, &c.out
	if t.measuring && notAfter(t.sequence, ack) {
		t.measure(now)
	}
	o.una = ack
	if before(o.next, ack) {
		o.next = ack
	}
	t.retries, t.force = 0, false
}

// acknowledged is an acknowledgment of something new.
func (c *Conn) acknowledged(ack uint32, now uint64) {
	n := ack - c.out.una
	c.moveUna(ack, now)
	runOn := c.congestion.acknowledged(&c.out, n)
	switch {
	case c.timer.purpose == persist:
		c.endPersist()
	case c.out.una == c.out.max:
		c.timer.stop()
	case !runOn:
		c.timer.start(retransmit, now+c.timer.timeout())
	}
}

// duplicate says that an acknowledgment is a duplicate (RFC 5681, 2).
func (c *Conn) duplicate(s *Segment) bool {
	return s.Acknowledgment == c.out.una && c.out.una != c.out.max && s.length() == 0 &&
		uint32(s.Window) == c.out.window && c.timer.purpose == retransmit
}

// receiveWindow takes the window, unless the segment is older than the one that told the last.
func (c *Conn) receiveWindow(s *Segment) {
	o := &c.out
	if before(o.wl1, s.Sequence) || o.wl1 == s.Sequence && notAfter(o.wl2, s.Acknowledgment) {
		o.setWindow(s)
	}
	if c.timer.purpose != persist {
		return
	}
	c.timer.retries = 0 // the peer lives
	if o.window > 0 {
		c.endPersist()
	}
}

// endPersist ends waiting for a window: what was a probe is sent anew.
func (c *Conn) endPersist() {
	c.timer.stop()
	c.timer.backoff = 0
	c.out.next = c.out.una
}

// finSent and finAcknowledged tell of our FIN.
func (c *Conn) finSent() bool         { return c.closing && c.out.max == c.out.end+1 }
func (c *Conn) finAcknowledged() bool { return c.closing && c.out.una == c.out.end+1 }

// advance changes the state when our FIN is acknowledged. It reports false if that was the end.
func (c *Conn) advance(now uint64) bool {
	if !c.finAcknowledged() {
		return true
	}
	switch c.state {
	case FinWait1:
		c.state = FinWait2
		if c.released {
			c.timer.start(finWait, now+FinWait2Time)
		}
	case Closing:
		c.enterTimeWait(now)
	case LastAck:
		c.end(nil)
		return false
	}
	return true
}

func (c *Conn) enterTimeWait(now uint64) {
	c.state = TimeWait
	c.timer.start(timeWait, now+TimeWaitTime)
}

// receiveText takes data and FIN, which begin at sequence (RFC 9293, 3.10.7.4).
func (c *Conn) receiveText(sequence uint32, s *Segment, now uint64) {
	if c.state != Established && c.state != FinWait1 && c.state != FinWait2 {
		return
	}
	fin := s.Flags&FIN != 0
	end := sequence + uint32(len(s.Data))
	if len(s.Data) == 0 && !fin {
		return
	}
	if c.released && before(c.in.expected, end) {
		c.abort(ErrClosed)
		return
	}
	expected := c.in.expected
	inOrder := sequence == expected && c.in.count == 0
	at, data := c.in.fit(sequence, s.Data)
	c.in.accept(at, data)
	switch {
	case c.in.expected != expected:
		c.in.behind = 0
	case before(expected, sequence) && c.in.behind < 0xff:
		c.in.behind++
	}
	if fin {
		c.in.noteFin(end)
	}
	c.reply.acknowledge(inOrder && len(data) == len(s.Data) && !fin, now)
	if c.in.finish() {
		c.reply.now = true
		c.receiveFin(now)
	}
}

// receiveFin changes the state when the peer has sent all.
func (c *Conn) receiveFin(now uint64) {
	switch c.state {
	case Established:
		c.state = CloseWait
	case FinWait1: // our FIN is not acknowledged, or it were FIN-WAIT-2
		c.state = Closing
	case FinWait2:
		c.enterTimeWait(now)
	}
}
