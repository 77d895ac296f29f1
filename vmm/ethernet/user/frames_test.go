package user

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kapsel/vmm/ethernet"
)

const (
	flagSYN = header.TCPFlagSyn
	flagACK = header.TCPFlagAck
)

// port is a number.
func port(text string) uint16 {
	n, _ := strconv.ParseUint(text, 10, 16)
	return uint16(n)
}

// frame is an Ethernet frame of the guest.
func frame(to ethernet.MAC, kind tcpip.NetworkProtocolNumber, payload []byte) []byte {
	f := make([]byte, ethernet.HeaderSize, ethernet.HeaderSize+len(payload))
	header.Ethernet(f).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(guestMAC[:]), DstAddr: tcpip.LinkAddress(to[:]), Type: kind,
	})
	return append(f, payload...)
}

// packet is an IPv4 packet in a frame to the gateway.
func packet(from, to netip.Addr, protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	p := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
	ip := header.IPv4(p)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(cap(p)), TTL: 64, Protocol: uint8(protocol), SrcAddr: stackAddress(from), DstAddr: stackAddress(to),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return frame(gatewayMAC, header.IPv4ProtocolNumber, append(p, payload...))
}

// segment is the first TCP segment of the guest.
func segment(from uint16, to netip.Addr, port uint16, flags header.TCPFlags) []byte {
	return segmentOf(from, to, port, 1, 0, flags)
}

// segmentOf is a TCP segment of the guest.
func segmentOf(from uint16, to netip.Addr, port uint16, sequence, acknowledged uint32, flags header.TCPFlags) []byte {
	s := header.TCP(make([]byte, header.TCPMinimumSize))
	s.Encode(&header.TCPFields{
		SrcPort: from, DstPort: port, SeqNum: sequence, AckNum: acknowledged,
		DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 8192,
	})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, stackAddress(Guest), stackAddress(to), uint16(len(s)))
	s.SetChecksum(^s.CalculateChecksum(sum))
	return packet(Guest, to, header.TCPProtocolNumber, s)
}

// datagram is a UDP datagram of the guest.
func datagram(from uint16, to netip.Addr, port uint16, payload []byte) []byte {
	d := header.UDP(append(make([]byte, header.UDPMinimumSize), payload...))
	d.Encode(&header.UDPFields{SrcPort: from, DstPort: port, Length: uint16(len(d))})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, stackAddress(Guest), stackAddress(to), uint16(len(d)))
	d.SetChecksum(^d.CalculateChecksum(checksum.Checksum(payload, sum)))
	return packet(Guest, to, header.UDPProtocolNumber, d)
}

// ping is an echo request of the guest.
func ping(to netip.Addr) []byte {
	p := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize+32))
	p.SetType(header.ICMPv4Echo)
	p.SetIdent(7)
	p.SetChecksum(^checksum.Checksum(p, 0))
	return packet(Guest, to, header.ICMPv4ProtocolNumber, p)
}

// arpRequest asks for the MAC of an address.
func arpRequest(from, to netip.Addr) []byte {
	p := header.ARP(make([]byte, header.ARPSize))
	p.SetIPv4OverEthernet()
	p.SetOp(header.ARPRequest)
	copy(p.HardwareAddressSender(), guestMAC[:])
	copy(p.ProtocolAddressSender(), from.AsSlice())
	copy(p.ProtocolAddressTarget(), to.AsSlice())
	return frame(ethernet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, header.ARPProtocolNumber, p)
}

// next waits for a frame to the guest, and answers when the network asks for the guest's MAC.
func (w *wire) next(t *testing.T) []byte {
	t.Helper()
	end := time.After(patience)
	var buffer [ethernet.MaxFrame]byte
	for {
		if n := w.port.Receive(&buffer); n > 0 {
			f := buffer[:n]
			if p := header.ARP(f[ethernet.HeaderSize:]); header.Ethernet(f).Type() == header.ARPProtocolNumber && p.Op() == header.ARPRequest {
				p.SetOp(header.ARPReply)
				p = append(header.ARP(nil), p...)
				sender := netip.AddrFrom4([4]byte(p.ProtocolAddressSender()))
				copy(p.HardwareAddressTarget(), p.HardwareAddressSender())
				copy(p.HardwareAddressSender(), guestMAC[:])
				copy(p.ProtocolAddressSender(), Guest.AsSlice())
				copy(p.ProtocolAddressTarget(), sender.AsSlice())
				w.port.Send(frame(gatewayMAC, header.ARPProtocolNumber, p))
				continue
			}
			return f
		}
		select {
		case <-w.ready:
		case <-end:
			t.Fatalf("no frame came within %s; %+v", patience, w.Stats())
		}
	}
}

