package net

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInput has a frame for each clause that a frame is taken or dropped by.
func TestInput(t *testing.T) {
	udp := udpFrame(1000, 2000, "hello")
	echo := ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0, 1, 2, 3))
	request := arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: theirAddress, targetIPv4: ourAddress}
	arp := arpFrame(BroadcastHardware, request)
	options := func(n byte, rest ...byte) []byte { // a header with 4 bytes of options
		b := append([]byte(nil), udp[:ethernetSize+ipv4Size]...)
		b = append(append(b, rest...), udp[ethernetSize+ipv4Size:]...)
		return change(b, 0, 0x40|n, 0, 0, byte(len(b)-ethernetSize))
	}
	to := func(a Address) []byte {
		return ipv4Frame(theirAddress, a, protocolUDP, udpBytes(theirAddress, a, udpHeader{1000, 2000}, "hello"))
	}
	from := func(a Address) []byte {
		return ipv4Frame(a, ourAddress, protocolUDP, udpBytes(a, ourAddress, udpHeader{1000, 2000}, "hello"))
	}
	quote := func(b []byte) []byte {
		return ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpUnreachable, codePort, b...))
	}
	ours := udpBytes(ourAddress, theirAddress, udpHeader{2000, 1000}, "12345678")
	sent := make([]byte, ipv4Size+len(ours))
	putIPv4(sent, ourAddress, theirAddress, protocolUDP, len(ours))
	copy(sent[ipv4Size:], ours)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  Cause
	}{
		{"RFC 894: nothing", nil, FrameShort},
		{"RFC 894: 13 bytes", udp[:13], FrameShort},
		{"RFC 894: a header alone", udp[:14], IPv4Short},
		{"RFC 894: more than 1500 bytes", make([]byte, 1515), FrameLong},
		{"RFC 894: to us", udp, taken},
		{"RFC 894: to another", destined(udp, HardwareAddress{0x52, 0x54, 0, 0, 0, 9}), FrameNotForUs},
		{"RFC 1112, 6.4: to a group that nobody joined", destined(udp, HardwareAddress{1, 0, 0x5e, 0, 0, 1}), FrameNotForUs},
		{"IEEE 802.3, 3.2.3: from a group", append(append(append([]byte(nil), udp[:6]...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), udp[12:]...), FrameSource},
		{"from ourselves", append(append(append([]byte(nil), udp[:6]...), ourHardware[:]...), udp[12:]...), FrameSource},
		{"IEEE 802.1Q: a VLAN", append(append(append([]byte(nil), udp[:12]...), 0x81, 0, 0, 1), udp[12:]...), FrameType},
		{"RFC 8200: IPv6", append(append(append([]byte(nil), udp[:12]...), 0x86, 0xdd), udp[14:]...), FrameType},

		{"RFC 826: a request for us", arp, taken},
		{"RFC 826: cut off", arp[:ethernetSize+arpSize-1], ARPMalformed},
		{"RFC 826: not of Ethernet", changeARP(arp, 0, 0, 6), ARPMalformed},
		{"RFC 826: not for IPv4", changeARP(arp, 2, 0x86, 0xdd), ARPMalformed},
		{"RFC 826: other lengths", changeARP(arp, 4, 8, 4), ARPMalformed},
		{"RFC 826: other lengths of protocols", changeARP(arp, 4, 6, 16), ARPMalformed},
		{"RFC 826: neither request nor answer", changeARP(arp, 6, 0, 3), ARPMalformed},
		{"RFC 826: a group as sender", changeARP(arp, 8, 0xff), ARPMalformed},
		{"RFC 826: nobody as sender", changeARP(arp, 8, 0, 0, 0, 0, 0, 0), ARPMalformed},
		{"RFC 826: our own", changeARP(arp, 8, ourHardware[:]...), FrameSource},
		{"RFC 826: a request for another", changeARP(arp, 24, 10, 0, 0, 9), ARPNotForUs},
		{"RFC 826: an answer that nobody asked for", changeARP(arp, 6, 0, 2), ARPUnasked},
		{"RFC 5227, 2.1: a probe for our address", changeARP(arp, 14, 0, 0, 0, 0), taken},
		{"RFC 5227, 2.4: a claim of our address", changeARP(arp, 14, ourAddress[:]...), taken},

		{"RFC 791, 3.1: cut off in the header", udp[:ethernetSize+19], IPv4Short},
		{"RFC 791, 3.1: version 6", change(udp, 0, 0x65), IPv4Version},
		{"RFC 791, 3.1: a header of 16 bytes", change(udp, 0, 0x44), IPv4Header},
		{"RFC 791, 3.1: a header longer than the frame", change(udp, 0, 0x4f), IPv4Header},
		{"RFC 791, 3.1: a total length below the header", change(udp, 2, 0, 19), IPv4Length},
		{"RFC 791, 3.1: a total length beyond the frame", change(udp, 2, 0, 34), IPv4Length},
		{"RFC 894: padding behind the datagram", append(append([]byte(nil), udp...), 1, 2, 3, 4, 5, 6), taken},
		{"RFC 1122, 3.2.1.2: a wrong checksum", append(append(append([]byte(nil), udp[:24]...), 0, 0), udp[26:]...), IPv4Checksum},
		{"RFC 1122, 3.2.1.7: time to live 1", change(udp, 8, 1), taken},
		{"RFC 1122, 3.2.1.7: time to live 0", change(udp, 8, 0), taken},
		{"RFC 1122, 3.2.1.6: type of service", change(udp, 1, 0xff), taken},
		{"RFC 791, 3.1: the bit that must be zero", change(udp, 6, 0x80), taken},
		{"RFC 1122, 3.2.1.8: options", options(6, 1, 1, 1, 0), taken},
		{"RFC 1122, 3.2.1.8: options that make no sense", options(6, 7, 255, 0, 3), taken},
		{"RFC 791, 3.2: the first fragment", change(udp, 6, 0x20, 0), IPv4Fragment},
		{"RFC 791, 3.2: the last fragment", change(udp, 6, 0, 1), IPv4Fragment},
		{"RFC 1122, 3.2.1.3: to another", to(Address{10, 0, 0, 9}), IPv4NotForUs},
		{"RFC 1122, 3.2.1.3: to network 127", to(Address{127, 0, 0, 1}), IPv4NotForUs},
		{"RFC 1122, 3.2.1.3: to the old broadcast address", to(Address{10, 0, 0, 0}), IPv4NotForUs},
		{"RFC 1122, 3.3.6: to all", destined(to(Broadcast), BroadcastHardware), taken},
		{"RFC 1122, 3.3.6: to all on the network", destined(to(Address{10, 0, 0, 255}), BroadcastHardware), taken},
		{"RFC 1122, 3.3.6: to us, in a frame to all", destined(udp, BroadcastHardware), IPv4NotForUs},
		{"RFC 1112, 7.2: to a group", to(Address{224, 0, 0, 1}), IPv4NotForUs},
		{"RFC 1122, 3.2.1.3: from nobody", from(Address{}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from network 0", from(Address{0, 1, 2, 3}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from network 127", from(Address{127, 0, 0, 1}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from a group", from(Address{224, 0, 0, 1}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from a reserved address", from(Address{240, 0, 0, 1}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from all", from(Broadcast), IPv4Source},
		{"RFC 1122, 3.2.1.3: from all on the network", from(Address{10, 0, 0, 255}), IPv4Source},
		{"RFC 1122, 3.2.1.3: from the network itself", from(Address{10, 0, 0, 0}), IPv4Source},
		{"from our own address", from(ourAddress), IPv4Source},
		{"RFC 1812, 4.2.2.11: from elsewhere", from(far), taken},
		{"RFC 1122, 3.2.2.1: an unknown protocol", change(udp, 9, 47), IPv4Protocol},

		{"RFC 792: echo", echo, taken},
		{"RFC 792: cut off", ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0)[:7]), ICMPMalformed},
		{"RFC 1122, 3.2.2: a wrong checksum", change(echo, 29, 9), ICMPChecksum},
		{"RFC 1122, 3.2.2: an unknown type", ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(42, 0)), ICMPType},
		{"RFC 1122, 3.2.2.2: a redirect", ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(5, 1, sent[:28]...)), ICMPType},
		{"RFC 1122, 3.2.2.6: echo to all", destined(ipv4Frame(theirAddress, Broadcast, protocolICMP, icmpBytes(icmpEcho, 0)), BroadcastHardware), ICMPGroup},
		{"RFC 792: an answer that nobody asked for", ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEchoReply, 0)), ICMPType},
		{"RFC 1122, 3.2.2.1: unreachable", quote(sent[:28]), taken},
		{"RFC 792: time exceeded", ipv4Frame(far, ourAddress, protocolICMP, icmpBytes(icmpTimeExceeded, 0, sent[:28]...)), taken},
		{"RFC 792: a quotation that is cut off", quote(sent[:27]), ICMPMalformed},
		{"RFC 792: no quotation", quote(nil), ICMPMalformed},
		{"RFC 792: a quotation of IPv6", quote(append([]byte{0x60}, sent[1:28]...)), ICMPMalformed},
		{"RFC 792: a quotation with a header of 16 bytes", quote(append([]byte{0x44}, sent[1:28]...)), ICMPMalformed},
		{"RFC 792: a quotation with a header that is not all there", quote(append([]byte{0x46}, sent[1:28]...)), ICMPMalformed},
		{"RFC 792: a quotation of what another sent", quote(change(append(make([]byte, 14), sent[:28]...), 12, 10, 0, 0, 9)[14:]), ICMPType},
		{"RFC 792: a quotation of a port that is closed", quote(change(append(make([]byte, 14), sent[:28]...), 20, 1, 1)[14:]), UDPNoSocket},
		{"RFC 5927: a quotation of TCP", quote(change(append(make([]byte, 14), sent[:28]...), 9, protocolTCP)[14:]), ICMPType},

		{"RFC 768: cut off", ipv4Frame(theirAddress, ourAddress, protocolUDP, make([]byte, 7)), UDPMalformed},
		{"RFC 768: a length below the header", change(udp, 24, 0, 7), UDPMalformed},
		{"RFC 768: a length beyond the datagram", change(udp, 24, 0, 14), UDPMalformed},
		{"RFC 768: a wrong checksum", change(udp, 28, 'J'), UDPChecksum},
		{"RFC 768: no checksum", change(udp, 26, 0, 0), taken},
		{"RFC 1122, 4.1.3.1: a port that is closed", udpFrame(1000, 2001, "hello"), UDPNoSocket},
		{"RFC 768: port 0", udpFrame(1000, 0, "hello"), UDPNoSocket},
		{"RFC 768: no data", udpFrame(1000, 2000, ""), taken},
		{"DHCP that is not used", udpFrame(67, 68, "hello"), UDPNoSocket},

		{"RFC 9293, 3.1: cut off", ipv4Frame(theirAddress, ourAddress, protocolTCP, make([]byte, 19)), TCPMalformed},
		{"RFC 1122, 4.2.3.10: a segment to all", destined(ipv4Frame(theirAddress, Broadcast, protocolTCP, make([]byte, 20)), BroadcastHardware), TCPGroup},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHost(t)
			k, err := s.Open(2000)
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.give(tt.frame), "%v", tt.want)
			if strings.HasPrefix(tt.name, "RFC 894: to us") {
				var buf [9]byte
				n, from, ok, err := k.ReceiveFrom(buf[:])
				require.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, "hello", string(buf[:n]))
				assert.Equal(t, Endpoint{theirAddress, 1000}, from)
			}
		})
	}
}

