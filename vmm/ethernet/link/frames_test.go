package link

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
	"kapsel/vmm/ethernet/link/linktest"
)

// still is a Link without an interface.
func still() *Link {
	a := netip.MustParsePrefix(linktest.GuestAddress + "/24")
	return &Link{
		iface: &hostInterface{name: "eth0", mac: guestMAC, address: a}, lease: dhcp.Lease{MAC: guestMAC, Server: serverAddress, Address: a},
	}
}

// from is a frame that the guest sends.
func from(mac ethernet.MAC, kind uint16, payload []byte) []byte {
	f := frameFor(hostMAC, kind, payload)
	copy(f[etherFrom:], mac[:])
	return f
}

// udp is a datagram without data.
func udp(from, to uint16) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(from)<<16|uint32(to))
}

// arp is a packet of ARP of a sender.
func arp(mac ethernet.MAC, sender string) []byte {
	p := append(append([]byte(arpStart), 0, 1), mac[:]...)
	return append(append(p, netip.MustParseAddr(sender).AsSlice()...), make([]byte, 10)...)
}

// TestWhatPasses is the rule for frames in both directions.
func TestWhatPasses(t *testing.T) {
	l := still()
	const ours, theirs, nobody = linktest.GuestAddress, linktest.HostAddress, "0.0.0.0"
	datagram := func(a, b string, ports []byte) []byte { return packet(a, b, protocolUDP, append(ports, 0, 8, 0, 0)) }
	fragment := datagram(ours, theirs, udp(68, 67))
	fragment[ipFragment+1] = 1
	for _, test := range []struct {
		name  string
		frame []byte
		want  verdict
	}{
		{"TCP", from(guestMAC, typeIPv4, packet(ours, theirs, protocolTCP, make([]byte, 20))), passes},
		{"UDP far away", from(guestMAC, typeIPv4, datagram(ours, "192.0.2.1", udp(5, 53))), passes},
		{"ICMP", from(guestMAC, typeIPv4, packet(ours, theirs, 1, make([]byte, 20))), passes},
		{"another's address", from(guestMAC, typeIPv4, packet("10.88.0.6", theirs, protocolTCP, make([]byte, 20))), refused},
		{"no address", from(guestMAC, typeIPv4, packet(nobody, theirs, protocolTCP, make([]byte, 20))), refused},
		{"another's MAC", from(hostMAC, typeIPv4, packet(ours, theirs, protocolTCP, make([]byte, 20))), refused},
		{"in search of an address", from(guestMAC, typeIPv4, datagram(nobody, "255.255.255.255", udp(68, 67))), asksServer},
		{"a lease that is renewed", from(guestMAC, typeIPv4, datagram(ours, "192.0.0.8", udp(68, 67))), asksServer},
		{"another's DHCP server", from(guestMAC, typeIPv4, datagram(ours, theirs, udp(68, 67))), asksServer},
		{"a fragment of something", from(guestMAC, typeIPv4, fragment), passes},
		{"a relay", from(guestMAC, typeIPv4, datagram(ours, theirs, udp(67, 67))), passes},
		{"ARP", from(guestMAC, typeARP, arp(guestMAC, ours)), passes},
		{"a probe", from(guestMAC, typeARP, arp(guestMAC, nobody)), passes},
		{"ARP for another", from(guestMAC, typeARP, arp(guestMAC, theirs)), refused},
		{"ARP of another MAC", from(guestMAC, typeARP, arp(hostMAC, ours)), refused},
		{"short ARP", from(guestMAC, typeARP, arp(guestMAC, ours))[:ethernet.HeaderSize+arpSize-1], refused},
		{"ARP of another kind", from(guestMAC, typeARP, append([]byte{0, 6}, arp(guestMAC, ours)[2:]...)), refused},
		{"IPv6", from(guestMAC, 0x86dd, make([]byte, 40)), refused},
		{"a VLAN's tag", from(guestMAC, 0x8100, append([]byte{0, 5, 8, 0}, packet(ours, theirs, protocolTCP, make([]byte, 20))...)), refused},
		{"IPv4 of version 6", from(guestMAC, typeIPv4, append([]byte{0x65}, packet(ours, theirs, protocolTCP, make([]byte, 20))[1:]...)), refused},
		{"a header that is longer than the packet", from(guestMAC, typeIPv4, append([]byte{0x4f}, packet(ours, theirs, protocolTCP, make([]byte, 20))[1:]...))[:ethernet.HeaderSize+40], refused},
		{"a short header", from(guestMAC, typeIPv4, append([]byte{0x44}, packet(ours, theirs, protocolTCP, make([]byte, 20))[1:]...)), refused},
		{"nothing", nil, refused},
		{"a header alone", from(guestMAC, typeIPv4, nil)[:ethernet.HeaderSize], refused},
	} {
		t.Run(test.name, func(t *testing.T) { assert.Equal(t, test.want, l.ofGuest(test.frame)) })
	}
	all := ethernet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, test := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"TCP", knock(), true},
		{"ARP to all", question(), true},
		{"IPv4 to a group", frameFor(ethernet.MAC{1, 0, 0x5e, 0, 0, 1}, typeIPv4, packet(theirs, "224.0.0.1", 2, make([]byte, 20))), true},
		{"for another", frameFor(ethernet.MAC{2, 0, 0, 0, 0, 9}, typeIPv4, packet(theirs, ours, protocolTCP, make([]byte, 20))), false},
		{"another DHCP server", frameFor(all, typeIPv4, datagram(theirs, "255.255.255.255", udp(67, 68))), false},
		{"IPv6", frameFor(guestMAC, 0x86dd, make([]byte, 40)), false},
		{"a VLAN's tag", frameFor(guestMAC, 0x8100, make([]byte, 40)), false},
		{"short", knock()[:13], false},
	} {
		t.Run("in, "+test.name, func(t *testing.T) { assert.Equal(t, test.want, l.forGuest(test.frame)) })
	}
}