// packet waits for an IPv4 packet to the guest.
func (w *wire) packet(t *testing.T) header.IPv4 {
	t.Helper()
	for {
		f := w.next(t)
		p := header.IPv4(f[ethernet.HeaderSize:])
		if header.Ethernet(f).Type() == header.IPv4ProtocolNumber && p.IsValid(len(p)) {
			return append(header.IPv4(nil), p...)
		}
	}
}

// send sends a frame when there is room for it.
func (w *wire) send(t *testing.T, f []byte) {
	t.Helper()
	require.Eventually(t, func() bool { return w.port.Send(f) == nil }, patience, time.Millisecond)
}

// echo pings the gateway: when it returns, all that was sent before has been seen.
func (w *wire) echo(t *testing.T) {
	t.Helper()
	w.send(t, ping(Gateway))
	for {
		p := w.packet(t)
		if p.TransportProtocol() == header.ICMPv4ProtocolNumber && header.ICMPv4(p.Payload()).Type() == header.ICMPv4EchoReply {
			return
		}
	}
}

// TestARP: the machines that there are answer, and no others: a guest that looks whether its own address is free finds that it is.
func TestARP(t *testing.T) {
	for _, test := range []struct {
		name    string
		frame   []byte
		answers bool
	}{
		{"the gateway", arpRequest(Guest, Gateway), true},
		{"the resolver", arpRequest(Guest, Resolver), true},
		{"before there is a lease", arpRequest(netip.IPv4Unspecified(), Gateway), true},
		{"the guest's own address", arpRequest(netip.IPv4Unspecified(), Guest), false},
		{"nobody's address", arpRequest(Guest, netip.MustParseAddr("10.0.2.77")), false},
		{"an address elsewhere", arpRequest(Guest, outside), false},
		{"in the gateway's name", arpRequest(Gateway, Gateway), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := startWire(t, Config{}, testHost())
			require.NoError(t, w.port.Send(test.frame))
			require.NoError(t, w.port.Send(ping(Gateway))) // answered by all networks
			f := w.next(t)
			if !test.answers {
				assert.Equal(t, header.IPv4ProtocolNumber, header.Ethernet(f).Type())
				assert.EqualValues(t, 1, w.Stats().FramesRefused)
				return
			}
			require.Equal(t, header.ARPProtocolNumber, header.Ethernet(f).Type())
			p := header.ARP(f[ethernet.HeaderSize:])
			assert.Equal(t, header.ARPReply, p.Op())
			assert.Equal(t, gatewayMAC[:], p.HardwareAddressSender())
			assert.Equal(t, header.ARP(test.frame[ethernet.HeaderSize:]).ProtocolAddressTarget(), p.ProtocolAddressSender())
		})
	}
}

// TestPing: the gateway and the resolver answer echo requests. Nobody answers for hosts elsewhere.
func TestPing(t *testing.T) {
	w := startWire(t, Config{Allow: rules(t, "*:*")}, testHost())
	for _, to := range []netip.Addr{outside, netip.MustParseAddr("10.0.2.77"), Gateway, Resolver} {
		require.NoError(t, w.port.Send(ping(to)))
	}
	for _, from := range []netip.Addr{Gateway, Resolver} {
		p := w.packet(t)
		assert.Equal(t, from.String(), p.SourceAddress().String())
		reply := header.ICMPv4(p.Payload())
		assert.Equal(t, header.ICMPv4EchoReply, reply.Type())
		assert.EqualValues(t, 7, reply.Ident())
		assert.Zero(t, ^checksum.Checksum(reply, 0))
	}
	assert.EqualValues(t, 2, w.Stats().FramesRefused)
}

