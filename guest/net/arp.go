package net

// A packet of ARP for IPv4 on Ethernet (RFC 826).
const (
	arpSize         = 28
	arpOperation    = 6
	arpSender       = 8
	arpSenderIPv4   = 14
	arpTarget       = 18
	arpTargetIPv4   = 24
	arpRequest      = 1
	arpReply        = 2
	arpFixed        = 0x0001_0800 // Ethernet, IPv4
	arpLengths      = 0x0604      // of their addresses
	arpLengthsField = 4
)

// Times and numbers of ARP.
const (
	neighbors        = 16          // entries of the cache
	neighborFresh    = 60 * Second // how long an answer holds until it is asked again (RFC 1122, 2.3.2.1)
	askEvery         = Second      // at most one request for an address (RFC 1122, 2.3.2.1)
	askTimes         = 3           // requests without an answer, until the address is taken for silent
	announceTimes    = 2           // announcements of an address (RFC 5227, 2.3)
	announceInterval = 2 * Second  // (RFC 5227, 2.3)
	defendInterval   = 10 * Second // between two defences of an address (RFC 5227, 2.4)
	probeTimes       = 2           // probes for an address by DHCP. RFC 5227 has 3, and seconds between: too long to boot
	probeInterval    = 100 * Millisecond
)

// An arpPacket is what one says.
type arpPacket struct {
	operation              uint16
	sender, target         HardwareAddress
	senderIPv4, targetIPv4 Address
}

// parseARP reads a packet.
func parseARP(b []byte, p *arpPacket) Cause {
	if len(b) < arpSize || get32(b) != arpFixed || get16(b[arpLengthsField:]) != arpLengths {
		return ARPMalformed
	}
	p.operation = get16(b[arpOperation:])
	p.sender, p.senderIPv4 = getHardware(b[arpSender:]), getAddress(b[arpSenderIPv4:])
	p.target, p.targetIPv4 = getHardware(b[arpTarget:]), getAddress(b[arpTargetIPv4:])
	if p.operation != arpRequest && p.operation != arpReply || p.sender.group() || p.sender == (HardwareAddress{}) {
		return ARPMalformed
	}
	return taken
}

// putARP writes a packet.
func putARP(b []byte, p *arpPacket) {
	put32(b, arpFixed)
	put16(b[arpLengthsField:], arpLengths)
	put16(b[arpOperation:], p.operation)
	copy(b[arpSender:], p.sender[:])
	copy(b[arpSenderIPv4:], p.senderIPv4[:])
	copy(b[arpTarget:], p.target[:])
	copy(b[arpTargetIPv4:], p.targetIPv4[:])
}

// A neighbor is an entry of the cache.
type neighbor struct {
	used      bool            // the entry is in use
	address   Address         // who
	known     bool            // hardware is
	hardware  HardwareAddress //
	asking    bool            // until an answer
	asked     uint8           // requests since asking
	due       Time            // the next request, while asking
	last      Time            // the last request
	confirmed Time            // when hardware was told
	needed    Time            // when it was last sent to; 0: never
}

// find returns the entry of an address, or nil.
func (s *Stack) find(a Address) *neighbor {
	for i := range s.neighbors {
		if n := &s.neighbors[i]; n.used && n.address == a {
			return n
		}
	}
	return nil
}

// enter makes an entry for an address, if another may go for it, and returns nil otherwise. First goes one that was never needed,
// then one that has no answer, then the one whose need is longest ago; the gateway's never. What others tell (told) displaces
// only those that were never needed.
func (s *Stack) enter(a Address, told bool) *neighbor {
	var victim *neighbor
	for i := range s.neighbors {
		n := &s.neighbors[i]
		if !n.used {
			victim = n
			break
		}
		if n.address == s.gateway || told && n.needed != 0 {
			continue
		}
		if victim == nil || n.worth() < victim.worth() || n.worth() == victim.worth() && n.needed < victim.needed {
			victim = n
		}
	}
	if victim == nil {
		return nil
	}
	s.forget(victim)
	*victim = neighbor{used: true, address: a}
	return victim
}

// worth orders entries: never needed, without an answer, known.
func (n *neighbor) worth() int {
	switch {
	case n.needed == 0:
		return 0
	case !n.known:
		return 1
	}
	return 2
}

// forget removes an entry, with the frames that wait for it.
func (s *Stack) forget(n *neighbor) {
	if n.used && !n.known {
		s.dropWaiting(n.address)
	}
	*n = neighbor{}
}

// resolve returns the hardware address of a next hop, or begins to ask for it.
func (s *Stack) resolve(hop Address, now Time) (hardware HardwareAddress, ok bool) {
	if hop == Broadcast {
		return BroadcastHardware, true
	}
	n := s.find(hop)
	if n == nil {
		n = s.enter(hop, false) // there is always one that is not the gateway's
	}
	n.needed = max(now, 1)
	if !n.known || now-n.confirmed >= neighborFresh {
		n.ask(now)
	}
	return n.hardware, n.known
}

