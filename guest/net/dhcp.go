package net

// A message of DHCP (RFC 2131, 2).
const (
	dhcpHardware  = 1
	dhcpHardLen   = 2
	dhcpXID       = 4
	dhcpSecs      = 8
	dhcpCurrent   = 12 // ciaddr
	dhcpYours     = 16 // yiaddr
	dhcpClientMAC = 28 // chaddr
	dhcpServer    = 44 // sname
	dhcpFile      = 108
	dhcpCookie    = 236
	dhcpOptions   = 240
	dhcpShortest  = 300 // of what is sent (RFC 951, 3)
)

// Values of its fields, and ports.
const (
	dhcpBootRequest = 1
	dhcpBootReply   = 2
	dhcpEthernet    = 1
	dhcpMagic       = 0x6382_5363
	dhcpServerPort  = 67
	dhcpClientPort  = 68
)

// Options (RFC 2132).
const (
	optionPad        = 0
	optionMask       = 1
	optionRouter     = 3
	optionDNS        = 6
	optionName       = 12
	optionRequested  = 50
	optionLease      = 51
	optionOverload   = 52
	optionType       = 53
	optionServer     = 54
	optionParameters = 55
	optionLongest    = 57
	optionRenew      = 58
	optionRebind     = 59
	optionEnd        = 255
)

// Types of messages (RFC 2132, 9.6).
const (
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeDecline  = 4
	typeAck      = 5
	typeNak      = 6
)

// Times of DHCP (RFC 2131, 3.1, 4.1 and 4.4.5).
const (
	dhcpFirstWait  = 4 * Second  // for an answer, doubled with each try, more or less dhcpJitter
	dhcpLastWait   = 64 * Second // the longest
	dhcpJitter     = Second
	dhcpRequests   = 4           // without an answer, until the client begins anew
	dhcpRenewWait  = 60 * Second // the shortest between two tries to keep a lease
	dhcpNakWait    = Second      // after a refusal, more or less half of it
	dhcpDeclineFor = 10 * Second // after an address that another has
)

// infinite is the lease that does not end, in seconds (RFC 2131, 3.3).
const infinite = 0xffff_ffff

// dhcpState is a state of the client (RFC 2131, 4.4, figure 5).
type dhcpState uint8

const (
	dhcpOff        dhcpState = iota
	dhcpSelecting            // asks for offers
	dhcpRequesting           // asks for the one it took
	dhcpProbing              // asks whether another has the address
	dhcpDeclining            // another has it: says so
	dhcpBound                // has a lease
	dhcpRenewing             // asks its server for more time
	dhcpRebinding            // asks any server for more time
)

// A Lease is what a server has given. Times are those of the stack; Forever in all three if the lease does not end.
type Lease struct {
	Address Address
	Bits    int
	Gateway Address // zero: none
	DNS     Address // the first; zero: none
	Server  Address
	Renew   Time // T1
	Rebind  Time // T2
	End     Time
}

// network is where the lease's address belongs to.
func (l *Lease) network() network { return network{l.Address, l.Bits, l.Gateway} }

// Forever is a time that does not come.
const Forever = ^Time(0)

// dhcp is the client.
type dhcp struct {
	state dhcpState
	xid   uint32
	tries uint32
	began Time // of what is told as secs
	asked Time // when the first request of a lease left, from which its time counts
	due   Time // when something is to be done
	lease Lease
}

// StartDHCP gets an address by DHCP and keeps it. An address that there was is given up.
func (s *Stack) StartDHCP(now Time) {
	if s.bound {
		s.unbind()
	}
	s.discover(now, now)
}

// Lease returns what DHCP has got; ok is false while there is nothing.
func (s *Stack) Lease() (l Lease, ok bool) {
	if s.dhcp.state < dhcpBound {
		return l, false
	}
	return s.dhcp.lease, true
}

// discover begins anew, at a time.
func (s *Stack) discover(at, now Time) {
	s.dhcp = dhcp{state: dhcpSelecting, xid: s.random(), began: now, due: at}
}

// jitter returns a time by chance, within spread before and after t, which is longer.
func (s *Stack) jitter(t, spread Time) Time { return t - spread + Time(s.random())%(2*spread) }

// backOff is how long to wait for the answer to another try.
func (s *Stack) backOff() Time {
	wait := min(dhcpFirstWait<<min(s.dhcp.tries, 8), dhcpLastWait)
	s.dhcp.tries++
	return s.jitter(wait, dhcpJitter)
}

