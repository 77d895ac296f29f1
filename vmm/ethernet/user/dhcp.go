package user

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"kapsel/vmm/ethernet"
)

// Ports of DHCP (RFC 2131, 4.1).
const (
	dhcpServerPort = 67
	dhcpClientPort = 68
)

// Offsets of a message's fields, and its sizes (RFC 2131, 2; RFC 951, 3).
const (
	dhcpOp        = 0
	dhcpHardware  = 1
	dhcpHardLen   = 2
	dhcpXID       = 4
	dhcpFlags     = 10
	dhcpCurrent   = 12 // ciaddr
	dhcpYours     = 16 // yiaddr
	dhcpNext      = 20 // siaddr
	dhcpClientMAC = 28 // chaddr
	dhcpCookie    = 236
	dhcpOptions   = 240
	dhcpShortest  = 300 // of a reply
)

// Values of the fields.
const (
	dhcpRequest     = 1
	dhcpReply       = 2
	dhcpEther       = 1
	dhcpMagicCookie = 0x6382_5363
)

// Options (RFC 2132).
const (
	optionPad       = 0
	optionMask      = 1
	optionRouter    = 3
	optionDNS       = 6
	optionRequested = 50
	optionLease     = 51
	optionType      = 53
	optionServer    = 54
	optionEnd       = 255
)

// Message types (RFC 2132, 9.6).
const (
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeAck      = 5
	typeNak      = 6
	typeInform   = 8
)

// leaseTime is what the guest is told; there is nobody else to get the address.
const leaseTime = 24 * time.Hour

// serveDHCP answers a message to all machines: the guest may have no address yet.
func (n *Network) serveDHCP(socket *gonet.UDPConn, message []byte, _ net.Addr) {
	if reply := leaseReply(message, n.mac); reply != nil {
		socket.WriteTo(reply, net.UDPAddrFromAddrPort(netip.AddrPortFrom(broadcast, dhcpClientPort)))
	}
}

// leaseReply is the answer to a message of the machine with an address, or nil if there is none: Guest is
// the only lease.
func leaseReply(message []byte, mac ethernet.MAC) []byte {
	if len(message) < dhcpOptions || message[dhcpOp] != dhcpRequest || message[dhcpHardware] != dhcpEther ||
		message[dhcpHardLen] != byte(len(mac)) || ethernet.MAC(message[dhcpClientMAC:][:len(mac)]) != mac ||
		binary.BigEndian.Uint32(message[dhcpCookie:]) != dhcpMagicCookie {
		return nil
	}
	kind, ok := option(message, optionType)
	if !ok || len(kind) != 1 {
		return nil
	}
	switch kind[0] {
	case typeDiscover:
		return reply(message, typeOffer)
	case typeRequest:
		server, chosen := option(message, optionServer)
		if chosen && string(server) != string(Gateway.AsSlice()) {
			return nil // another server's offer
		}
		if wanted(message) != Guest {
			return reply(message, typeNak)
		}
		return reply(message, typeAck)
	case typeInform:
		return reply(message, typeAck)
	}
	return nil // it is given back, or declined: nobody else gets it
}

// wanted is the address that a request is for (RFC 2131, 4.3.2).
func wanted(message []byte) netip.Addr {
	if requested, ok := option(message, optionRequested); ok {
		address, _ := netip.AddrFromSlice(requested)
		return address
	}
	return netip.AddrFrom4([4]byte(message[dhcpCurrent:]))
}

// option finds an option in a message.
func option(message []byte, code byte) (value []byte, ok bool) {
	for rest := message[dhcpOptions:]; len(rest) > 0 && rest[0] != optionEnd; {
		if rest[0] == optionPad {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return nil, false
		}
		value := rest[2:][:rest[1]]
		if rest[0] == code {
			return value, true
		}
		rest = rest[2+len(value):]
	}
	return nil, false
}

// reply makes a message of a type that answers another (RFC 2131, table 3).
func reply(message []byte, kind byte) []byte {
	r := make([]byte, dhcpOptions, dhcpShortest)
	r[dhcpOp], r[dhcpHardware], r[dhcpHardLen] = dhcpReply, dhcpEther, message[dhcpHardLen]
	copy(r[dhcpXID:], message[dhcpXID:][:4])
	copy(r[dhcpFlags:], message[dhcpFlags:][:2])
	copy(r[dhcpClientMAC:dhcpCookie], message[dhcpClientMAC:][:16])
	binary.BigEndian.PutUint32(r[dhcpCookie:], dhcpMagicCookie)
	add := func(code byte, value []byte) { r = append(append(r, code, byte(len(value))), value...) }
	add(optionType, []byte{kind})
	add(optionServer, Gateway.AsSlice())
	if kind != typeNak {
		if asked, _ := option(message, optionType); asked[0] != typeInform { // which has an address already
			copy(r[dhcpYours:], Guest.AsSlice())
			add(optionLease, binary.BigEndian.AppendUint32(nil, uint32(leaseTime/time.Second)))
		} else {
			copy(r[dhcpCurrent:], message[dhcpCurrent:][:4])
		}
		copy(r[dhcpNext:], Gateway.AsSlice())
		add(optionMask, net.CIDRMask(Subnet.Bits(), 32))
		add(optionRouter, Gateway.AsSlice())
		add(optionDNS, Resolver.AsSlice())
	}
	return append(r, optionEnd)[:dhcpShortest]
}