// ask has requests sent until there is an answer.
func (n *neighbor) ask(now Time) {
	if n.asking {
		return
	}
	n.asking, n.asked, n.due = true, 0, now
	if n.last != 0 {
		n.due = max(now, n.last+askEvery)
	}
}

// inputARP takes a packet (RFC 826; RFC 5227).
func (s *Stack) inputARP(b []byte, now Time) Cause {
	var p arpPacket
	if c := parseARP(b, &p); c != taken {
		return c
	}
	if p.sender == s.hardware {
		return FrameSource
	}
	if s.dhcp.state == dhcpProbing {
		s.probed(&p, now)
	}
	if !s.bound {
		return ARPNotForUs
	}
	if p.senderIPv4 == s.address {
		s.defend(now)
		return taken
	}
	toUs := p.targetIPv4 == s.address
	if p.operation == arpRequest && toUs {
		return s.answerARP(&p, now)
	}
	return s.learn(&p, toUs, now)
}

// answerARP answers a request for our address. Who asks is about to send, and will want an answer.
func (s *Stack) answerARP(p *arpPacket, now Time) Cause {
	f := s.take()
	if f == nil {
		return AnswerFull
	}
	s.putARPFrame(f.data, p.sender, &arpPacket{operation: arpReply, senderIPv4: s.address, target: p.sender, targetIPv4: p.senderIPv4})
	f.length = ethernetSize + arpSize
	f.addressed = true
	if s.neighborly(p.senderIPv4) {
		if s.find(p.senderIPv4) == nil {
			s.enter(p.senderIPv4, true)
		}
		s.learn(p, true, now)
	}
	return taken
}

// neighborly reports whether an address can be a neighbor's: not of a probe, not from elsewhere.
func (s *Stack) neighborly(a Address) bool {
	hop, ok := s.route(a)
	return ok && hop == a && a != Broadcast
}

// learn compares what a packet tells of its sender with the cache. Only what is said to us, by one who was asked or who asks, is
// believed; what is otherwise said against the cache has the address asked anew, and the answer decides.
func (s *Stack) learn(p *arpPacket, toUs bool, now Time) Cause {
	n := s.find(p.senderIPv4)
	switch {
	case n == nil && toUs:
		return ARPUnasked
	case n == nil:
		return ARPNotForUs
	case toUs && (n.asking || !n.known || n.hardware == p.sender):
		n.hardware, n.known, n.confirmed, n.asking = p.sender, true, now, false
		s.release(n.address)
	case n.known && n.hardware != p.sender:
		n.ask(now)
	default:
		return ARPNotForUs
	}
	return taken
}

// defend answers a host that claims our address, once in a while: two that both defend would never end (RFC 5227, 2.4).
func (s *Stack) defend(now Time) {
	s.counters.Conflicts++
	if s.announcements == 0 && now-s.announced >= defendInterval {
		s.announcements, s.announceAt = 1, now
	}
}

// putARPFrame writes a frame with a packet of ours.
func (s *Stack) putARPFrame(b []byte, to HardwareAddress, p *arpPacket) {
	p.sender = s.hardware
	putEthernet(b, ethernetHeader{to, s.hardware, typeARP})
	putARP(b[ethernetSize:], p)
}

// outputARP writes what ARP has to send: announcements and requests.
func (s *Stack) outputARP(buf []byte, now Time) int {
	if s.announcements > 0 && s.announceAt <= now {
		s.announcements--
		s.announced, s.announceAt = now, now+announceInterval
		s.putARPFrame(buf, BroadcastHardware, &arpPacket{operation: arpRequest, senderIPv4: s.address, targetIPv4: s.address})
		return ethernetSize + arpSize
	}
	for i := range s.neighbors {
		n := &s.neighbors[i]
		if !n.asking || n.due > now {
			continue
		}
		if n.asked == askTimes {
			n.known = false // what waits for it is dropped
			s.forget(n)
			continue
		}
		n.asked++
		n.last, n.due = max(now, 1), now+askEvery
		s.putARPFrame(buf, BroadcastHardware, &arpPacket{operation: arpRequest, senderIPv4: s.address, targetIPv4: n.address})
		return ethernetSize + arpSize
	}
	return 0
}

// deadlineARP is when outputARP has something to do.
func (s *Stack) deadlineARP(d *deadline) {
	if s.announcements > 0 {
		d.at(s.announceAt)
	}
	for i := range s.neighbors {
		if n := &s.neighbors[i]; n.asking {
			d.at(n.due)
		}
	}
}