// changeARP returns a frame with some bytes of the packet changed.
func changeARP(frame []byte, at int, bytes ...byte) []byte {
	frame = append([]byte(nil), frame...)
	copy(frame[ethernetSize+at:], bytes)
	return frame
}

// TestNothingIsSentInFragments, and each datagram forbids them (RFC 1122, 3.3.2 and 3.3.3; RFC 6864).
func TestNothingIsSentInFragments(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	k, err := s.Open(2000)
	require.NoError(t, err)
	assert.Equal(t, ErrTooLong, k.SendTo(make([]byte, 1473), Endpoint{theirAddress, 7}))
	require.NoError(t, k.SendTo(make([]byte, 1472), Endpoint{theirAddress, 7}))
	f := s.one()
	assert.Len(t, f, 1514)
	var d datagram
	require.Equal(t, taken, parseIPv4(f[ethernetSize:], &d))
	assert.Equal(t, uint16(ipv4DontFragment), binary.BigEndian.Uint16(d.header[6:]))
	assert.Equal(t, uint8(timeToLive), d.header[8])
}

// TestRoutes are next hops (RFC 1122, 3.3.1).
func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		name string
		net  network
		to   Address
		hop  Address
		ok   bool
	}{
		{"a neighbor", network{ourAddress, 24, gateway}, theirAddress, theirAddress, true},
		{"the gateway", network{ourAddress, 24, gateway}, gateway, gateway, true},
		{"elsewhere", network{ourAddress, 24, gateway}, far, gateway, true},
		{"elsewhere, without a gateway", network{ourAddress, 24, Address{}}, far, Address{}, false},
		{"all", network{ourAddress, 24, gateway}, Broadcast, Broadcast, true},
		{"all on the network", network{ourAddress, 24, gateway}, Address{10, 0, 0, 255}, Broadcast, true},
		{"the network itself", network{ourAddress, 24, gateway}, Address{10, 0, 0, 0}, Address{}, false},
		{"ourselves", network{ourAddress, 24, gateway}, ourAddress, Address{}, false},
		{"nobody", network{ourAddress, 24, gateway}, Address{}, Address{}, false},
		{"the loopback", network{ourAddress, 24, gateway}, Address{127, 0, 0, 1}, Address{}, false},
		{"a group", network{ourAddress, 24, gateway}, Address{224, 0, 0, 1}, Address{}, false},
		{"a neighbor among two (RFC 3021)", network{ourAddress, 31, Address{}}, Address{10, 0, 0, 0}, Address{10, 0, 0, 0}, true},
		{"a network of one, with a gateway outside", network{ourAddress, 32, gateway}, far, gateway, true},
		{"that gateway", network{ourAddress, 32, gateway}, gateway, gateway, true},
		{"a network of one bit", network{ourAddress, 1, Address{}}, Address{99, 0, 0, 1}, Address{99, 0, 0, 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStation(t, ourHardware, 1)
			require.NoError(t, s.SetAddress(tt.net.address, tt.net.bits, tt.net.gateway, s.now))
			hop, ok := s.route(tt.to)
			assert.Equal(t, tt.ok, ok)
			if ok {
				assert.Equal(t, tt.hop, hop)
			}
		})
	}
}

