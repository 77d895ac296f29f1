package net

import (
	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

// listeners is how many ports connections can be accepted at.
const listeners = 8

// A Conn is a connection of TCP, in the pool of a Stack: package tcp's, with addresses.
type Conn struct {
	stack    *Stack
	tcp      tcp.Conn
	local    uint16
	remote   Endpoint
	owned    bool      // by who accepted or dialled it
	listener *Listener // who has still to accept it
	order    uint32    // which began first
	since    Time      // when it began, or its owner let it go
}

// A Listener accepts connections to a port.
type Listener struct {
	stack *Stack
	port  uint16 // 0: closed
}

// MakeConns makes n connections, with buffers of so many bytes, which are powers of two: else it panics. The buffer to receive
// is also how much a peer may send ahead.
func MakeConns(n, send, receive int) []Conn {
	conns := make([]Conn, n)
	for i := range conns {
		conns[i].tcp.Init(make([]byte, send), make([]byte, receive))
	}
	return conns
}

// Listen accepts connections to a port: Accept returns them. The error is ErrPortInUse or ErrNoSocket.
func (s *Stack) Listen(port uint16) (*Listener, error) {
	if port == 0 || s.listener(port) != nil {
		return nil, ErrPortInUse
	}
	for i := range s.listeners {
		if l := &s.listeners[i]; l.port == 0 {
			l.port = port
			return l, nil
		}
	}
	return nil, ErrNoSocket
}

// listener returns the listener at a port, or nil.
func (s *Stack) listener(port uint16) *Listener {
	for i := range s.listeners {
		if l := &s.listeners[i]; port != 0 && l.port == port {
			return l
		}
	}
	return nil
}

// Accept returns the connection to the port that stands and was begun first, or nil. It is the caller's until Close or Abort.
func (l *Listener) Accept() *Conn {
	var first *Conn
	for i := range l.stack.conns {
		c := &l.stack.conns[i]
		stands := c.tcp.State() == tcp.Established || c.tcp.State() == tcp.CloseWait
		if c.listener == l && stands && (first == nil || int32(c.order-first.order) < 0) {
			first = c
		}
	}
	if first != nil {
		first.listener, first.owned = nil, true
	}
	return first
}

// Close ends listening. Connections that were not accepted are aborted.
func (l *Listener) Close() {
	l.port = 0
	for i := range l.stack.conns {
		if c := &l.stack.conns[i]; c.listener == l {
			c.listener = nil
			c.tcp.Abort()
		}
	}
}

// Dial begins a connection, which is there when its State is tcp.Established. It is the caller's until Close or Abort. The
// error is ErrNoAddress, ErrNoRoute or ErrNoSocket.
func (s *Stack) Dial(to Endpoint, now Time) (*Conn, error) {
	if err := s.reachable(to.Address); err != nil {
		return nil, err
	}
	if hop, _ := s.route(to.Address); hop == Broadcast || to.Port == 0 {
		return nil, ErrNoRoute
	}
	c := s.room(now)
	if c == nil {
		return nil, ErrNoSocket
	}
	local := s.anyPort()
	for s.portInUse(local) {
		local = s.anyPort()
	}
	c.begin(local, to, now)
	c.owned = true
	c.tcp.Connect(local, to.Port, s.random(), s.mss())
	return c, nil
}

// mss is the most data of a segment.
func (s *Stack) mss() uint16 { return uint16(s.mtu - ipv4Size - tcp.HeaderSize) }

// portInUse reports whether a connection or a listener has a port.
func (s *Stack) portInUse(port uint16) bool {
	for i := range s.conns {
		if c := &s.conns[i]; c.local == port && !c.free() {
			return true
		}
	}
	return s.listener(port) != nil
}

// begin makes a connection of the pool that between two ports.
func (c *Conn) begin(local uint16, remote Endpoint, now Time) {
	c.stack.begun++
	c.since = now
	c.local, c.remote, c.owned, c.listener, c.order = local, remote, false, nil, c.stack.begun
}

// free reports whether a connection can be used for the next.
func (c *Conn) free() bool { return !c.owned && c.tcp.Done() }

// givesWay says in which states a connection that nobody owns gives way to a new one, those that lose least first, and how long after it began
// or was let go. It only waits for stray segments; its peer has all and has not closed; it is half open; its peer has
// yet to take all, and perhaps never will. That peer is told, by a reset: it may wait for what was lost, and say nothing.
var givesWay = [...]struct {
	state tcp.State
	after Time
	tell  bool
}{
	{tcp.TimeWait, 0, false}, {tcp.FinWait2, 0, false},
	{tcp.SynReceived, Second / 10, false}, // what comes with many others still has the time of a handshake
	{tcp.SynSent, 0, false}, {tcp.Closing, Second, true}, {tcp.LastAck, Second, true}, {tcp.FinWait1, Second, true},
}

// room returns a connection of the pool for a new one, or nil. If none is free, the oldest that givesWay names is taken.
func (s *Stack) room(now Time) *Conn {
	for i := range s.conns {
		if s.conns[i].free() {
			return &s.conns[i]
		}
	}
	for _, way := range &givesWay {
		var first *Conn
		for i := range s.conns {
			c := &s.conns[i]
			gives := !c.owned && c.tcp.State() == way.state && now-c.since >= way.after
			if gives && (first == nil || int32(c.order-first.order) < 0) {
				first = c
			}
		}
		if first != nil && way.tell {
			first.tcp.Abort()
			first.tcp.Next(&s.segmentOut, nil, uint64(now))
			s.answerTCP(first.remote.Address, now)
		}
		if first != nil {
			return first
		}
	}
	return nil
}

// conn returns the connection between a port and a peer, or nil.
func (s *Stack) conn(local uint16, remote Endpoint) *Conn {
	for i := range s.conns {
		if c := &s.conns[i]; c.local == local && c.remote == remote && c.tcp.State() != tcp.Closed {
			return c
		}
	}
	return nil
}

// inputTCP takes a segment.
func (s *Stack) inputTCP(d *datagram, now Time) Cause {
	if d.group || !s.bound {
		return TCPGroup
	}
	in := &s.segmentIn
	if !tcp.Parse(d.data, checksum.Pseudo(d.source, d.destination, protocolTCP, len(d.data)), in) {
		return TCPMalformed
	}
	remote := Endpoint{d.source, in.Source}
	c, l := s.conn(in.Destination, remote), s.listener(in.Destination)
	anew := c != nil && l != nil && !c.owned && c.tcp.Reusable(in)
	switch {
	case c != nil && !anew:
		c.tcp.Receive(in, uint64(now))
		return taken
	case l == nil || in.Flags&(tcp.SYN|tcp.ACK|tcp.RST) != tcp.SYN:
		return s.refuseTCP(d, now)
	case c == nil:
		c = s.room(now)
	}
	if c == nil {
		return TCPFull
	}
	c.begin(l.port, remote, now)
	c.listener = l
	c.tcp.Accept(in, s.random(), s.mss())
	return taken
}

// refuseTCP answers segmentIn, of no connection, with a reset.
func (s *Stack) refuseTCP(d *datagram, now Time) Cause {
	if !tcp.Refuse(&s.segmentIn, &s.segmentOut) {
		return TCPNoConn
	}
	if c := s.answerTCP(d.source, now); c != taken {
		return c
	}
	return TCPNoConn
}

// answerTCP has segmentOut, which is a reset, sent to an address, unless there were many.
func (s *Stack) answerTCP(to Address, now Time) Cause {
	if !s.resets.allow(ResetRate, now) {
		return ResetLimit
	}
	size := s.segmentOut.Size()
	f := s.answer(to, protocolTCP, size)
	if f == nil {
		return AnswerFull
	}
	s.segmentOut.Put(f.data[ethernetSize+ipv4Size:], checksum.Pseudo(s.address, to, protocolTCP, size))
	return taken
}

// output writes the next segment of the connection.
func (c *Conn) output(buf []byte, now Time) int {
	s := c.stack
	out := &s.segmentOut
	b := buf[ethernetSize+ipv4Size:]
	for c.tcp.Next(out, b[tcp.HeaderSize:][:s.mss()], uint64(now)) {
		size := out.Size()
		out.Put(b, checksum.Pseudo(s.address, c.remote.Address, protocolTCP, size))
		if n := s.send(buf, c.remote.Address, protocolTCP, size, now); n > 0 {
			return n
		}
	}
	return 0
}

// deadline is when output has something to do.
func (c *Conn) deadline(d *deadline) {
	if at, ok := c.tcp.Deadline(); ok {
		d.at(Time(at))
	}
}

// lost ends the connection: the stack's address is not its own any more. Its reset would come from another, so it is not sent.
func (c *Conn) lost() {
	c.listener = nil
	c.tcp.Abort()
	c.tcp.Next(&c.stack.segmentOut, nil, uint64(c.stack.now))
}

// Read copies what has come to p: 0 bytes and no error if there is nothing yet. When all is read, the error is tcp.EOF after the
// peer's end, or why the connection is over.
func (c *Conn) Read(p []byte) (int, error) { return c.tcp.Read(p) }

// Write takes what there is room for, and returns how much; the error is why the connection is over.
func (c *Conn) Write(p []byte) (int, error) { return c.tcp.Write(p) }

// CloseWrite sends the end after what was written. What the peer sends can still be read.
func (c *Conn) CloseWrite() { c.tcp.Close() }

// Close sends what was written, and the end; with data that was not read, a reset. The connection is the stack's again: do not use
// it afterwards.
func (c *Conn) Close() {
	c.owned, c.since = false, c.stack.now
	c.tcp.Release(uint64(c.stack.now))
}

// Abort resets the connection. It is the stack's again: do not use it afterwards.
func (c *Conn) Abort() {
	c.owned = false
	c.tcp.Abort()
}

// Readable returns how many bytes Read has.
func (c *Conn) Readable() int { return c.tcp.Readable() }

// Writable returns how many bytes Write takes.
func (c *Conn) Writable() int { return c.tcp.Writable() }

// State returns the state of the connection.
func (c *Conn) State() tcp.State { return c.tcp.State() }

// Remote returns the peer.
func (c *Conn) Remote() Endpoint { return c.remote }

// Local returns our port.
func (c *Conn) Local() uint16 { return c.local }
