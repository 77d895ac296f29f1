// Package tcp is one TCP connection as a state machine: segments in, segments out, timers. It knows no addresses, does no I/O and
// reads no clock: time is in microseconds from any start, and comes with the calls.
//
// It follows RFC 9293, 5961 (blind attacks), 6298 (retransmission), 5681, 6582 and 6928 (congestion). It has no selective
// acknowledgments, window scaling, time stamps, urgent data or keep-alive.
//
// The owner of a Conn hands each segment to Receive, and then, as after Read, Write, Close and the like and when Deadline has
// passed, sends what Next gives until it gives nothing. Nothing is allocated.
package tcp

// State is a state of a connection (RFC 9293, 3.3.2). LISTEN is the owner's affair: it calls Accept.
type State uint8

// The states.
const (
	Closed State = iota
	SynSent
	SynReceived
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWait
)

// String is the name that RFC 9293 has for the state.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "?"
	}
	return stateNames[s]
}

var stateNames = [...]string{
	"CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT",
}

// failure is an error that is there from the start.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// The errors of Read, Write and Err.
var (
	EOF        error = &failure{"tcp: the peer has sent all"}
	ErrClosed  error = &failure{"tcp: the connection was closed on this side"}
	ErrReset   error = &failure{"tcp: the peer has reset the connection"}
	ErrRefused error = &failure{"tcp: the peer has refused the connection: nothing listens at its port"}
	ErrTimeout error = &failure{"tcp: the peer does not answer"}
)

// Conn is one connection. Init comes first, then Connect or Accept. When Done, it can be used for the next.
type Conn struct {
	err           error // why it is Closed, nil after both sides have sent FIN
	state         State
	local, remote uint16
	closing       bool // our FIN follows the data that was written
	released      bool // nobody reads
	noDelay       bool
	passive       bool // it began with Accept

	out        sender
	in         receiver
	reply      reply
	timer      timer
	congestion congestion
}

// Init gives the connection its buffers, whose sizes are powers of two, up to 1 GiB; else it panics. Of the one to receive, at
// most 65,535 bytes are ever offered to the peer. The connection is Closed then.
func (c *Conn) Init(send, receive []byte) {
	if !sizeIsGood(len(send)) || !sizeIsGood(len(receive)) {
		panic("tcp: the size of a buffer is no power of two up to 1 GiB")
	}
	*c = Conn{}
	c.out.buffer, c.in.buffer = send, receive
}

func sizeIsGood(n int) bool { return n > 0 && n&(n-1) == 0 && n <= 1<<30 }

// Connect begins a connection between two ports, with the initial sequence number iss, which nobody can guess (RFC 6528). mss is
// the most data of a segment that the network below carries, both ways; it is told to the peer.
func (c *Conn) Connect(local, remote uint16, iss uint32, mss uint16) {
	c.start(local, remote, iss, mss)
	c.state = SynSent
}

// Accept begins a connection with the SYN of a peer, which has neither ACK nor RST. Data that comes with it is left to be sent again.
func (c *Conn) Accept(syn *Segment, iss uint32, mss uint16) {
	c.start(syn.Destination, syn.Source, iss, mss)
	c.state, c.passive = SynReceived, true
	c.synchronize(syn)
}

// start forgets the last connection.
func (c *Conn) start(local, remote uint16, iss uint32, mss uint16) {
	noDelay := c.noDelay
	c.Init(c.out.buffer, c.in.buffer)
	c.noDelay, c.local, c.remote = noDelay, local, remote
	c.out.start(iss, mss)
	c.in.mss = c.out.mss
	c.timer.rto = initialRTO
}

// synchronize takes from the peer's SYN what it tells.
func (c *Conn) synchronize(syn *Segment) {
	c.in.start(syn.Sequence)
	c.out.takeMSS(syn.MSS)
	c.out.setWindow(syn)
	c.congestion.start(c.out.mss, c.out.first)
}