// outputDHCP does what is due, and writes the message that belongs to it.
func (s *Stack) outputDHCP(buf []byte, now Time) int {
	c := &s.dhcp
	if c.state == dhcpOff || c.due > now {
		return 0
	}
	switch c.state {
	case dhcpSelecting:
		return s.askForOffers(buf, now)
	case dhcpRequesting:
		return s.requestLease(buf, now)
	case dhcpProbing:
		return s.probe(buf, now)
	case dhcpDeclining:
		n := s.sendDHCP(buf, typeDecline, now)
		s.discover(now+dhcpDeclineFor, now)
		return n
	}
	return s.keepLease(buf, now)
}

// askForOffers asks all servers.
func (s *Stack) askForOffers(buf []byte, now Time) int {
	s.dhcp.due = now + s.backOff()
	return s.sendDHCP(buf, typeDiscover, now)
}

// requestLease asks for the offered address, and after some tries for other offers.
func (s *Stack) requestLease(buf []byte, now Time) int {
	c := &s.dhcp
	if c.tries == dhcpRequests {
		s.discover(now, now)
		return s.askForOffers(buf, now)
	}
	c.asked, c.due = now, now+s.backOff()
	return s.sendDHCP(buf, typeRequest, now)
}

// probe asks whether somebody has the address, and takes it when nobody has answered (RFC 2131, 4.4.1; RFC 5227, 2.1.1).
func (s *Stack) probe(buf []byte, now Time) int {
	c := &s.dhcp
	if c.tries == probeTimes {
		s.bindLease(now)
		return 0
	}
	c.tries++
	c.due = now + probeInterval
	s.putARPFrame(buf, BroadcastHardware, &arpPacket{operation: arpRequest, targetIPv4: c.lease.Address})
	return ethernetSize + arpSize
}

// probed looks for a packet of another who has, or is about to take, the address (RFC 5227, 2.1.1).
func (s *Stack) probed(p *arpPacket, now Time) {
	wanted := s.dhcp.lease.Address
	probe := p.operation == arpRequest && p.senderIPv4 == Address{} && p.targetIPv4 == wanted
	if p.senderIPv4 == wanted || probe {
		s.counters.Conflicts++
		s.dhcp.state, s.dhcp.due = dhcpDeclining, now
	}
}

// bindLease makes the lease's address the stack's, if it is not already.
func (s *Stack) bindLease(now Time) {
	l := &s.dhcp.lease
	s.dhcp.state, s.dhcp.due = dhcpBound, l.Renew
	if n := l.network(); !s.bound || s.network != n {
		s.bind(n, now)
	}
}

// keepLease asks for more time: from T1 on its server, from T2 on any, in half of what is left until the next of these times each. At
// the end the address is given up (RFC 2131, 4.4.5).
func (s *Stack) keepLease(buf []byte, now Time) int {
	c := &s.dhcp
	if now >= c.lease.End {
		s.unbind()
		s.discover(now, now)
		return s.askForOffers(buf, now)
	}
	if c.state == dhcpBound {
		c.state, c.xid, c.began, c.asked = dhcpRenewing, s.random(), now, now
	}
	until := c.lease.Rebind
	if now >= until {
		c.state, until = dhcpRebinding, c.lease.End
	}
	c.due = min(until, now+max((until-now)/2, dhcpRenewWait))
	return s.sendDHCP(buf, typeRequest, now)
}

// deadlineDHCP is when outputDHCP has something to do.
func (s *Stack) deadlineDHCP(d *deadline) {
	if s.dhcp.state != dhcpOff && s.dhcp.due != Forever {
		d.at(s.dhcp.due)
	}
}

// sendDHCP writes a message of a type: to the server while renewing, else to all (RFC 2131, 4.4.1, table 5, and 4.4.4).
func (s *Stack) sendDHCP(buf []byte, kind uint8, now Time) int {
	c := &s.dhcp
	b := buf[ethernetSize+ipv4Size:]
	length := udpSize + s.putDHCP(b[udpSize:], kind, now)
	to := Broadcast
	if c.state == dhcpRenewing {
		to = c.lease.Server
	}
	putUDP(b, udpHeader{dhcpClientPort, dhcpServerPort}, s.address, to, length)
	if to != Broadcast {
		return s.send(buf, to, protocolUDP, length, now)
	}
	putIPv4(buf[ethernetSize:], s.address, to, protocolUDP, length)
	putEthernet(buf, ethernetHeader{BroadcastHardware, s.hardware, typeIPv4})
	return ethernetSize + ipv4Size + length
}

