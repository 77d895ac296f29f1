package net

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	server     = Address{10, 0, 0, 250}
	second     = Address{10, 0, 0, 251}
	serverHard = HardwareAddress{2, 0, 0, 0, 0, 250}
)

// A request is what the client sent.
type request struct {
	kind             uint8
	from, to         Address
	hardware         HardwareAddress // of the frame's destination
	xid              uint32
	secs             uint16
	current          Address
	requested, asked Address // options 50 and 54
	options          map[byte][]byte
}

// dhcpRequestOf reads a frame of the client.
func dhcpRequestOf(t *testing.T, frame []byte) request {
	t.Helper()
	var d datagram
	var h udpHeader
	require.Equal(t, taken, parseIPv4(frame[ethernetSize:], &d))
	b, c := parseUDP(&d, &h)
	require.Equal(t, taken, c)
	require.Equal(t, udpHeader{68, 67}, h)
	require.Equal(t, []byte{1, 1, 6, 0}, b[:4])
	require.Equal(t, ourHardware[:], b[28:34])
	require.Equal(t, uint32(dhcpMagic), binary.BigEndian.Uint32(b[236:]))
	r := request{
		from: d.source, to: d.destination, hardware: getHardware(frame), options: map[byte][]byte{},
		xid: binary.BigEndian.Uint32(b[4:]), secs: binary.BigEndian.Uint16(b[8:]), current: getAddress(b[12:]),
	}
	o := b[240:]
	for o[0] != 255 {
		require.NotContains(t, r.options, o[0])
		r.options[o[0]] = o[2 : 2+int(o[1])]
		o = o[2+int(o[1]):]
	}
	require.GreaterOrEqual(t, len(b), 300)
	require.Len(t, r.options[53], 1)
	r.kind = r.options[53][0]
	if a := r.options[50]; a != nil {
		r.requested = Address(a)
	}
	if a := r.options[54]; a != nil {
		r.asked = Address(a)
	}
	return r
}

// dhcp is the one message that the client sends now.
func (s *station) dhcpMessage() request {
	s.t.Helper()
	return dhcpRequestOf(s.t, s.one())
}

// A message is what a server says.
type dhcpMessage struct {
	kind    uint8
	xid     uint32
	yours   Address
	server  Address
	options []byte // further ones
}

// terms are the usual options: mask, router, name server and a lease of 1000 seconds.
var terms = []byte{1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 254, 6, 4, 10, 0, 0, 253, 51, 4, 0, 0, 3, 0xe8}

// bytes is the message as it is sent.
func (m *dhcpMessage) bytes() []byte {
	b := make([]byte, 240)
	b[0], b[1], b[2] = 2, 1, 6
	binary.BigEndian.PutUint32(b[4:], m.xid)
	copy(b[16:], m.yours[:])
	copy(b[28:], ourHardware[:])
	binary.BigEndian.PutUint32(b[236:], dhcpMagic)
	b = append(b, 53, 1, m.kind, 54, 4)
	b = append(append(b, m.server[:]...), m.options...)
	return append(b, 255)
}

// dhcpFrame puts a message of a server into a frame to all.
func dhcpFrame(from Address, message []byte) []byte {
	b := make([]byte, udpSize+len(message))
	copy(b[udpSize:], message)
	putUDP(b, udpHeader{67, 68}, from, Broadcast, len(b))
	return destined(ipv4Frame(from, Broadcast, protocolUDP, b), BroadcastHardware)
}

// says gives a server's message to the client.
func (s *station) says(m dhcpMessage) Cause {
	s.t.Helper()
	return s.give(dhcpFrame(m.server, m.bytes()))
}

// leased is a station that got its address by DHCP, for 1000 seconds from s.now on.
func leased(t *testing.T) *station {
	t.Helper()
	s := newStation(t, ourHardware, 1)
	s.StartDHCP(s.now)
	r := s.dhcpMessage()
	require.Equal(t, taken, s.says(dhcpMessage{typeOffer, r.xid, ourAddress, server, terms}))
	r = s.dhcpMessage()
	require.Equal(t, taken, s.says(dhcpMessage{typeAck, r.xid, ourAddress, server, terms}))
	s.probes()
	require.Equal(t, ourAddress, asks(t, s.one()), "the announcement")
	s.now -= probeTimes * probeInterval
	return s
}

