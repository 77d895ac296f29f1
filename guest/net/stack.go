package net

import "kapsel/guest/net/tcp"

// MTUs, in bytes of an IPv4 datagram.
const (
	MinMTU = 576  // what every host must be able to receive (RFC 791, 3.1)
	MaxMTU = 1500 // Ethernet's
)

// maxName is the longest name of a host, in bytes (RFC 1035, 2.3.4).
const maxName = 63

// A Config says what a Stack is to be.
type Config struct {
	Hardware HardwareAddress
	// MTU is from MinMTU to MaxMTU; 0 means MaxMTU.
	MTU int
	// Name is the host's name, which DHCP tells the server, of at most 63 bytes; it may be empty.
	Name string
	// Random returns 32 random bits, which nobody else can foresee.
	Random func() uint32
	// Sockets are the pool of UDP sockets, by MakeSockets.
	Sockets []Socket
	// Conns are the pool of TCP connections, by MakeConns.
	Conns []Conn
}

// A Stack is the TCP/IP of one interface. It is made by Init.
type Stack struct {
	hardware HardwareAddress
	mtu      int
	name     string
	random   func() uint32
	counters Counters

	bound bool // there is an address
	network

	neighbors     [neighbors]neighbor
	announcements int  // still to be sent
	announceAt    Time // when
	announced     Time // the last

	frames [frameBuffers]frame
	order  uint32 // of the last frame

	echoes, refusals, resets rate
	ping                     ping
	dhcp                     dhcp

	sockets   []Socket
	conns     []Conn
	listeners [listeners]Listener
	begun     uint32 // connections
	turn      int    // which socket or connection may send next
	now       Time   // of the last call that told it

	segmentIn, segmentOut tcp.Segment // that is being worked on
}

// Init makes the stack's buffers. The error is ErrConfig.
func (s *Stack) Init(c Config) error {
	if c.MTU == 0 {
		c.MTU = MaxMTU
	}
	if c.MTU < MinMTU || c.MTU > MaxMTU || len(c.Name) > maxName || c.Random == nil || c.Hardware.group() || c.Hardware == (HardwareAddress{}) {
		return ErrConfig
	}
	*s = Stack{hardware: c.Hardware, mtu: c.MTU, name: c.Name, random: c.Random, sockets: c.Sockets, conns: c.Conns}
	for i := range s.frames {
		s.frames[i].data = make([]byte, ethernetSize+c.MTU)
	}
	for i := range s.conns {
		s.conns[i].stack = s
	}
	for i := range s.sockets {
		s.sockets[i].stack = s
	}
	for i := range s.listeners {
		s.listeners[i].stack = s
	}
	return nil
}

// SetAddress gives the stack an address, a netmask of 1 to 32 bits, and a gateway on that network; the zero Address is none. A
// network of one address may have its gateway outside. It ends DHCP, and announces the address. Connections of another
// address are aborted. The error is ErrAddress.
func (s *Stack) SetAddress(a Address, bits int, gateway Address, now Time) error {
	n := network{a, bits, gateway}
	if !n.usable() || gateway != (Address{}) && !n.reaches(gateway) {
		return ErrAddress
	}
	s.dhcp.state = dhcpOff
	s.bind(n, now)
	return nil
}

// bind makes an address the stack's, and announces it.
func (s *Stack) bind(n network, now Time) {
	if s.bound && s.network != n {
		s.unbind()
	}
	s.bound, s.network = true, n
	s.announcements, s.announceAt = announceTimes, now
}

// unbind gives the address up, and with it what was only valid with it.
func (s *Stack) unbind() {
	s.bound, s.network = false, network{}
	s.announcements = 0
	s.ping.waiting, s.ping.open = false, false
	for i := range s.neighbors {
		s.forget(&s.neighbors[i])
	}
	for i := range s.frames {
		if f := &s.frames[i]; f.state != frameFree {
			f.state = frameFree
			s.drop(OutNoRoute)
		}
	}
	for i := range s.conns {
		s.conns[i].lost()
	}
}

// Address returns the stack's address and the bits of its netmask; ok is false while there is none.
func (s *Stack) Address() (a Address, bits int, ok bool) { return s.address, s.bits, s.bound }

// Gateway returns the gateway; ok is false if there is none.
func (s *Stack) Gateway() (a Address, ok bool) { return s.gateway, s.gateway != Address{} }

// Hardware returns the interface's address.
func (s *Stack) Hardware() HardwareAddress { return s.hardware }

// Output writes the next frame to send to buf, which must have room for MTU+14 bytes, and returns its length; 0 if there is none now.
func (s *Stack) Output(buf []byte, now Time) int {
	if len(buf) < s.mtu+ethernetSize {
		return 0
	}
	s.now = now
	n := s.output(buf, now)
	if n > 0 {
		s.counters.Out++
	}
	return n
}

func (s *Stack) output(buf []byte, now Time) int {
	if n := s.outputDHCP(buf, now); n > 0 {
		return n
	}
	if n := s.outputFrames(buf, now); n > 0 {
		return n
	}
	if n := s.outputARP(buf, now); n > 0 {
		return n
	}
	if n := s.outputPing(buf, now); n > 0 {
		return n
	}
	return s.outputQueues(buf, now)
}

// outputQueues writes the next frame of a socket or a connection: each has its turn.
func (s *Stack) outputQueues(buf []byte, now Time) int {
	all := len(s.sockets) + len(s.conns)
	for range all {
		i := s.turn
		s.turn = (s.turn + 1) % all
		n := 0
		if i < len(s.sockets) {
			n = s.sockets[i].output(buf, now)
		} else {
			n = s.conns[i-len(s.sockets)].output(buf, now)
		}
		if n > 0 {
			return n
		}
	}
	return 0
}

// A deadline is the first of several times.
type deadline struct {
	time Time
	set  bool
}

// at adds a time.
func (d *deadline) at(t Time) {
	if !d.set || t < d.time {
		d.time, d.set = t, true
	}
}

// Deadline returns when Output is to be called at the latest, though nothing else happens; ok is false if never. It holds when
// Output has returned 0, until Input or a call that sends.
func (s *Stack) Deadline() (at Time, ok bool) {
	var d deadline
	s.deadlineARP(&d)
	s.deadlineDHCP(&d)
	for i := range s.conns {
		s.conns[i].deadline(&d)
	}
	return d.time, d.set
}
