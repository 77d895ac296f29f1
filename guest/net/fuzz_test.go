package net

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

// FuzzEthernet: what is read is what is written.
func FuzzEthernet(f *testing.F) {
	f.Add(udpFrame(1, 2, "data"))
	f.Add(make([]byte, 13))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h ethernetHeader
		p, c := parseEthernet(b, &h)
		require.Equal(t, len(b) >= ethernetSize, c == taken)
		if c == taken {
			out := make([]byte, ethernetSize)
			putEthernet(out, h)
			assert.Equal(t, b, append(out, p...))
		}
	})
}

// FuzzARP: what is taken is written again as it came, and is what gVisor takes.
func FuzzARP(f *testing.F) {
	f.Add(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: theirAddress, targetIPv4: ourAddress})[ethernetSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var p arpPacket
		if parseARP(b, &p) != taken {
			return
		}
		out := make([]byte, arpSize)
		putARP(out, &p)
		assert.Equal(t, b[:arpSize], out)
		assert.True(t, header.ARP(b).IsValid())
	})
}

// FuzzIPv4 compares with gVisor's reading of the header.
func FuzzIPv4(f *testing.F) {
	f.Add(udpFrame(1, 2, "data")[ethernetSize:])
	f.Add(change(udpFrame(1, 2, "data"), 6, 0x20)[ethernetSize:])
	f.Add(change(udpFrame(1, 2, "data"), 0, 0x46)[ethernetSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var d datagram
		c := parseIPv4(b, &d)
		h := header.IPv4(b)
		require.Equal(t, h.IsValid(len(b)) && h.IsChecksumValid(), c == taken, "%v", c)
		if c != taken {
			return
		}
		assert.Equal(t, h.Payload(), d.data)
		assert.Equal(t, h.SourceAddress().As4(), [4]byte(d.source))
		assert.Equal(t, h.DestinationAddress().As4(), [4]byte(d.destination))
		assert.Equal(t, h.Protocol(), d.protocol)
		assert.Equal(t, h.More() || h.FragmentOffset() != 0, d.fragment)
	})
}

// FuzzICMP: a quotation that is taken is what gVisor reads.
func FuzzICMP(f *testing.F) {
	f.Add(icmpBytes(icmpUnreachable, 3, udpFrame(1, 2, "data")[ethernetSize:]...))
	f.Add(icmpBytes(icmpEcho, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= icmpSize {
			finishICMP(b)
		}
		c := parseICMP(b)
		require.Equal(t, len(b) >= icmpSize, c == taken)
		var q quotation
		if c != taken || parseQuotation(b[icmpSize:], &q) != taken {
			return
		}
		h := header.IPv4(b[icmpSize:])
		u := header.UDP(h[h.HeaderLength():])
		assert.Equal(t, quotation{h.SourceAddress().As4(), h.DestinationAddress().As4(), h.Protocol(), u.SourcePort(), u.DestinationPort()}, q)
	})
}

// FuzzUDP: what is taken has a length that fits and the right checksum, or none.
func FuzzUDP(f *testing.F) {
	f.Add(udpBytes(theirAddress, ourAddress, udpHeader{1, 2}, "data"), false)
	f.Add(udpBytes(theirAddress, ourAddress, udpHeader{1, 2}, "data"), true)
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if length := 0; right && len(b) >= udpSize {
			if length = int(get16(b[udpLength:])); length >= udpSize && length <= len(b) {
				putUDP(b, udpHeader{get16(b), get16(b[2:])}, theirAddress, ourAddress, length)
			}
		}
		d := datagram{source: theirAddress, destination: ourAddress, data: b}
		var h udpHeader
		data, c := parseUDP(&d, &h)
		u := header.UDP(b)
		whole := len(b) >= udpSize && int(u.Length()) >= udpSize && int(u.Length()) <= len(b)
		if !whole {
			require.Equal(t, UDPMalformed, c)
			return
		}
		sum := checksum.Add(checksum.Pseudo(theirAddress, ourAddress, protocolUDP, int(u.Length())), b[:u.Length()])
		require.Equal(t, u.Checksum() == 0 || sum == 0xffff, c == taken)
		if c == taken {
			assert.Equal(t, udpHeader{u.SourcePort(), u.DestinationPort()}, h)
			assert.Equal(t, b[udpSize:u.Length()], data)
		}
	})
}

