package link

import (
	"encoding/binary"
	"net/netip"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
)

// Types of frames (IEEE 802 Numbers, IANA).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
)

// Offsets in a frame (IEEE 802.3, 3.1.1).
const (
	etherFrom = 6
	etherType = 12
)

// Offsets in an IPv4 packet, and its shortest header (RFC 791, 3.1).
const (
	ipLength   = 2
	ipID       = 4
	ipFragment = 6
	ipTTL      = 8
	ipProtocol = 9
	ipChecksum = 10
	ipFrom     = 12
	ipTo       = 16
	ipHeader   = 20
)

// Fields of ipFragment (RFC 791, 3.1).
const (
	moreFragments  = 0x2000
	fragmentOffset = 0x1fff
)

// Offsets in a datagram, and the size of its header (RFC 768).
const (
	udpTo       = 2
	udpLength   = 4
	udpChecksum = 6
	udpHeader   = 8
)

// Protocols behind IPv4 (Protocol Numbers, IANA).
const (
	protocolTCP = 6
	protocolUDP = 17
)

// Offsets in a packet of ARP for Ethernet and IPv4, its size, and how it begins (RFC 826).
const (
	arpFromMAC = 8
	arpFrom    = 14
	arpSize    = 28
	arpStart   = "\x00\x01\x08\x00\x06\x04"
)

// A verdict is what becomes of a frame of the guest's.
type verdict uint8

const (
	refused verdict = iota
	passes
	asksServer // it is for the DHCP server, wherever it is sent to, and for nobody else
)

// broadcast is the address of all machines on the wire.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ofGuest lets the guest send as itself: ARP and IPv4 from its addresses. Frames with a VLAN's tag have another type.
func (l *Link) ofGuest(frame []byte) verdict {
	if len(frame) < ethernet.HeaderSize || ethernet.MAC(frame[etherFrom:][:6]) != l.iface.mac {
		return refused
	}
	payload := frame[ethernet.HeaderSize:]
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case typeARP:
		if l.ofGuestARP(payload) {
			return passes
		}
	case typeIPv4:
		header := ipv4(payload)
		switch {
		case header == nil:
		case ports(payload) == [2]uint16{dhcp.ClientPort, dhcp.ServerPort}:
			return asksServer
		case address(header[ipFrom:]) == l.lease.Address.Addr():
			return passes
		}
	}
	return refused
}

// ofGuestARP takes what tells the guest's own addresses, or none: a probe (RFC 5227, 2.1.1).
func (l *Link) ofGuestARP(p []byte) bool {
	if len(p) < arpSize || string(p[:len(arpStart)]) != arpStart || ethernet.MAC(p[arpFromMAC:][:6]) != l.iface.mac {
		return false
	}
	from := address(p[arpFrom:])
	return from == l.lease.Address.Addr() || from.IsUnspecified()
}

// forGuest takes ARP and IPv4 for the guest and for all. Nobody else on the wire is its DHCP server.
func (l *Link) forGuest(frame []byte) bool {
	const group = 1 << 0 // of a MAC's first byte
	if len(frame) < ethernet.HeaderSize || frame[0]&group == 0 && ethernet.MAC(frame[:6]) != l.iface.mac {
		return false
	}
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case typeARP:
		return true
	case typeIPv4:
		return ports(frame[ethernet.HeaderSize:])[1] != dhcp.ClientPort
	}
	return false
}

// ipv4 returns the header of an IPv4 packet, with its options, or nil if it is none.
func ipv4(packet []byte) []byte {
	if len(packet) < ipHeader || packet[0]>>4 != 4 {
		return nil
	}
	size := int(packet[0]&0xf) * 4
	if size < ipHeader || size > len(packet) {
		return nil
	}
	return packet[:size]
}

// ports returns the ports of an IPv4 packet with UDP, from and to, and zeros for another. Only the first of several fragments has them.
func ports(packet []byte) (p [2]uint16) {
	header := ipv4(packet)
	if header == nil || header[ipProtocol] != protocolUDP || binary.BigEndian.Uint16(header[ipFragment:])&fragmentOffset != 0 || len(packet) < len(header)+udpHeader {
		return p
	}
	b := packet[len(header):]
	return [2]uint16{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[udpTo:])}
}

// address is the IPv4 address that b begins with.
func address(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// datagram returns what a frame carries that ports has looked at. It is not longer than what UDP says of it, nor than the frame.
func datagram(frame []byte) []byte {
	packet := frame[ethernet.HeaderSize:]
	b := packet[len(ipv4(packet)):]
	return b[udpHeader:min(max(udpHeader, int(binary.BigEndian.Uint16(b[udpLength:]))), len(b))]
}

// replyFrame is a frame of the DHCP server to all machines, of which the guest is the only one that gets it.
func replyFrame(to ethernet.MAC, message []byte) []byte {
	f := make([]byte, ethernet.HeaderSize+ipHeader+udpHeader, ethernet.HeaderSize+ipHeader+udpHeader+len(message))
	copy(f, to[:])
	copy(f[etherFrom:], serverMAC[:])
	binary.BigEndian.PutUint16(f[etherType:], typeIPv4)
	f = append(f, message...)
	p := f[ethernet.HeaderSize:]
	p[0], p[ipTTL], p[ipProtocol] = 4<<4|ipHeader/4, 64, protocolUDP
	copy(p[ipFrom:], serverAddress.AsSlice())
	copy(p[ipTo:], broadcast.AsSlice())
	u := p[ipHeader:]
	binary.BigEndian.PutUint16(u, dhcp.ServerPort)
	binary.BigEndian.PutUint16(u[udpTo:], dhcp.ClientPort)
	setLengths(p, ipHeader)
	return f
}