// putDHCP writes a message and returns its length. Answers may come to the address that is not ours yet, so the broadcast flag is
// not set (RFC 2131, 4.1).
func (s *Stack) putDHCP(b []byte, kind uint8, now Time) int {
	c := &s.dhcp
	clear(b[:dhcpOptions])
	b[0], b[dhcpHardware], b[dhcpHardLen] = dhcpBootRequest, dhcpEthernet, byte(len(s.hardware))
	put32(b[dhcpXID:], c.xid)
	if kind != typeDecline {
		put16(b[dhcpSecs:], uint16(min((now-c.began)/Second, 0xffff)))
	}
	copy(b[dhcpCurrent:], s.address[:])
	copy(b[dhcpClientMAC:], s.hardware[:])
	put32(b[dhcpCookie:], dhcpMagic)
	o := options{b: b, n: dhcpOptions}
	o.put(optionType, kind)
	if kind == typeDecline || c.state == dhcpRequesting {
		a, server := c.lease.Address, c.lease.Server
		o.put(optionRequested, a[0], a[1], a[2], a[3])
		o.put(optionServer, server[0], server[1], server[2], server[3])
	}
	if kind != typeDecline {
		o.put(optionLongest, byte(s.mtu>>8), byte(s.mtu))
		o.put(optionParameters, optionMask, optionRouter, optionDNS, optionLease, optionRenew, optionRebind)
		o.putName(s.name)
	}
	o.b[o.n] = optionEnd
	o.n++
	if o.n < dhcpShortest {
		clear(b[o.n:dhcpShortest])
	}
	return max(o.n, dhcpShortest)
}

// options are those of a message that is being written. MinMTU has room for all that there are.
type options struct {
	b []byte
	n int
}

// put adds an option.
func (o *options) put(code uint8, value ...byte) {
	o.b[o.n], o.b[o.n+1] = code, byte(len(value))
	o.n += 2 + copy(o.b[o.n+2:], value)
}

// putName adds the host's name, if it has one.
func (o *options) putName(name string) {
	if name != "" {
		o.b[o.n], o.b[o.n+1] = optionName, byte(len(name))
		o.n += 2 + copy(o.b[o.n+2:], name)
	}
}

// An offer is what a server's message says.
type offer struct {
	xid      uint32
	hardware HardwareAddress
	yours    Address
	kind     uint8
	server   Address
	mask     uint32
	masked   bool // there is a mask
	router   Address
	dns      Address
	lease    uint32 // seconds; 0: none given
	renew    uint32
	rebind   uint32
	overload uint8
}

// parseDHCP reads a message of a server. The first of several options of a kind counts; none is put together from parts, as only
// the first bytes of any are needed.
func parseDHCP(b []byte, o *offer) Cause {
	if len(b) < dhcpOptions || b[0] != dhcpBootReply || b[dhcpHardware] != dhcpEthernet || b[dhcpHardLen] != 6 ||
		get32(b[dhcpCookie:]) != dhcpMagic {
		return DHCPMalformed
	}
	*o = offer{xid: get32(b[dhcpXID:]), yours: getAddress(b[dhcpYours:]), hardware: getHardware(b[dhcpClientMAC:])}
	ok := o.parse(b[dhcpOptions:])
	if o.overload&1 != 0 { // the fields have options too (RFC 2131, 4.1)
		ok = ok && o.parse(b[dhcpFile:dhcpCookie])
	}
	if o.overload&2 != 0 {
		ok = ok && o.parse(b[dhcpServer:dhcpFile])
	}
	if !ok || o.kind == 0 {
		return DHCPMalformed
	}
	return taken
}

// parse reads options; false if one is cut off.
func (o *offer) parse(b []byte) bool {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		o.option(b[0], b[2:][:b[1]])
		b = b[2+int(b[1]):]
	}
	return true
}