// FuzzDHCP: what a server says has terms that a host can live with, or none; the client's state stays sound, whatever it gets.
func FuzzDHCP(f *testing.F) {
	f.Add((&dhcpMessage{typeOffer, 1, ourAddress, server, terms}).bytes(), (&dhcpMessage{typeAck, 1, ourAddress, server, terms}).bytes())
	f.Add((&dhcpMessage{typeOffer, 1, ourAddress, server, terms}).bytes(), (&dhcpMessage{typeNak, 1, ourAddress, server, nil}).bytes())
	overloaded := (&dhcpMessage{typeOffer, 1, ourAddress, server, append([]byte{52, 1, 3}, terms...)}).bytes()
	f.Add(overloaded, overloaded)
	f.Fuzz(func(t *testing.T, first, then []byte) {
		s := newStation(t, ourHardware, 1)
		s.StartDHCP(s.now)
		for _, b := range [][]byte{first, then} {
			if len(b) > MaxMTU-ipv4Size-udpSize {
				return
			}
			s.take()
			b = bytes.Clone(b)
			if len(b) >= dhcpOptions { // what else is of no use
				copy(b, []byte{2, 1, 6})
				put32(b[dhcpXID:], s.dhcp.xid)
				copy(b[dhcpClientMAC:], ourHardware[:])
				put32(b[dhcpCookie:], dhcpMagic)
			}
			var o offer
			if parseDHCP(b, &o) == taken {
				if l, ok := o.terms(s.now); ok {
					n := l.network()
					assert.True(t, n.usable() && (l.Gateway == Address{} || n.reaches(l.Gateway)))
					assert.True(t, s.now < l.Renew && l.Renew <= l.Rebind && l.Rebind <= l.End, "%+v", l)
				}
			}
			s.give(dhcpFrame(server, b))
		}
		for range 10 {
			s.take()
			if at, ok := s.Deadline(); ok {
				s.now = at
			}
		}
	})
}

// repair makes the lengths and checksums of a frame right, as far as they can be, so that what is behind them is reached.
func repair(f []byte) {
	if len(f) < ethernetSize {
		return
	}
	copy(f, ourHardware[:])
	copy(f[6:], theirHardware[:])
	b := f[ethernetSize:]
	if f[12]&1 != 0 && len(b) >= arpSize {
		put16(f[12:], typeARP)
		put32(b, arpFixed)
		put16(b[arpLengthsField:], arpLengths)
		put16(b[arpOperation:], 1+uint16(b[arpOperation])%2)
		return
	}
	if len(b) < ipv4Size {
		return
	}
	put16(f[12:], typeIPv4)
	b[0] = 0x45 + b[0]%3
	header := int(b[0]&15) * 4
	if header > len(b) {
		return
	}
	put16(b[ipv4TotalLength:], uint16(len(b)))
	put16(b[ipv4Flags:], ipv4DontFragment)
	b[ipv4Protocol] = [...]byte{protocolICMP, protocolUDP, protocolTCP}[b[ipv4Protocol]%3]
	copy(b[ipv4Source:], theirAddress[:3])
	copy(b[ipv4Destination:], ourAddress[:])
	put16(b[ipv4Checksum:], 0)
	put16(b[ipv4Checksum:], checksum.Finish(checksum.Add(0, b[:header])))
	p := b[header:]
	pseudo := checksum.Pseudo(getAddress(b[ipv4Source:]), ourAddress, b[ipv4Protocol], len(p))
	switch {
	case b[ipv4Protocol] == protocolICMP && len(p) >= icmpSize:
		finishICMP(p)
	case b[ipv4Protocol] == protocolUDP && len(p) >= udpSize:
		put16(p[2:], [...]uint16{7, 68, 2000, 9}[p[2]%4])
		put16(p[udpLength:], uint16(len(p)))
		put16(p[udpChecksum:], 0)
		put16(p[udpChecksum:], checksum.Finish(checksum.Add(pseudo, p)))
	case b[ipv4Protocol] == protocolTCP && len(p) >= tcp.HeaderSize:
		put16(p[2:], 80)
		p[12] = 0x50 + p[12]&0x10
		put16(p[16:], 0)
		put16(p[16:], checksum.Finish(checksum.Add(pseudo, p)))
	}
}