// probes has the client probe, without an answer.
func (s *station) probes() {
	s.t.Helper()
	for range probeTimes {
		f := s.one()
		assert.Equal(s.t, ourAddress, asks(s.t, f))
		assert.Equal(s.t, Address{}, getAddress(f[ethernetSize+arpSenderIPv4:]))
		_, _, ok := s.Address()
		assert.False(s.t, ok)
		s.pass(probeInterval)
	}
}

// TestLease is discovered, requested, probed for and bound (RFC 2131, 3.1 and 4.4.1).
func TestLease(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	s.StartDHCP(s.now)
	began := s.now

	r := s.dhcpMessage()
	assert.Equal(t, uint8(typeDiscover), r.kind)
	assert.Equal(t, BroadcastHardware, r.hardware)
	assert.Equal(t, []Address{{}, Broadcast, {}}, []Address{r.from, r.to, r.current})
	assert.NotContains(t, r.options, byte(optionRequested))
	assert.NotContains(t, r.options, byte(optionServer))
	assert.Equal(t, "station", string(r.options[optionName]))
	assert.Equal(t, []byte{1, 3, 6, 51, 58, 59}, r.options[optionParameters])
	assert.Equal(t, []byte{5, 0xdc}, r.options[optionLongest])

	require.Equal(t, taken, s.says(dhcpMessage{typeOffer, r.xid, ourAddress, server, terms}))
	require.Equal(t, DHCPNotForUs, s.says(dhcpMessage{typeOffer, r.xid, theirAddress, second, terms}), "the first is taken")
	xid := r.xid
	r = s.dhcpMessage()
	assert.Equal(t, uint8(typeRequest), r.kind)
	assert.Equal(t, xid, r.xid)
	assert.Equal(t, []Address{{}, Broadcast, {}}, []Address{r.from, r.to, r.current})
	assert.Equal(t, ourAddress, r.requested)
	assert.Equal(t, server, r.asked)

	s.pass(300 * Millisecond) // the lease counts from the request
	require.Equal(t, taken, s.says(dhcpMessage{typeAck, r.xid, ourAddress, server, terms}))
	_, ok := s.Lease()
	assert.False(t, ok)
	s.probes()
	assert.Equal(t, ourAddress, asks(t, s.one()), "the announcement")
	l, ok := s.Lease()
	assert.True(t, ok)
	assert.Equal(t, Lease{ourAddress, 24, gateway, Address{10, 0, 0, 253}, server, began + 500*Second, began + 875*Second, began + 1000*Second}, l)
	a, bits, ok := s.Address()
	assert.Equal(t, []any{ourAddress, 24, true}, []any{a, bits, ok})
	g, ok := s.Gateway()
	assert.Equal(t, []any{gateway, true}, []any{g, ok})
}

// TestDiscoverIsRepeated with doubled waits, up to 64 seconds, each more or less a second (RFC 2131, 4.1).
func TestDiscoverIsRepeated(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	s.StartDHCP(s.now)
	began := s.now
	xid := uint32(0)
	exact := 0
	for _, wait := range []Time{4, 8, 16, 32, 64, 64, 64} {
		r := s.dhcpMessage()
		assert.Equal(t, uint8(typeDiscover), r.kind)
		assert.Equal(t, uint16((s.now-began)/Second), r.secs)
		assert.True(t, xid == 0 || xid == r.xid)
		xid = r.xid
		at, ok := s.Deadline()
		require.True(t, ok)
		assert.InDelta(t, float64(wait*Second), float64(at-s.now), float64(Second))
		if at-s.now == wait*Second {
			exact++
		}
		s.now = at - 1
		assert.Empty(t, s.take())
		s.now = at
	}
	assert.Less(t, exact, 7, "waits without jitter")
}