// message is one of the packet socket.
func message(kind, flags byte, size, start, offset uint16, frame []byte) []byte {
	m := make([]byte, virtioHeaderSize)
	m[virtioKind], m[virtioFlags] = kind, flags
	binary.NativeEndian.PutUint16(m[virtioSegmentSize:], size)
	binary.NativeEndian.PutUint16(m[virtioStart:], start)
	binary.NativeEndian.PutUint16(m[virtioOffset:], offset)
	return append(m, frame...)
}

// long is a frame of a protocol with a header and data, whose checksums nobody has computed.
func long(protocol byte, header []byte, data int) []byte {
	p := packet(linktest.HostAddress, linktest.GuestAddress, protocol, make([]byte, 20))[:ipHeader]
	p = append(p, header...)
	for i := range data {
		p = append(p, byte(i*7))
	}
	return frameFor(guestMAC, typeIPv4, p)
}

// sum is the Internet checksum as RFC 1071 says it, over a header and what the pseudo-header has: right if it is 0.
func sum(parts ...[]byte) uint16 {
	total := uint32(0)
	for _, b := range parts {
		for i, v := range b {
			total += uint32(v) << (8 * (1 - i%2))
			total = total&0xffff + total>>16
		}
	}
	return ^uint16(total)
}

// right checks the checksums and lengths of a frame as another host would, and returns the packet's rest.
func right(t testing.TB, frame []byte) []byte {
	p := frame[ethernet.HeaderSize:]
	require.EqualValues(t, len(p), binary.BigEndian.Uint16(p[ipLength:]))
	header := int(p[0]&15) * 4
	assert.Zero(t, sum(p[:header]), "the header's checksum")
	rest := p[header:]
	pseudo := append(bytes.Clone(p[ipFrom:ipHeader]), 0, p[ipProtocol], byte(len(rest)>>8), byte(len(rest)))
	assert.Zero(t, sum(pseudo, rest), "the checksum")
	return rest
}

