package net

import "kapsel/guest/net/checksum"

// The header of IPv4 (RFC 791, 3.1).
const (
	ipv4Size         = 20
	ipv4TotalLength  = 2
	ipv4Flags        = 6
	ipv4TTL          = 8
	ipv4Protocol     = 9
	ipv4Checksum     = 10
	ipv4Source       = 12
	ipv4Destination  = 16
	ipv4DontFragment = 0x4000
	ipv4Fragmented   = 0x3fff // more fragments, or an offset
)

// Protocols (RFC 790).
const (
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17
)

// timeToLive is that of all datagrams (RFC 1700, page 64).
const timeToLive = 64

// A datagram is one of IPv4.
type datagram struct {
	source, destination Address
	protocol            uint8
	fragment            bool   // a part of a longer one
	group               bool   // to many, in IPv4 or in Ethernet
	header              []byte // with its options
	data                []byte
}

// parseIPv4 reads a datagram. What is behind its total length, as Ethernet pads short frames, is no part of it.
func parseIPv4(b []byte, d *datagram) Cause {
	if len(b) < ipv4Size {
		return IPv4Short
	}
	if b[0]>>4 != 4 {
		return IPv4Version
	}
	header, total := int(b[0]&15)*4, int(get16(b[ipv4TotalLength:]))
	if header < ipv4Size || header > len(b) {
		return IPv4Header
	}
	if total < header || total > len(b) {
		return IPv4Length
	}
	d.header, d.data = b[:header], b[header:total]
	if checksum.Finish(checksum.Add(0, d.header)) != 0 {
		return IPv4Checksum
	}
	d.source, d.destination = getAddress(b[ipv4Source:]), getAddress(b[ipv4Destination:])
	d.protocol = b[ipv4Protocol]
	d.fragment = get16(b[ipv4Flags:])&ipv4Fragmented != 0
	return taken
}

// putIPv4 writes a header for so many bytes of data. It forbids fragments, so its identification means nothing (RFC 6864, 4.1).
func putIPv4(b []byte, source, destination Address, protocol uint8, length int) {
	clear(b[:ipv4Size])
	b[0] = 0x45
	put16(b[ipv4TotalLength:], uint16(ipv4Size+length))
	put16(b[ipv4Flags:], ipv4DontFragment)
	b[ipv4TTL], b[ipv4Protocol] = timeToLive, protocol
	copy(b[ipv4Source:], source[:])
	copy(b[ipv4Destination:], destination[:])
	put16(b[ipv4Checksum:], checksum.Finish(checksum.Add(0, b[:ipv4Size])))
}

// inputIPv4 takes a datagram. The time to live is the routers' affair (RFC 1122, 3.2.1.7), and options are skipped.
func (s *Stack) inputIPv4(b []byte, group bool, now Time) Cause {
	var d datagram
	if c := parseIPv4(b, &d); c != taken {
		return c
	}
	if c := s.accepts(&d, group); c != taken {
		return c
	}
	if d.fragment {
		return IPv4Fragment
	}
	switch d.protocol {
	case protocolICMP:
		return s.inputICMP(&d, now)
	case protocolUDP:
		return s.inputUDP(&d, now)
	case protocolTCP:
		return s.inputTCP(&d, now)
	}
	return s.refuse(&d, codeProtocol, IPv4Protocol, now)
}

// accepts checks a datagram's addresses (RFC 1122, 3.2.1.3 and 3.3.6), and says whether it is for many.
func (s *Stack) accepts(d *datagram, group bool) Cause {
	if !d.source.host() {
		return IPv4Source
	}
	d.group = group || d.destination == Broadcast
	if !s.bound {
		if s.dhcp.state == dhcpOff || d.protocol != protocolUDP {
			return IPv4NotForUs
		}
		return taken // a server may send to the address that is to be ours
	}
	if d.source == s.address || s.edge(d.source) {
		return IPv4Source
	}
	switch {
	case d.destination == Broadcast:
	case s.broadcasts(d.destination):
		d.group = true
	case d.destination != s.address || group: // one host's address does not belong into a frame to all
		return IPv4NotForUs
	}
	return taken
}

// route returns the next hop on the way to an address: Broadcast for all.
func (s *Stack) route(to Address) (hop Address, ok bool) {
	switch {
	case !s.bound || to == s.address:
		return hop, false
	case to == Broadcast || s.broadcasts(to):
		return Broadcast, true
	case !to.host() || s.edge(to):
		return hop, false
	case s.local(to):
		return to, true
	}
	return s.gateway, s.gateway != Address{}
}

// reachable is route for those who are about to send.
func (s *Stack) reachable(to Address) error {
	if !s.bound {
		return ErrNoAddress
	}
	if _, ok := s.route(to); !ok {
		return ErrNoRoute
	}
	return nil
}