// TestRequestIsRepeated, four times, until the client begins anew (RFC 2131, 3.1, 5).
func TestRequestIsRepeated(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	s.StartDHCP(s.now)
	first := s.dhcpMessage()
	require.Equal(t, taken, s.says(dhcpMessage{typeOffer, first.xid, ourAddress, server, terms}))
	for range dhcpRequests {
		r := s.dhcpMessage()
		assert.Equal(t, uint8(typeRequest), r.kind)
		assert.Equal(t, first.xid, r.xid)
		s.now, _ = s.Deadline()
	}
	r := s.dhcpMessage()
	assert.Equal(t, uint8(typeDiscover), r.kind)
	assert.NotEqual(t, first.xid, r.xid)
}

// TestMessagesThatAreNotForUs change nothing (RFC 2131, 4.4.1).
func TestMessagesThatAreNotForUs(t *testing.T) {
	selecting := func(t *testing.T) (*station, uint32) {
		s := newStation(t, ourHardware, 1)
		s.StartDHCP(s.now)
		return s, s.dhcpMessage().xid
	}
	requesting := func(t *testing.T) (*station, uint32) {
		s, xid := selecting(t)
		require.Equal(t, taken, s.says(dhcpMessage{typeOffer, xid, ourAddress, server, terms}))
		s.one()
		return s, xid
	}
	without := func(skip byte) []byte {
		var kept []byte
		for o := terms; len(o) > 0; o = o[2+int(o[1]):] {
			if o[0] != skip {
				kept = append(kept, o[:2+int(o[1])]...)
			}
		}
		return kept
	}
	with := func(o ...byte) []byte { return append(append([]byte(nil), o...), terms...) }
	for _, tt := range []struct {
		name   string
		at     func(*testing.T) (*station, uint32)
		change func(m *dhcpMessage)
		raw    func(b []byte) []byte
		want   Cause
	}{
		{"an offer with another number", selecting, func(m *dhcpMessage) { m.xid++ }, nil, DHCPNotForUs},
		{"an acknowledgment without a request", selecting, func(m *dhcpMessage) { m.kind = typeAck }, nil, DHCPNotForUs},
		{"a refusal without a request", selecting, func(m *dhcpMessage) { m.kind = typeNak }, nil, DHCPNotForUs},
		{"a message of a client", selecting, func(m *dhcpMessage) { m.kind = typeDiscover }, nil, DHCPNotForUs},
		{"no type", selecting, nil, func(b []byte) []byte { b[240] = 200; return b }, DHCPMalformed},
		{"a type of two bytes", selecting, nil, func(b []byte) []byte { return append(b[:240], 53, 2, 2, 2, 255) }, DHCPMalformed},
		{"a request", selecting, nil, func(b []byte) []byte { b[0] = 1; return b }, DHCPMalformed},
		{"not of Ethernet", selecting, nil, func(b []byte) []byte { b[1] = 6; return b }, DHCPMalformed},
		{"an address of 16 bytes", selecting, nil, func(b []byte) []byte { b[2] = 16; return b }, DHCPMalformed},
		{"for another host", selecting, nil, func(b []byte) []byte { b[33]++; return b }, DHCPNotForUs},
		{"BOOTP without a cookie", selecting, nil, func(b []byte) []byte { b[236] = 0; return b }, DHCPMalformed},
		{"cut off", selecting, nil, func(b []byte) []byte { return b[:239] }, DHCPMalformed},
		{"no options", selecting, nil, func(b []byte) []byte { return b[:240] }, DHCPMalformed},
		{"an option without a length", selecting, nil, func(b []byte) []byte { return append(b[:len(b)-1], 12) }, DHCPMalformed},
		{"an option that is cut off", selecting, nil, func(b []byte) []byte { return append(b[:len(b)-1], 12, 9, 1) }, DHCPMalformed},
		{"no server", selecting, nil, func(b []byte) []byte { b[243] = 200; return b }, DHCPMalformed},
		{"a server that is none", selecting, func(m *dhcpMessage) { m.options = terms }, func(b []byte) []byte { copy(b[245:], []byte{224, 0, 0, 1}); return b }, DHCPMalformed},
		{"no lease time", selecting, func(m *dhcpMessage) { m.options = without(optionLease) }, nil, DHCPMalformed},
		{"a lease of no time", selecting, func(m *dhcpMessage) { m.options = with(51, 4, 0, 0, 0, 0); m.options = m.options[:len(m.options)-6] }, nil, DHCPMalformed},
		{"no address", selecting, func(m *dhcpMessage) { m.yours = Address{} }, nil, DHCPMalformed},
		{"all as the address", selecting, func(m *dhcpMessage) { m.yours = Broadcast }, nil, DHCPMalformed},
		{"the network as the address", selecting, func(m *dhcpMessage) { m.yours = Address{10, 0, 0, 0} }, nil, DHCPMalformed},
		{"the loopback as the address", selecting, func(m *dhcpMessage) { m.yours = Address{127, 0, 0, 1} }, nil, DHCPMalformed},
		{"a mask with holes", selecting, func(m *dhcpMessage) { m.options = with(1, 4, 255, 0, 255, 0) }, nil, DHCPMalformed},
		{"a mask of nothing", selecting, func(m *dhcpMessage) { m.options = with(1, 4, 0, 0, 0, 0) }, nil, DHCPMalformed},
		{"another offer while requesting", requesting, func(m *dhcpMessage) { m.kind = typeOffer }, nil, DHCPNotForUs},
		{"an acknowledgment of another server", requesting, func(m *dhcpMessage) { m.kind, m.server = typeAck, second }, nil, DHCPNotForUs},
		{"a refusal of another server", requesting, func(m *dhcpMessage) { m.kind, m.server = typeNak, second }, nil, DHCPNotForUs},
		{"an acknowledgment of another address", requesting, func(m *dhcpMessage) { m.kind, m.yours = typeAck, theirAddress }, nil, DHCPNotForUs},
		{"an acknowledgment with another number", requesting, func(m *dhcpMessage) { m.kind = typeAck; m.xid++ }, nil, DHCPNotForUs},
		{"an acknowledgment without a lease time", requesting, func(m *dhcpMessage) { m.kind, m.options = typeAck, without(optionLease) }, nil, DHCPMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, xid := tt.at(t)
			m := dhcpMessage{typeOffer, xid, ourAddress, server, terms}
			if tt.change != nil {
				tt.change(&m)
			}
			b := m.bytes()
			if tt.raw != nil {
				b = tt.raw(b)
			}
			before := s.dhcp
			assert.Equal(t, tt.want, s.give(dhcpFrame(server, b)))
			assert.Equal(t, before, s.dhcp)
			assert.Empty(t, s.take())
		})
	}
	t.Run("of another port", func(t *testing.T) {
		s, xid := selecting(t)
		f := dhcpFrame(server, (&dhcpMessage{typeOffer, xid, ourAddress, server, terms}).bytes())
		put16(f[ethernetSize+ipv4Size:], 66)
		put16(f[ethernetSize+ipv4Size+udpChecksum:], 0)
		assert.Equal(t, DHCPNotForUs, s.give(f))
	})
}