// TestFramesThatNobodyTakes is the rule for the guest's frames.
func TestFramesThatNobodyTakes(t *testing.T) {
	n, err := newNetwork(Config{MAC: guestMAC}, testHost())
	require.NoError(t, err)
	defer n.Close()
	changed := func(at int, value byte) []byte {
		f := ping(Gateway)
		f[at] = value
		return f
	}
	other := netip.MustParseAddr("10.0.2.16")
	unspecified := netip.IPv4Unspecified()
	for _, test := range []struct {
		name  string
		frame []byte
		takes bool
	}{
		{"an echo request", ping(Gateway), true},
		{"a broadcast to the MAC", func() []byte { f := ping(Gateway); copy(f, "\xff\xff\xff\xff\xff\xff"); return f }(), true},
		{"another MAC", changed(5, 9), false},
		{"a group's MAC", changed(0, 1), false},
		{"IPv6", changed(12, 0x86), false},
		{"version 6 in IPv4's frame", changed(14, 0x65), false},
		{"a header of 16 bytes", changed(14, 0x44), false},
		{"a header longer than the packet", changed(14, 0x4f)[:40], false},
		{"longer than the frame", changed(16, 0x40), false},
		{"an Ethernet header alone", ping(Gateway)[:ethernet.HeaderSize], false},
		{"half an Ethernet header", ping(Gateway)[:7], false},
		{"in another's name", packet(other, Gateway, header.ICMPv4ProtocolNumber, make([]byte, 8)), false},
		{"in the gateway's name", packet(Gateway, Guest, header.TCPProtocolNumber, make([]byte, 20)), false},
		{"in nobody's name", packet(unspecified, Gateway, header.UDPProtocolNumber, make([]byte, 8)), false},
		{"in search of an address", packet(unspecified, broadcast, header.UDPProtocolNumber, make([]byte, 8)), true},
		{"TCP in search of an address", packet(unspecified, broadcast, header.TCPProtocolNumber, make([]byte, 20)), false},
		{"TCP to all", packet(Guest, broadcast, header.TCPProtocolNumber, make([]byte, 20)), false},
		{"to the guest itself", packet(Guest, Guest, header.UDPProtocolNumber, make([]byte, 8)), false},
		{"to a group", packet(Guest, netip.MustParseAddr("224.0.0.1"), header.UDPProtocolNumber, make([]byte, 8)), false},
		{"IGMP", packet(Guest, Gateway, 2, make([]byte, 8)), false},
		{"short ARP", arpRequest(Guest, Gateway)[:ethernet.HeaderSize+27], false},
		{"ARP of another MAC", func() []byte { f := arpRequest(Guest, Gateway); f[ethernet.HeaderSize+8] ^= 2; return f }(), false},
		{"RARP", frame(ethernet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x8035, make([]byte, 28)), false},
	} {
		t.Run(test.name, func(t *testing.T) { assert.Equal(t, test.takes, n.accepts(test.frame)) })
	}
}

// FuzzFrames gives any frame to a network with all its services: it goes on, and answers the next.
func FuzzFrames(f *testing.F) {
	for _, seed := range [][]byte{
		nil, ping(Gateway), ping(outside), arpRequest(Guest, Gateway), segment(1, outside, 80, flagSYN), segment(1, Gateway, 0, flagACK),
		datagram(68, Gateway, 67, discover()), datagram(5, Resolver, 53, []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01")),
		datagram(5, outside, 7, []byte("x")), packet(Guest, Gateway, 2, nil),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	h := testHost()
	h.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }
	everywhere, err := ParseRule("*:*")
	if err != nil {
		f.Fatal(err)
	}
	n, err := newNetwork(Config{MAC: guestMAC, Allow: []Rule{everywhere}}, h)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { n.Close() })
	go func() {
		for buffer := make([]byte, ethernet.MaxFrame); ; {
			if size, err := n.ReadFrame(buffer); err != nil || size > len(buffer) {
				return
			}
		}
	}()
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) > ethernet.HeaderSize+header.IPv4MinimumSize {
			mend(b)
		}
		if len(b) > ethernet.MaxFrame {
			return
		}
		if err := n.WriteFrame(b); err != nil {
			t.Error(err)
		}
	})
}

// mend makes what is meant as IPv4 valid up to its checksum, so that what lies behind is reached.
func mend(b []byte) {
	ip := header.IPv4(b[ethernet.HeaderSize:])
	b[ethernet.HeaderSize] = 0x45
	ip.SetTotalLength(uint16(len(ip)))
	ip.SetSourceAddress(stackAddress(Guest))
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())
}
