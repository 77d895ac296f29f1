package tcp

// Times, in microseconds.
const (
	TimeWaitTime = 60_000_000 // how long TIME-WAIT lasts: twice a maximum segment lifetime of 30 seconds (RFC 9293, 3.4.2)
	FinWait2Time = 60_000_000 // how long a released connection waits for the peer's FIN
	AckDelay     = 200_000    // how long an acknowledgment waits for a second segment (RFC 9293, 3.8.6.3)

	initialRTO = 1_000_000 // before the first measurement (RFC 6298, 2.1)
	lossyRTO   = 3_000_000 // when a SYN was sent again (RFC 6298, 5.7)
	minimumRTO = 1_000_000 // RFC 6298, 2.4
	maximumRTO = 60_000_000
	clockUnit  = 1_000 // the granularity of the owner's clock, G in RFC 6298, 2.3
)

// How often a segment is sent again before the connection ends with ErrTimeout: SYN for 3 minutes, others for 8, where the round trip
// is short (RFC 9293, 3.8.3).
const (
	MaxSynRetries = 7
	MaxRetries    = 12
)

// Limits of the acknowledgments that answer what may be an attack (RFC 5961, 7).
const (
	maxChallenges  = 10
	challengesTime = 5_000_000
)

// A purpose is what the timer runs for.
type purpose uint8

const (
	none       purpose = iota
	retransmit         // something is not acknowledged
	persist            // something waits for a window (RFC 9293, 3.8.6.1)
	finWait            // a released connection waits for the peer's FIN
	timeWait           // TIME-WAIT
)

// timer is the timer of a connection, of which no two purposes come together, and the retransmission timeout (RFC 6298).
type timer struct {
	purpose   purpose
	backoff   uint8 // the timeout is doubled so often
	retries   uint8 // since the peer last answered
	force     bool  // it has expired: send again, or beyond the window
	measuring bool  // the segment that ends at sequence was sent at since, once
	sequence  uint32
	rto       uint32 // without backoff
	srtt      uint32 // 0: not measured
	rttvar    uint32
	at        uint64
	since     uint64
	lastSent  uint64 // when data was last sent
}

func (t *timer) start(p purpose, at uint64) { t.purpose, t.at = p, at }

func (t *timer) stop() { t.purpose, t.force = none, false }

// timeout is the RTO with backoff.
func (t *timer) timeout() uint64 {
	return min(uint64(t.rto)<<t.backoff, maximumRTO)
}

// measure takes a sample of the round trip (RFC 6298, 2). Segments that were sent twice are not measured (Karn's algorithm, 3).
func (t *timer) measure(now uint64) {
	t.measuring, t.backoff = false, 0
	r := uint32(max(1, min(now-t.since, maximumRTO)))
	if t.srtt == 0 {
		t.srtt, t.rttvar = r, r/2
	} else {
		t.rttvar = t.rttvar - t.rttvar/4 + (max(t.srtt, r)-min(t.srtt, r))/4
		t.srtt = max(1, t.srtt-t.srtt/8+r/8)
	}
	t.rto = max(minimumRTO, min(t.srtt+max(clockUnit, 4*t.rttvar), maximumRTO))
}

// Deadline is when Next is to be called at the latest. It reports false if time changes nothing.
func (c *Conn) Deadline() (uint64, bool) {
	at, any := c.timer.at, c.timer.purpose != none
	if c.reply.waiting > 0 && (!any || c.reply.at < at) {
		at, any = c.reply.at, true
	}
	return at, any
}

// expire does what the timer is for, when its time has come.
func (c *Conn) expire(now uint64) {
	t := &c.timer
	if t.purpose == none || now < t.at {
		return
	}
	switch t.purpose {
	case timeWait:
		c.end(nil)
	case finWait:
		c.abort(ErrTimeout)
	default:
		c.retry()
	}
}

// retry begins again at the oldest that is not acknowledged. Where the peer's window is closed, that is a probe: it ends the
// connection if the peer does not answer, but never for a window that stays closed.
func (c *Conn) retry() {
	t := &c.timer
	if t.purpose == persist && c.out.window > 0 { // too small a window was waited for long enough
		t.stop()
		t.force = true
		return
	}
	limit := uint8(MaxRetries)
	if c.opening() {
		limit = MaxSynRetries
	}
	if t.retries == limit {
		c.abort(ErrTimeout)
		return
	}
	if c.opening() || c.out.window > 0 {
		c.congestion.timeout(&c.out, t.retries == 0)
	}
	c.out.next = c.out.una
	t.retries++
	t.backoff = min(t.backoff+1, 6) // 64 s, which is beyond the maximum
	t.stop()
	t.force = true
}

// opening says that our SYN is not acknowledged.
func (c *Conn) opening() bool { return c.state == SynSent || c.state == SynReceived }

// waitForAck starts the timer when something was sent.
func (c *Conn) waitForAck(now uint64) {
	if c.timer.purpose != none {
		return
	}
	p := retransmit
	if !c.opening() && c.out.window == 0 {
		p = persist
	}
	c.timer.start(p, now+c.timer.timeout())
}