// TestSegments: what the host put together is taken apart into frames as a network card would have sent them.
func TestSegments(t *testing.T) {
	tcp := append([]byte("\x00\x50\x30\x39\x00\x00\xff\xff\x00\x00\x00\x02\x80\xd9\x20\x00\x00\x00\x00\x00"), make([]byte, 12)...) // CWR, ECE, ACK, PSH, FIN
	for _, test := range []struct {
		name       string
		kind       byte
		frame      []byte
		header     int
		size, data int
	}{
		{"TCP", kindTCP, long(protocolTCP, tcp, 10000), len(tcp), 1448, 10000},
		{"TCP with ECN, an odd end", kindTCP | kindECN, long(protocolTCP, tcp, 2897), len(tcp), 1448, 2897},
		{"one segment", kindTCP, long(protocolTCP, tcp, 100), len(tcp), 1448, 100},
		{"the longest", kindTCP, long(protocolTCP, tcp, 65000), len(tcp), 1448, 65000},
		{"UDP", kindUDP, long(protocolUDP, []byte("\x00\x35\x30\x39\x00\x00\x00\x00"), 5000), 8, 1200, 5000},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s segmenter
			require.True(t, s.take(message(test.kind, flagNeedsChecksum, uint16(test.size), 34, 16, test.frame)))
			var data []byte
			buffer := make([]byte, 1<<16)
			count := (test.data + test.size - 1) / test.size
			for i := range count {
				n := s.next(buffer)
				require.Equal(t, ethernet.HeaderSize+ipHeader+test.header+min(test.size, test.data-i*test.size), n)
				assert.EqualValues(t, i, binary.BigEndian.Uint16(buffer[ethernet.HeaderSize+ipID:]))
				rest := right(t, buffer[:n])
				data = append(data, rest[test.header:]...)
				if test.header == 8 {
					assert.EqualValues(t, len(rest), binary.BigEndian.Uint16(rest[udpLength:]))
					continue
				}
				assert.EqualValues(t, 0xffff+i*test.size, binary.BigEndian.Uint32(rest[tcpSequence:]))
				want := byte(0x50) // ECE, ACK
				if i == 0 {
					want |= tcpCWR
				}
				if i == count-1 {
					want |= tcpFIN | tcpPSH
				}
				assert.Equal(t, want, rest[tcpFlags], "segment %d", i)
			}
			assert.Zero(t, s.next(buffer))
			assert.Equal(t, test.frame[ethernet.HeaderSize+ipHeader+test.header:], data)
		})
	}
}

// TestChecksumIsCompleted: between two ends of a veth pair only the pseudo-header's sum is there.
func TestChecksumIsCompleted(t *testing.T) {
	for _, test := range []struct {
		protocol byte
		header   string
		at       int
	}{
		{protocolTCP, "\x00\x50\x30\x39\x00\x00\xff\xff\x00\x00\x00\x02\x50\x18\x20\x00\x00\x00\x00\x00", tcpChecksum},
		{protocolUDP, "\x00\x35\x30\x39\x00\x6b\x00\x00", udpChecksum},
	} {
		frame := frameFor(guestMAC, typeIPv4, packet(linktest.HostAddress, linktest.GuestAddress, test.protocol, append([]byte(test.header), make([]byte, 99)...)))
		p := frame[ethernet.HeaderSize:]
		length := len(p) - ipHeader
		pseudo := ^sum(p[ipFrom:ipHeader], []byte{0, test.protocol, byte(length >> 8), byte(length)})
		binary.BigEndian.PutUint16(p[ipHeader+test.at:], pseudo)
		var s segmenter
		require.True(t, s.take(message(kindNone, flagNeedsChecksum, 0, ethernet.HeaderSize+ipHeader, uint16(test.at), frame)))
		buffer := make([]byte, 1<<16)
		right(t, buffer[:s.next(buffer)])
		assert.Zero(t, s.next(buffer))
	}
}

// TestMessagesThatAreNone are headers and frames that no host makes, or that are not taken apart.
func TestMessagesThatAreNone(t *testing.T) {
	tcp := long(protocolTCP, []byte("\x00\x50\x30\x39\x00\x00\xff\xff\x00\x00\x00\x02\x50\x10\x20\x00\x00\x00\x00\x00"), 3000)
	changed := func(at int, value byte) []byte {
		f := bytes.Clone(tcp)
		f[at] = value
		return f
	}
	for name, m := range map[string][]byte{
		"a checksum behind the end":         message(kindNone, flagNeedsChecksum, 0, 34, 0xffff, tcp),
		"a checksum of nothing":             message(kindNone, flagNeedsChecksum, 0, 0xffff, 0, tcp),
		"a checksum in the Ethernet header": message(kindNone, flagNeedsChecksum, 0, 0, 0, tcp),
		"TCP of IPv6":                       message(4, 0, 1448, 0, 0, tcp),
		"fragments of UDP":                  message(3, 0, 1448, 0, 0, tcp),
		"segments of no size":               message(kindTCP, 0, 0, 0, 0, tcp),
		"segments that are too short":       message(kindTCP, 0, leastSegment-1, 0, 0, tcp),
		"another protocol":                  message(kindUDP, 0, 1448, 0, 0, tcp),
		"a fragment":                        message(kindTCP, 0, 1448, 0, 0, changed(ethernet.HeaderSize+ipFragment, 0x20)),
		"a short header of TCP":             message(kindTCP, 0, 1448, 0, 0, changed(ethernet.HeaderSize+ipHeader+tcpDataAt, 0x40)),
		"headers alone":                     message(kindTCP, 0, 1448, 0, 0, tcp[:ethernet.HeaderSize+ipHeader+tcpHeader]),
		"half a header":                     message(kindTCP, 0, 1448, 0, 0, tcp[:ethernet.HeaderSize+ipHeader+10]),
	} {
		var s segmenter
		assert.False(t, s.take(m), name)
		assert.Zero(t, s.next(make([]byte, 1<<16)), name)
	}
}