// TestTerms are read from a message: what is missing has its default, and what makes no sense is left out.
func TestTerms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		yours   Address
		options []byte
		want    Lease
	}{
		{"only a lease time", ourAddress, []byte{51, 4, 0, 0, 0, 80}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"without a mask, class B", Address{172, 16, 0, 1}, []byte{51, 4, 0, 0, 0, 80}, Lease{Address{172, 16, 0, 1}, 16, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"without a mask, class C", Address{192, 168, 0, 1}, []byte{51, 4, 0, 0, 0, 80}, Lease{Address{192, 168, 0, 1}, 24, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"T1 and T2", ourAddress, []byte{51, 4, 0, 0, 0, 80, 58, 4, 0, 0, 0, 10, 59, 4, 0, 0, 0, 20}, Lease{ourAddress, 8, Address{}, Address{}, server, 10 * Second, 20 * Second, 80 * Second}},
		{"T1 behind T2", ourAddress, []byte{51, 4, 0, 0, 0, 80, 58, 4, 0, 0, 0, 75}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"T2 behind the end", ourAddress, []byte{51, 4, 0, 0, 0, 80, 59, 4, 0, 0, 0, 80}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"T2 before the half", ourAddress, []byte{51, 4, 0, 0, 0, 80, 59, 4, 0, 0, 0, 20}, Lease{ourAddress, 8, Address{}, Address{}, server, 20 * Second, 20 * Second, 80 * Second}},
		{"for ever", ourAddress, []byte{51, 4, 255, 255, 255, 255}, Lease{ourAddress, 8, Address{}, Address{}, server, Forever, Forever, Forever}},
		{"a router elsewhere", ourAddress, []byte{51, 4, 0, 0, 0, 80, 3, 4, 192, 0, 2, 1}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"two routers and three name servers", ourAddress, []byte{3, 8, 10, 0, 0, 254, 10, 0, 0, 9, 6, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 51, 4, 0, 0, 0, 80}, Lease{ourAddress, 8, gateway, Address{1, 2, 3, 4}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"pads, and options of others", ourAddress, []byte{0, 0, 12, 0, 43, 3, 1, 2, 3, 51, 4, 0, 0, 0, 80, 0}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"options of wrong lengths", ourAddress, []byte{51, 3, 1, 1, 1, 3, 3, 1, 2, 3, 58, 5, 1, 1, 1, 1, 1, 51, 4, 0, 0, 0, 80}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
		{"the first of two", ourAddress, []byte{51, 4, 0, 0, 0, 80, 51, 4, 0, 0, 0, 90}, Lease{ourAddress, 8, Address{}, Address{}, server, 40 * Second, 70 * Second, 80 * Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o offer
			require.Equal(t, taken, parseDHCP((&dhcpMessage{typeOffer, 1, tt.yours, server, tt.options}).bytes(), &o))
			l, ok := o.terms(0)
			assert.True(t, ok)
			assert.Equal(t, tt.want, l)
		})
	}
}

// TestOverload reads options from the fields of file and server name (RFC 2131, 4.1; RFC 2132, 9.3).
func TestOverload(t *testing.T) {
	for _, tt := range []struct {
		name       string
		overload   byte
		lease, dns bool
	}{
		{"neither", 0, false, false},
		{"file", 1, true, false},
		{"server name", 2, false, true},
		{"both", 3, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := (&dhcpMessage{typeOffer, 1, ourAddress, server, []byte{52, 1, tt.overload}}).bytes()
			copy(b[dhcpFile:], []byte{51, 4, 0, 0, 0, 80, 52, 1, 3, 255})
			copy(b[dhcpServer:], []byte{6, 4, 1, 2, 3, 4}) // pads up to its end
			var o offer
			require.Equal(t, taken, parseDHCP(b, &o))
			assert.Equal(t, tt.lease, o.lease == 80)
			assert.Equal(t, tt.dns, o.dns == Address{1, 2, 3, 4})
			assert.Equal(t, tt.overload, o.overload)
		})
	}
	b := (&dhcpMessage{typeOffer, 1, ourAddress, server, []byte{52, 1, 1}}).bytes()
	b[dhcpCookie-1] = 51
	var o offer
	assert.Equal(t, DHCPMalformed, parseDHCP(b, &o), "an option that reaches out of its field")
}

// TestRenewal asks the server from T1 on, and any server from T2 on (RFC 2131, 4.4.5).
func TestRenewal(t *testing.T) {
	s := leased(t)
	began := s.now
	s.pass(announceInterval + probeTimes*probeInterval)
	s.take()
	assert.Empty(t, s.take())
	at, _ := s.Deadline()
	assert.Equal(t, began+500*Second, at)
	s.now = at
	assert.Equal(t, server, asks(t, s.one()))
	require.Equal(t, taken, s.give(reply(server, serverHard)))
	r := s.dhcpMessage()
	assert.Equal(t, uint8(typeRequest), r.kind)
	assert.Equal(t, serverHard, r.hardware)
	assert.Equal(t, []Address{ourAddress, server, ourAddress}, []Address{r.from, r.to, r.current})
	assert.NotContains(t, r.options, byte(optionRequested))
	assert.NotContains(t, r.options, byte(optionServer))

	unicast := func(m dhcpMessage) []byte {
		b := m.bytes()
		u := udpBytes(server, ourAddress, udpHeader{67, 68}, string(b))
		return ipv4Frame(server, ourAddress, protocolUDP, u)
	}
	require.Equal(t, DHCPNotForUs, s.says(dhcpMessage{typeAck, r.xid, ourAddress, second, terms}))
	require.Equal(t, taken, s.give(unicast(dhcpMessage{typeAck, r.xid, ourAddress, server, terms})))
	l, _ := s.Lease()
	assert.Equal(t, s.now+1000*Second, l.End)
	assert.Empty(t, s.take(), "the address was ours already")

	s.now = l.Renew
	var waits []Time
	for s.now < l.Rebind {
		frames := s.take()
		require.NotEmpty(t, frames)
		last := s.now
		for s.now < last+10*Second { // ARP asks the silent server
			s.take()
			s.now += Second
		}
		s.now, _ = s.Deadline()
		waits = append(waits, s.now-last)
	}
	assert.Equal(t, []Time{187500000, 93750000, 60000000, 33750000}, waits, "half of what is left, at least a minute, until T2")
	r = s.dhcpMessage()
	assert.Equal(t, []Address{ourAddress, Broadcast, ourAddress}, []Address{r.from, r.to, r.current})
	require.Equal(t, taken, s.says(dhcpMessage{typeAck, r.xid, ourAddress, second, terms}), "any server")
	l, _ = s.Lease()
	assert.Equal(t, second, l.Server)
}

// TestRenewalWithAnotherGateway takes it.
func TestRenewalWithAnotherGateway(t *testing.T) {
	s := leased(t)
	l, _ := s.Lease()
	s.now = l.Rebind
	s.take()
	s.now, _ = s.Deadline()
	s.take()
	other := append([]byte{3, 4, 10, 0, 0, 7}, terms...)
	require.Equal(t, taken, s.says(dhcpMessage{typeAck, s.dhcp.xid, ourAddress, server, other}))
	g, _ := s.Gateway()
	assert.Equal(t, Address{10, 0, 0, 7}, g)
}

// TestExpiry gives the address up at the end of the lease, with connections, and begins anew (RFC 2131, 4.4.5).
func TestExpiry(t *testing.T) {
	s := leased(t)
	l, _ := s.Lease()
	c, err := s.Dial(Endpoint{theirAddress, 80}, s.now)
	require.NoError(t, err)
	for s.now < l.End {
		s.take()
		next, ok := s.Deadline()
		require.True(t, ok)
		require.Greater(t, next, s.now)
		s.now = next
	}
	r := s.dhcpMessage()
	assert.Equal(t, l.End, s.now)
	assert.Equal(t, uint8(typeDiscover), r.kind)
	_, _, ok := s.Address()
	assert.False(t, ok)
	_, err = c.Write([]byte{1})
	assert.Error(t, err)
}

// TestRefusal begins anew, after a while that nobody can foresee (RFC 2131, 3.1, 4).
func TestRefusal(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	s.StartDHCP(s.now)
	xid := s.dhcpMessage().xid
	require.Equal(t, taken, s.says(dhcpMessage{typeOffer, xid, ourAddress, server, terms}))
	s.one()
	require.Equal(t, taken, s.says(dhcpMessage{typeNak, xid, Address{}, server, nil}))
	assert.Empty(t, s.take())
	at, _ := s.Deadline()
	assert.InDelta(t, float64(dhcpNakWait), float64(at-s.now), float64(dhcpNakWait/2))
	s.now = at
	r := s.dhcpMessage()
	assert.Equal(t, uint8(typeDiscover), r.kind)
	assert.NotEqual(t, xid, r.xid)

	l := leased(t)
	lease, _ := l.Lease()
	l.now = lease.Rebind
	l.take()
	require.Equal(t, taken, l.says(dhcpMessage{typeNak, l.dhcp.xid, Address{}, server, nil}))
	_, _, ok := l.Address()
	assert.False(t, ok, "a refused lease is over at once")
}

// TestDecline gives back what another has, whether he answers the probe, announces the address or probes for it too (RFC 2131, 3.1,
// 5; RFC 5227, 2.1.1), and begins anew after ten seconds.
func TestDecline(t *testing.T) {
	for name, p := range map[string]arpPacket{
		"an answer":       {operation: arpReply, sender: theirHardware, senderIPv4: ourAddress, target: ourHardware},
		"an announcement": {operation: arpRequest, sender: theirHardware, senderIPv4: ourAddress, targetIPv4: ourAddress},
		"a probe":         {operation: arpRequest, sender: theirHardware, targetIPv4: ourAddress},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStation(t, ourHardware, 1)
			s.StartDHCP(s.now)
			xid := s.dhcpMessage().xid
			s.says(dhcpMessage{typeOffer, xid, ourAddress, server, terms})
			s.one()
			s.says(dhcpMessage{typeAck, xid, ourAddress, server, terms})
			s.one()
			own := arpPacket{operation: arpRequest, sender: ourHardware, targetIPv4: ourAddress}
			s.give(arpFrame(BroadcastHardware, own)) // our own probe comes back
			assert.Empty(t, s.take())
			s.pass(2 * Second)
			s.give(arpFrame(BroadcastHardware, p))
			r := s.dhcpMessage()
			assert.Equal(t, uint8(typeDecline), r.kind)
			assert.Equal(t, xid, r.xid)
			assert.Equal(t, []Address{{}, Broadcast, {}}, []Address{r.from, r.to, r.current})
			assert.Equal(t, ourAddress, r.requested)
			assert.Equal(t, server, r.asked)
			assert.NotContains(t, r.options, byte(optionParameters))
			assert.Zero(t, r.secs)
			assert.Equal(t, uint64(1), s.counters.Conflicts)
			s.pass(dhcpDeclineFor - 1)
			assert.Empty(t, s.take())
			s.pass(1)
			assert.Equal(t, uint8(typeDiscover), s.dhcpMessage().kind)
		})
	}
}