// option takes an option, if it has the right length.
func (o *offer) option(code uint8, v []byte) {
	switch {
	case len(v) == 1 && code == optionType && o.kind == 0:
		o.kind = v[0]
	case len(v) == 1 && code == optionOverload && o.overload == 0:
		o.overload = v[0]
	case len(v) == 4 && code == optionMask && !o.masked:
		o.mask, o.masked = get32(v), true
	case len(v) == 4 && code == optionServer && o.server == Address{}:
		o.server = getAddress(v)
	case len(v) >= 4 && code == optionRouter && o.router == Address{}:
		o.router = getAddress(v)
	case len(v) >= 4 && code == optionDNS && o.dns == Address{}:
		o.dns = getAddress(v)
	case len(v) == 4 && code == optionLease && o.lease == 0:
		o.lease = get32(v)
	case len(v) == 4 && code == optionRenew && o.renew == 0:
		o.renew = get32(v)
	case len(v) == 4 && code == optionRebind && o.rebind == 0:
		o.rebind = get32(v)
	}
}

// inputDHCP takes a message.
func (s *Stack) inputDHCP(b []byte, from uint16, now Time) Cause {
	var o offer
	if c := parseDHCP(b, &o); c != taken {
		return c
	}
	c := &s.dhcp
	if from != dhcpServerPort || o.xid != c.xid || o.hardware != s.hardware {
		return DHCPNotForUs
	}
	asks := c.state == dhcpRequesting || c.state == dhcpRenewing || c.state == dhcpRebinding
	switch {
	case o.kind == typeOffer && c.state == dhcpSelecting && c.tries > 0:
		return s.takeOffer(&o, now)
	case o.kind == typeAck && asks && s.answers(&o):
		return s.takeLease(&o, now)
	case o.kind == typeNak && asks && s.answers(&o):
		if s.bound {
			s.unbind()
		}
		s.discover(now+s.jitter(dhcpNakWait, dhcpNakWait/2), now)
		return taken
	}
	return DHCPNotForUs
}

// answers reports whether a message is of the server that was asked: while rebinding, of any.
func (s *Stack) answers(o *offer) bool {
	return o.server.host() && (s.dhcp.state == dhcpRebinding || o.server == s.dhcp.lease.Server)
}

// takeOffer takes the first offer that is whole, and asks for it.
func (s *Stack) takeOffer(o *offer, now Time) Cause {
	l, ok := o.terms(now)
	if !ok {
		return DHCPMalformed
	}
	c := &s.dhcp
	c.state, c.tries, c.due, c.lease = dhcpRequesting, 0, now, l
	return taken
}

// takeLease takes a lease. Its address is probed for, unless it is ours already.
func (s *Stack) takeLease(o *offer, now Time) Cause {
	c := &s.dhcp
	l, ok := o.terms(c.asked)
	if !ok {
		return DHCPMalformed
	}
	if l.Address != c.lease.Address {
		return DHCPNotForUs
	}
	c.lease = l
	if c.state == dhcpRequesting {
		c.state, c.tries, c.due = dhcpProbing, 0, now
		return taken
	}
	s.bindLease(now)
	return taken
}

// terms are the lease that a message offers, from a time on; ok is false if it is none that can be used.
func (o *offer) terms(from Time) (l Lease, ok bool) {
	if !o.masked {
		o.mask = classful(o.yours)
	}
	bits := 0
	for bits < 32 && o.mask&(1<<(31-bits)) != 0 {
		bits++
	}
	n := network{address: o.yours, bits: bits}
	if o.mask != mask(bits) || !n.usable() || !o.server.host() || o.lease == 0 {
		return l, false
	}
	l = Lease{Address: o.yours, Bits: bits, DNS: o.dns, Server: o.server, Renew: Forever, Rebind: Forever, End: Forever}
	if n.reaches(o.router) {
		l.Gateway = o.router
	}
	if o.lease == infinite {
		return l, true
	}
	length := Time(o.lease) * Second
	renew, rebind := Time(o.renew)*Second, Time(o.rebind)*Second
	if rebind == 0 || rebind >= length {
		rebind = length / 8 * 7
	}
	if renew == 0 || renew >= rebind {
		renew = min(length/2, rebind)
	}
	l.Renew, l.Rebind, l.End = from+renew, from+rebind, from+length
	return l, true
}

// classful is the netmask of an address without one (RFC 950, 2.1).
func classful(a Address) uint32 {
	switch {
	case a[0] < 128:
		return mask(8)
	case a[0] < 192:
		return mask(16)
	}
	return mask(24)
}