// TestAddressesThatAreNone are refused, and leave the address that there was.
func TestAddressesThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		name string
		net  network
	}{
		{"none", network{Address{}, 24, Address{}}},
		{"the loopback", network{Address{127, 0, 0, 1}, 8, Address{}}},
		{"a group", network{Address{224, 0, 0, 1}, 24, Address{}}},
		{"the network itself", network{Address{10, 0, 0, 0}, 24, Address{}}},
		{"all on the network", network{Address{10, 0, 0, 255}, 24, Address{}}},
		{"no bits", network{ourAddress, 0, Address{}}},
		{"33 bits", network{ourAddress, 33, Address{}}},
		{"-1 bits", network{ourAddress, -1, Address{}}},
		{"a gateway elsewhere", network{ourAddress, 24, far}},
		{"ourselves as the gateway", network{ourAddress, 24, ourAddress}},
		{"all as the gateway", network{ourAddress, 24, Address{10, 0, 0, 255}}},
		{"a group as the gateway", network{ourAddress, 32, Address{224, 0, 0, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHost(t)
			assert.Equal(t, ErrAddress, s.SetAddress(tt.net.address, tt.net.bits, tt.net.gateway, s.now))
			a, bits, ok := s.Address()
			assert.True(t, ok)
			assert.Equal(t, ourAddress, a)
			assert.Equal(t, 24, bits)
			assert.Empty(t, s.take())
		})
	}
}

