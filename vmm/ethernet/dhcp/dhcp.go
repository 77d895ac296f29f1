// Package dhcp is the server's side of DHCP (RFC 2131) for a network that gives one machine one address: what a monitor tells its guest of the
// network that it is on. It makes replies of messages, and neither receives nor sends any.
package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"kapsel/vmm/ethernet"
)

// Ports of UDP (RFC 2131, 4.1).
const (
	ServerPort = 67
	ClientPort = 68
)

// A Lease is what the machine gets. Addresses are of IPv4.
type Lease struct {
	MAC       ethernet.MAC  // of the only machine that is answered
	Server    netip.Addr    // by which the server is known
	Address   netip.Prefix  // the machine's, with the length of its network's prefix
	Router    netip.Addr    // zero: none
	Resolvers []netip.Addr  // of which Reply tells the first three
	Routes    []Route       // beside the one by Router; Reply tells as many as have room
	Time      time.Duration // 0: for ever
}

// A Route is a way to a network.
type Route struct {
	To  netip.Prefix
	Via netip.Addr // zero: it is on the machine's own wire
}

// Offsets of a message's fields, and its sizes (RFC 2131, 2; RFC 951, 3).
const (
	fieldOp        = 0
	fieldHardware  = 1
	fieldHardLen   = 2
	fieldXID       = 4
	fieldFlags     = 10
	fieldCurrent   = 12 // ciaddr
	fieldYours     = 16 // yiaddr
	fieldNext      = 20 // siaddr
	fieldClientMAC = 28 // chaddr
	fieldCookie    = 236
	fieldOptions   = 240
	shortest       = 300 // of a reply
)

// Values of the fields.
const (
	opRequest     = 1
	opReply       = 2
	hardwareEther = 1
	magicCookie   = 0x6382_5363
)

// Options (RFC 2132; of routes RFC 3442).
const (
	optionPad       = 0
	optionMask      = 1
	optionRouter    = 3
	optionDNS       = 6
	optionRequested = 50
	optionLease     = 51
	optionType      = 53
	optionServer    = 54
	optionRoutes    = 121
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

// Limits of options, so that a reply has less than the 548 bytes that every client takes (RFC 2131, 2).
const (
	maxResolvers = 3
	maxOption    = 255
)

// forever is the time of a lease that does not end, in seconds (RFC 2131, 3.3).
const forever = 0xffff_ffff

// Reply is the answer to a message, or nil if there is none: to messages of other machines, to other servers, and to those that are
// no DHCP. It goes to all machines, as this one may have no address yet.
func (l *Lease) Reply(message []byte) []byte {
	if len(message) < fieldOptions || message[fieldOp] != opRequest || message[fieldHardware] != hardwareEther ||
		message[fieldHardLen] != byte(len(l.MAC)) || ethernet.MAC(message[fieldClientMAC:][:len(l.MAC)]) != l.MAC ||
		binary.BigEndian.Uint32(message[fieldCookie:]) != magicCookie {
		return nil
	}
	kind, ok := option(message, optionType)
	if !ok || len(kind) != 1 {
		return nil
	}
	switch kind[0] {
	case typeDiscover:
		return l.reply(message, typeOffer)
	case typeRequest:
		server, chosen := option(message, optionServer)
		if chosen && string(server) != string(l.Server.AsSlice()) {
			return nil // another server's offer
		}
		if wanted(message) != l.Address.Addr() {
			return l.reply(message, typeNak)
		}
		return l.reply(message, typeAck)
	case typeInform:
		return l.reply(message, typeAck)
	}
	return nil // it is given back, or declined: nobody else gets it
}

// wanted is the address that a request is for (RFC 2131, 4.3.2).
func wanted(message []byte) netip.Addr {
	if requested, ok := option(message, optionRequested); ok {
		address, _ := netip.AddrFromSlice(requested)
		return address
	}
	return netip.AddrFrom4([4]byte(message[fieldCurrent:]))
}

// option finds an option in a message.
func option(message []byte, code byte) (value []byte, ok bool) {
	for rest := message[fieldOptions:]; len(rest) > 0 && rest[0] != optionEnd; {
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
func (l *Lease) reply(message []byte, kind byte) []byte {
	r := make([]byte, fieldOptions, 2*shortest)
	r[fieldOp], r[fieldHardware], r[fieldHardLen] = opReply, hardwareEther, message[fieldHardLen]
	copy(r[fieldXID:], message[fieldXID:][:4])
	copy(r[fieldFlags:], message[fieldFlags:][:2])
	copy(r[fieldClientMAC:fieldCookie], message[fieldClientMAC:][:16])
	binary.BigEndian.PutUint32(r[fieldCookie:], magicCookie)
	add := func(code byte, value []byte) {
		if len(value) > 0 {
			r = append(append(r, code, byte(len(value))), value...)
		}
	}
	add(optionType, []byte{kind})
	add(optionServer, l.Server.AsSlice())
	if kind != typeNak {
		if asked, _ := option(message, optionType); asked[0] != typeInform { // which has an address already
			copy(r[fieldYours:], l.Address.Addr().AsSlice())
			add(optionLease, binary.BigEndian.AppendUint32(nil, l.seconds()))
		} else {
			copy(r[fieldCurrent:], message[fieldCurrent:][:4])
		}
		copy(r[fieldNext:], l.Server.AsSlice())
		add(optionMask, net.CIDRMask(l.Address.Bits(), 32))
		add(optionRouter, l.Router.AsSlice())
		add(optionDNS, l.resolvers())
		add(optionRoutes, l.routes())
	}
	r = append(r, optionEnd)
	return r[:max(len(r), shortest)]
}

// seconds is the lease's time.
func (l *Lease) seconds() uint32 {
	if l.Time == 0 {
		return forever
	}
	return uint32(l.Time / time.Second)
}

// resolvers is the value of optionDNS.
func (l *Lease) resolvers() (value []byte) {
	for _, a := range l.Resolvers[:min(len(l.Resolvers), maxResolvers)] {
		value = append(value, a.AsSlice()...)
	}
	return value
}

// routes is the value of optionRoutes, which a client takes in the place of the router, so that this one is among them; nothing if it is all that
// there is. Of an address only the bytes that its prefix covers are written (RFC 3442).
func (l *Lease) routes() (value []byte) {
	all := l.Routes
	if len(all) > 0 && l.Router.IsValid() {
		all = append([]Route{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), l.Router}}, all...)
	}
	for _, route := range all {
		to, via := route.To.Masked().Addr().As4(), netip.IPv4Unspecified()
		if route.Via.IsValid() {
			via = route.Via
		}
		entry := append([]byte{byte(route.To.Bits())}, to[:(route.To.Bits()+7)/8]...)
		if entry = append(entry, via.AsSlice()...); len(value)+len(entry) <= maxOption {
			value = append(value, entry...)
		}
	}
	return value
}