// whole checks a frame that the stack sends, by gVisor's headers.
func whole(t *testing.T, f []byte) {
	t.Helper()
	require.GreaterOrEqual(t, len(f), ethernetSize)
	e := header.Ethernet(f)
	require.Equal(t, ourHardware[:], []byte(e.SourceAddress()))
	b := f[ethernetSize:]
	if e.Type() == header.ARPProtocolNumber {
		require.True(t, header.ARP(b).IsValid())
		return
	}
	require.Equal(t, header.IPv4ProtocolNumber, e.Type())
	h := header.IPv4(b)
	require.True(t, h.IsValid(len(b)) && h.IsChecksumValid() && int(h.TotalLength()) == len(b))
	require.False(t, h.More() || h.FragmentOffset() != 0)
	require.NotZero(t, h.Flags()&header.IPv4FlagDontFragment)
	p := h.Payload()
	pseudo := checksum.Pseudo(h.SourceAddress().As4(), h.DestinationAddress().As4(), h.Protocol(), len(p))
	switch h.Protocol() {
	case protocolICMP:
		require.Zero(t, checksum.Finish(checksum.Add(0, p)))
	default:
		require.Zero(t, checksum.Finish(checksum.Add(pseudo, p)))
	}
}

// FuzzInput gives a stack with sockets, a listener, connections and a lease any frames at any times, and holds after each what must
// hold: the counters' sum, the bounds, that all it sends is whole, and that it comes to rest.
func FuzzInput(f *testing.F) {
	sequence := func(frames ...[]byte) []byte {
		var b []byte
		for _, f := range frames {
			b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
			b = append(append(b, 0, 10), f...)
		}
		return b
	}
	request := arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: theirAddress, targetIPv4: ourAddress})
	f.Add(sequence(request, udpFrame(1000, 2000, "data"), udpFrame(1000, 9, "data")), false)
	f.Add(sequence(request, segmentFrame(theirAddress, syn(1000)), segmentFrame(theirAddress, syn(1001))), false)
	f.Add(sequence(request, ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0, 1, 2, 3))), false)
	f.Add(sequence(dhcpFrame(server, (&dhcpMessage{typeOffer, 1, ourAddress, server, terms}).bytes())), true)
	f.Fuzz(func(t *testing.T, b []byte, dhcp bool) {
		s := newStation(t, ourHardware, 1)
		if dhcp {
			s.StartDHCP(s.now)
		} else {
			require.NoError(t, s.SetAddress(ourAddress, 24, gateway, s.now))
		}
		k, err := s.Open(2000)
		require.NoError(t, err)
		l, err := s.Listen(80)
		require.NoError(t, err)
		s.Dial(Endpoint{theirAddress, 80}, s.now)
		buf := make([]byte, 2000)
		for len(b) >= 4 {
			n := min(int(get16(b)), len(b)-4)
			mode, wait := b[2], Time(b[3])
			frame := bytes.Clone(b[4 : 4+n])
			b = b[4+n:]
			if mode&1 != 0 {
				repair(frame)
			}
			s.pass(wait * wait * wait * 10)
			s.give(frame)
			if n, from, ok, _ := k.ReceiveFrom(buf); ok {
				k.SendTo(buf[:n], from)
			}
			if c := l.Accept(); c != nil {
				n, _ := c.Read(buf)
				c.Write(buf[:n])
				if mode&2 != 0 {
					c.Close()
				}
			}
			if mode&4 != 0 {
				continue // the driver is slow
			}
			for _, f := range s.take() {
				whole(t, f)
			}
		}
		for _, f := range s.take() {
			whole(t, f)
		}
	})
}

// TestRandomFrames is FuzzInput's work with frames by chance, most of them repaired.
func TestRandomFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := newHost(t)
	k, err := s.Open(2000)
	require.NoError(t, err)
	l, err := s.Listen(80)
	require.NoError(t, err)
	buf := make([]byte, 2000)
	for range 10_000 {
		frame := make([]byte, random.IntN(120))
		for i := range frame {
			frame[i] = byte(random.Uint32())
		}
		if random.IntN(8) != 0 {
			repair(frame)
		}
		s.pass(Time(random.IntN(2000)))
		s.give(frame)
		if n, from, ok, _ := k.ReceiveFrom(buf); ok {
			k.SendTo(buf[:n], from)
		}
		if c := l.Accept(); c != nil {
			c.Close()
		}
		for _, f := range s.take() {
			whole(t, f)
		}
	}
	t.Logf("%+v", s.counters)
	for _, c := range []Cause{FrameShort, ARPNotForUs, UDPNoSocket, TCPNoConn, ICMPType, IPv4Source} {
		assert.NotZero(t, s.counters.Dropped[c], "%v", c)
	}
}