// TestConfigurationsThatAreNone are refused.
func TestConfigurationsThatAreNone(t *testing.T) {
	good := Config{Hardware: ourHardware, Random: func() uint32 { return 4 }}
	require.NoError(t, new(Stack).Init(good))
	for name, change := range map[string]func(*Config){
		"no address":        func(c *Config) { c.Hardware = HardwareAddress{} },
		"a group's address": func(c *Config) { c.Hardware = BroadcastHardware },
		"no random":         func(c *Config) { c.Random = nil },
		"a short MTU":       func(c *Config) { c.MTU = MinMTU - 1 },
		"a long MTU":        func(c *Config) { c.MTU = MaxMTU + 1 },
		"a long name":       func(c *Config) { c.Name = strings.Repeat("x", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			assert.Equal(t, ErrConfig, new(Stack).Init(c))
		})
	}
}

// TestErrorsSayWhatIsWrong: each error and each cause has a text.
func TestErrorsSayWhatIsWrong(t *testing.T) {
	for e := ErrConfig; e <= ErrUnreachable; e++ {
		assert.Contains(t, e.Error(), "net: ")
	}
	assert.Equal(t, "net: unknown error", Error(0).Error())
	assert.Equal(t, "net: unknown error", Error(200).Error())
	for c := range Causes {
		assert.NotEmpty(t, Cause(c).String())
	}
	assert.Equal(t, "out displaced", OutDisplaced.String())
}
