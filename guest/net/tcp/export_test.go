package tcp

import "fmt"

// Check says what is inconsistent in a connection, if anything is. It holds between any two calls.
func (c *Conn) Check() error {
	for _, rule := range []struct {
		name string
		good bool
	}{
		{"una ≤ next", notAfter(c.out.una, c.out.next)},
		{"next ≤ max", notAfter(c.out.next, c.out.max)},
		{"max ≤ end, or FIN", notAfter(c.out.max, c.out.end) || c.finSent() || c.opening()},
		{"the send buffer holds what is not acknowledged", c.out.end-c.out.oldest() <= c.out.buffer.size()},
		{"MSS", c.out.mss >= minimumMSS && c.out.mss <= c.in.mss || c.in.mss == 0},
		{"the congestion window", c.opening() || c.state == Closed || c.congestion.window >= c.out.mss && c.congestion.window <= maxCongestionWindow},
		{"what can be read is in the buffer", c.in.readable() <= c.in.buffer.size()},
		{"what is offered has room", c.in.finished || c.state == SynSent || c.in.edge-c.in.read <= c.in.buffer.size()},
		{"the window", c.in.window() <= 0xffff},
		{"a timer runs for what is not acknowledged", c.out.una == c.out.max || c.state == Closed || c.timer.purpose == retransmit ||
			c.timer.purpose == persist || c.timer.purpose == none && c.out.next == c.out.una},
		{"a timer of the state", c.timer.purpose != timeWait || c.state == TimeWait},
		{"TIME-WAIT ends", c.state != TimeWait || c.timer.purpose == timeWait},
		{"a released FIN-WAIT-2 ends", c.state != FinWait2 || !c.released || c.timer.purpose == finWait},
		{"a closed connection has no timer", c.state != Closed || c.timer.purpose == none && c.reply.waiting == 0},
		{"states with FIN", !c.closing || c.state != Established && c.state != CloseWait},
		{"FIN is acknowledged", c.state != FinWait2 && c.state != TimeWait || c.finAcknowledged()},
		{"FIN has come", c.in.finished == (c.state == CloseWait || c.state == LastAck || c.state == Closing || c.state == TimeWait) || c.state == Closed},
		{"RTO", c.state == Closed || c.timer.rto >= minimumRTO && c.timer.rto <= maximumRTO},
		{"retries", c.timer.retries <= MaxRetries && c.timer.backoff <= 6},
	} {
		if !rule.good {
			return fmt.Errorf("%s: %s does not hold: out %s, in %s, timer %+v, congestion %+v", c.state, rule.name, c.out.text(), c.in.text(), c.timer, c.congestion)
		}
	}
	return c.in.check()
}

// Settled says what is inconsistent when Next has nothing more to give.
func (c *Conn) Settled() error {
	if c.state == Closed || c.timer.purpose != none {
		return nil
	}
	if c.out.una != c.out.max || before(c.out.una, c.out.end) && !c.opening() || c.closing && c.state != FinWait2 {
		return fmt.Errorf("%s: nothing is awaited, but not all is sent: out %s, timer %+v", c.state, c.out.text(), c.timer)
	}
	return nil
}

func (r *receiver) check() error {
	for i, x := range r.islands[:r.count] {
		if !before(r.expected, x.from) || !before(x.from, x.to) || before(r.edge, x.to) || r.finKnown && before(r.fin, x.to) {
			return fmt.Errorf("island %v: in %s", x, r.text())
		}
		for _, y := range r.islands[:i] {
			if !before(x.to, y.from) && !before(y.to, x.from) {
				return fmt.Errorf("islands %v and %v touch", x, y)
			}
		}
	}
	if r.finKnown && !r.finished && before(r.fin, r.expected) {
		return fmt.Errorf("FIN at %d was passed: in %s", r.fin, r.text())
	}
	return nil
}

func (o *sender) text() string {
	return fmt.Sprintf("una %d next +%d max +%d end +%d window %d mss %d", o.una, o.next-o.una, o.max-o.una, o.end-o.una, o.window, o.mss)
}

func (r *receiver) text() string {
	return fmt.Sprintf("read %d expected +%d edge +%d islands %v fin %v +%d", r.read, r.expected-r.read, r.edge-r.read, r.islands[:r.count], r.finKnown, r.fin-r.read)
}

// Sent says what is wrong in a segment that Next has just given.
func (c *Conn) Sent(s *Segment) error {
	if s.Flags&RST == 0 && before(c.out.max, s.Sequence+s.length()) {
		return fmt.Errorf("%s: a segment ends at una +%d, and is not noted: out %s", c.state, s.Sequence+s.length()-c.out.una, c.out.text())
	}
	return nil
}

// FirstSequence is the sequence number of the first byte that is sent.
func (c *Conn) FirstSequence() uint32 { return c.out.first }

// WriteSequence and ReadSequence are the sequence numbers of what is written and read next.
func (c *Conn) WriteSequence() uint32 { return c.out.end }
func (c *Conn) ReadSequence() uint32  { return c.in.read }

// MaxSequence is behind all that was ever sent.
func (c *Conn) MaxSequence() uint32 { return c.out.max }

// Probes says that a closed window is waited for.
func (c *Conn) Probes() bool { return c.timer.purpose == persist && c.out.window == 0 }

// TakeWindow takes the window of a segment, however old it is.
func (c *Conn) TakeWindow(s *Segment) {
	if c.state != Closed && !c.opening() && s.Flags&ACK != 0 {
		c.receiveWindow(&Segment{Sequence: c.out.wl1, Acknowledgment: c.out.wl2, Window: s.Window})
	}
}