// TestOfferToTheAddress that is to be ours comes in, and nothing else does, until it is.
func TestOfferToTheAddress(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	assert.Equal(t, IPv4NotForUs, s.give(udpFrame(1, 2, "")))
	s.StartDHCP(s.now)
	xid := s.dhcpMessage().xid
	assert.Equal(t, IPv4NotForUs, s.give(udpFrame(1, 2, "")))
	assert.Equal(t, IPv4NotForUs, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0))))
	assert.Equal(t, ARPNotForUs, s.give(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: theirAddress, targetIPv4: ourAddress})))
	m := dhcpMessage{typeOffer, xid, ourAddress, server, terms}
	u := udpBytes(server, ourAddress, udpHeader{67, 68}, string(m.bytes()))
	assert.Equal(t, taken, s.give(ipv4Frame(server, ourAddress, protocolUDP, u)))
	assert.Equal(t, uint8(typeRequest), s.dhcpMessage().kind)
}

// TestAddressEndsDHCP: who sets an address keeps it.
func TestAddressEndsDHCP(t *testing.T) {
	s := leased(t)
	require.NoError(t, s.SetAddress(theirAddress, 24, gateway, s.now))
	s.pass(2000 * Second)
	s.take()
	a, _, ok := s.Address()
	assert.True(t, ok)
	assert.Equal(t, theirAddress, a)
	_, ok = s.Lease()
	assert.False(t, ok)
}