// FuzzSegments: whatever the socket brings, what comes of it is not longer than it and its headers, and segments are right.
func FuzzSegments(f *testing.F) {
	tcp := long(protocolTCP, []byte("\x00\x50\x30\x39\x00\x00\xff\xff\x00\x00\x00\x02\x50\x10\x20\x00\x00\x00\x00\x00"), 3000)
	f.Add(message(kindTCP, flagNeedsChecksum, 1448, 34, 16, tcp))
	f.Add(message(kindUDP, flagNeedsChecksum, 64, 34, 6, long(protocolUDP, make([]byte, 8), 200)))
	f.Add(message(kindNone, flagNeedsChecksum, 0, 34, 16, tcp))
	f.Fuzz(func(t *testing.T, m []byte) {
		if len(m) < virtioHeaderSize || !still().forGuest(m[virtioHeaderSize:]) {
			return
		}
		var s segmenter
		apart := m[virtioKind] != kindNone
		if !s.take(bytes.Clone(m)) {
			return
		}
		buffer := make([]byte, 1<<17)
		frames := 0
		for n := s.next(buffer); n > 0; n = s.next(buffer) {
			if frames++; n > len(m) || frames > 1+len(m)/leastSegment {
				t.Fatalf("frame %d of %d bytes from %d", frames, n, len(m))
			}
			if apart && n <= 1<<16 {
				right(t, buffer[:n])
			}
		}
	})
}

// FuzzGuest gives any frame of the guest's to the filter and the DHCP server: what passes has the guest's addresses, and what is answered is told to the guest alone.
func FuzzGuest(f *testing.F) {
	for _, kind := range []byte{1, 3, 8} {
		m := make([]byte, 240)
		m[0], m[1], m[2] = 1, 1, 6
		copy(m[28:], guestMAC[:])
		copy(m[236:], "\x63\x82\x53\x63")
		m = append(m, 53, 1, kind, 50, 4, 10, 88, 0, 5, 255)
		f.Add(from(guestMAC, typeIPv4, packet("0.0.0.0", "255.255.255.255", protocolUDP, append(append(udp(68, 67), 0, 0, 0, 0), m...))))
	}
	f.Add(from(guestMAC, typeARP, arp(guestMAC, linktest.GuestAddress)))
	f.Add(from(guestMAC, typeIPv4, packet(linktest.GuestAddress, linktest.HostAddress, protocolTCP, make([]byte, 20))))
	f.Fuzz(func(t *testing.T, frame []byte) {
		l := still()
		switch l.ofGuest(frame) {
		case passes:
			at := ethernet.HeaderSize + ipFrom
			if binary.BigEndian.Uint16(frame[etherType:]) == typeARP {
				at = ethernet.HeaderSize + arpFrom
			}
			if a := address(frame[at:]).String(); a != linktest.GuestAddress && a != "0.0.0.0" {
				t.Errorf("%s passes", a)
			}
		case asksServer:
			if reply := l.lease.Reply(datagram(frame)); reply != nil {
				r := replyFrame(guestMAC, reply)
				right(t, r)
				if !bytes.Equal(r[ethernet.HeaderSize+ipHeader+udpHeader:], reply) || len(r) > ethernet.MaxFrame {
					t.Errorf("% x", r)
				}
			}
		}
	})
}
