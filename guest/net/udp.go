package net

import "kapsel/guest/net/checksum"

// The header of UDP (RFC 768).
const (
	udpSize     = 8
	udpLength   = 4
	udpChecksum = 6
)

// Ports that are given to who wants any (RFC 6335, 6).
const (
	firstAnyPort = 49152
	anyPorts     = 1 << 14
)

// A Socket is one of UDP. Datagrams that wait, in and out, lie in its two buffers.
type Socket struct {
	stack    *Stack
	port     uint16 // 0: closed
	in, out  ring
	failed   bool // the last of what was sent to failedAt did not arrive
	failedAt Endpoint
}

// MakeSockets makes n sockets, with size bytes of buffer in each direction. A datagram takes 8 bytes more than its data.
func MakeSockets(n, size int) []Socket {
	sockets := make([]Socket, n)
	for i := range sockets {
		sockets[i].in.buf, sockets[i].out.buf = make([]byte, size), make([]byte, size)
	}
	return sockets
}

// Open opens a UDP socket at a port; 0 means any free one. DHCP's, 68, is the stack's. The error is ErrPortInUse or ErrNoSocket.
func (s *Stack) Open(port uint16) (*Socket, error) {
	if port == dhcpClientPort || port != 0 && s.socket(port) != nil {
		return nil, ErrPortInUse
	}
	for i := range s.sockets {
		k := &s.sockets[i]
		if k.port != 0 {
			continue
		}
		for port == 0 || s.socket(port) != nil {
			port = s.anyPort()
		}
		k.port, k.failed = port, false
		k.in.empty()
		k.out.empty()
		return k, nil
	}
	return nil, ErrNoSocket
}

// anyPort returns a port by chance, which others cannot guess (RFC 6056, 3.3.1).
func (s *Stack) anyPort() uint16 { return uint16(firstAnyPort + s.random()%anyPorts) }

// socket returns the socket at a port, or nil.
func (s *Stack) socket(port uint16) *Socket {
	for i := range s.sockets {
		if k := &s.sockets[i]; port != 0 && k.port == port {
			return k
		}
	}
	return nil
}

// Port returns the port of the socket; 0 when it is closed.
func (k *Socket) Port() uint16 { return k.port }

// SendTo sends a datagram, when Output comes to it; to Broadcast or to the network's broadcast address, to all. The error is
// ErrClosed, ErrNoAddress, ErrNoRoute, ErrTooLong or ErrFull.
func (k *Socket) SendTo(data []byte, to Endpoint) error {
	if k.port == 0 {
		return ErrClosed
	}
	if err := k.stack.reachable(to.Address); err != nil {
		return err
	}
	if len(data) > k.stack.mtu-ipv4Size-udpSize {
		return ErrTooLong
	}
	if !k.out.push(data, to) {
		return ErrFull
	}
	return nil
}

// ReceiveFrom copies the datagram that came first to buf. ok is false if there is none. The error is ErrTruncated; or
// ErrUnreachable, when nothing came but word that what was sent to that endpoint did not arrive; or ErrClosed.
func (k *Socket) ReceiveFrom(buf []byte) (n int, from Endpoint, ok bool, err error) {
	if k.port == 0 {
		return 0, from, false, ErrClosed
	}
	length, from, ok := k.in.pop(buf)
	switch {
	case !ok && k.failed:
		k.failed = false
		return 0, k.failedAt, false, ErrUnreachable
	case length > len(buf):
		return len(buf), from, ok, ErrTruncated
	}
	return length, from, ok, nil
}

// Close closes the socket. What waits in it is lost.
func (k *Socket) Close() { k.port = 0 }

// A udpHeader is the header of a datagram.
type udpHeader struct{ source, destination uint16 }

// parseUDP reads a datagram of UDP and returns its data. A checksum of 0 is none.
func parseUDP(d *datagram, h *udpHeader) (data []byte, c Cause) {
	if len(d.data) < udpSize {
		return nil, UDPMalformed
	}
	length := int(get16(d.data[udpLength:]))
	if length < udpSize || length > len(d.data) {
		return nil, UDPMalformed
	}
	b := d.data[:length]
	if get16(b[udpChecksum:]) != 0 && checksum.Finish(checksum.Add(checksum.Pseudo(d.source, d.destination, protocolUDP, length), b)) != 0 {
		return nil, UDPChecksum
	}
	h.source, h.destination = get16(b), get16(b[2:])
	return b[udpSize:], taken
}

// putUDP writes the header before length-udpSize bytes of data.
func putUDP(b []byte, h udpHeader, source, destination Address, length int) {
	put16(b, h.source)
	put16(b[2:], h.destination)
	put16(b[udpLength:], uint16(length))
	put16(b[udpChecksum:], 0)
	sum := checksum.Finish(checksum.Add(checksum.Pseudo(source, destination, protocolUDP, length), b[:length]))
	if sum == 0 {
		sum = 0xffff // 0 would be none
	}
	put16(b[udpChecksum:], sum)
}

// inputUDP takes a datagram.
func (s *Stack) inputUDP(d *datagram, now Time) Cause {
	var h udpHeader
	data, c := parseUDP(d, &h)
	if c != taken {
		return c
	}
	if h.destination == dhcpClientPort && s.dhcp.state != dhcpOff {
		return s.inputDHCP(data, h.source, now)
	}
	if !s.bound {
		return IPv4NotForUs
	}
	k := s.socket(h.destination)
	if k == nil {
		return s.refuse(d, codePort, UDPNoSocket, now)
	}
	if !k.in.push(data, Endpoint{d.source, h.source}) {
		return UDPFull
	}
	return taken
}

// output writes the next frame of the socket.
func (k *Socket) output(buf []byte, now Time) int {
	if k.port == 0 {
		return 0
	}
	b := buf[ethernetSize+ipv4Size:]
	for {
		length, to, ok := k.out.pop(b[udpSize:])
		if !ok {
			return 0
		}
		length += udpSize
		putUDP(b, udpHeader{k.port, to.Port}, k.stack.address, to.Address, length)
		if n := k.stack.send(buf, to.Address, protocolUDP, length, now); n > 0 {
			return n
		}
	}
}