// SetNoDelay says that data is sent at once even where a small segment is on its way (else the Nagle algorithm, RFC 9293, 3.7.4). It
// holds for the following connections too.
func (c *Conn) SetNoDelay(on bool) { c.noDelay = on }

// State is the state of the connection.
func (c *Conn) State() State { return c.state }

// Ports are the connection's.
func (c *Conn) Ports() (local, remote uint16) { return c.local, c.remote }

// Err is why the connection has ended: nil while it has not, and when both sides have ended it in order.
func (c *Conn) Err() error { return c.err }

// Done says that the connection is Closed and has nothing more to send: its owner can forget it, or start it anew. What was received
// can still be read.
func (c *Conn) Done() bool { return c.state == Closed && !c.reply.reset }

// Readable is how many bytes Read has.
func (c *Conn) Readable() int { return int(c.in.readable()) }

// Writable is how many bytes Write takes.
func (c *Conn) Writable() int {
	if c.canWrite() != nil {
		return 0
	}
	return int(c.out.room())
}

// Read copies what has arrived to p. 0 and nil: there is nothing yet. When all is read, the error is EOF after the peer's FIN, and
// else why the connection has ended.
func (c *Conn) Read(p []byte) (int, error) {
	if c.released {
		return 0, ErrClosed
	}
	if n := c.in.take(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	if c.in.finished {
		return 0, EOF
	}
	return 0, c.ended()
}

// Write copies from p what there is room for, and returns how much that is. It can be called before the connection stands.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.canWrite(); err != nil {
		return 0, err
	}
	return c.out.put(p), nil
}

func (c *Conn) canWrite() error {
	if c.closing {
		return ErrClosed
	}
	return c.ended()
}

// ended is why a Closed connection can do no more.
func (c *Conn) ended() error {
	if c.state != Closed {
		return nil
	}
	if c.err == nil {
		return ErrClosed
	}
	return c.err
}

// Close ends our side: FIN follows what was written. What the peer sends can be read as before, without limit of time.
func (c *Conn) Close() {
	if c.state == SynSent && c.out.end == c.out.first {
		c.end(ErrClosed)
	}
	c.closing = true
	switch c.state {
	case Established:
		c.state = FinWait1
	case CloseWait:
		c.state = LastAck
	}
}

// Release is Close by an owner who will not read either: data that is unread or comes later resets the connection (RFC 9293,
// 3.6.1), and the peer's FIN is awaited for FinWait2Time.
func (c *Conn) Release(now uint64) {
	c.Close()
	c.released = true
	if c.in.readable() > 0 {
		c.Abort()
	}
	if c.state == FinWait2 {
		c.timer.start(finWait, now+FinWait2Time)
	}
}

// Abort ends the connection at once, with a reset where the peer has to know (RFC 9293, 3.10.5; in CLOSING and LAST-ACK as well, since
// a peer that waits for what was lost says nothing, and so would never know).
func (c *Conn) Abort() {
	c.abort(ErrClosed)
}

func (c *Conn) abort(why error) {
	switch c.state {
	case Closed, SynSent, TimeWait:
	default:
		c.reply.sendReset(c.sequence())
	}
	c.end(why)
}

// Reusable says that a SYN for these ports begins a new connection, though the old one is not over: it waits in TIME-WAIT, and the
// sequence number is behind all of the old (RFC 9293, 3.6.1).
func (c *Conn) Reusable(syn *Segment) bool {
	return c.state == TimeWait && syn.Flags&(SYN|ACK|RST) == SYN && notAfter(c.in.expected, syn.Sequence)
}

// end makes the connection Closed. A reset that is to be sent stays.
func (c *Conn) end(why error) {
	if c.state == Closed {
		return
	}
	c.state, c.err = Closed, why
	c.timer.stop()
	c.reply = reply{reset: c.reply.reset, resetSequence: c.reply.resetSequence}
}
