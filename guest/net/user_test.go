package net_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/soypat/lneto/dhcp/dhcpv4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kapsel/guest/net"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/user"
)

// newUser makes our end of a wire to the monitor's user mode.
func newUser(t *testing.T) *side {
	n, err := user.New(user.Config{MAC: ethernet.MAC(ourMAC), Log: t.Logf})
	require.NoError(t, err)
	port := ethernet.NewPort(ethernet.MAC(ourMAC), n, nil, t.Logf)
	wake := make(chan struct{}, 1)
	port.Start(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() { assert.NoError(t, port.Close()) })
	var in [ethernet.MaxFrame]byte
	return newSide(t, peer{
		put:  func(frame []byte) { assert.NoError(t, port.Send(frame)) },
		get:  func(buf []byte) int { return copy(buf, in[:port.Receive(&in)]) },
		wake: wake,
	})
}

// address is one of package netip.
func address(a netip.Addr) net.Address { return net.Address(a.As4()) }

// TestLeaseOfUserMode: user mode gives us its lease, and its gateway answers; each field of what both said is what an independent reader
// finds there.
func TestLeaseOfUserMode(t *testing.T) {
	s := newUser(t)
	s.keep = true
	s.StartDHCP(s.now())
	s.until(func() bool { _, ok := s.Lease(); return ok })
	l, _ := s.Lease()
	assert.Equal(t, address(user.Guest), l.Address)
	assert.Equal(t, user.Subnet.Bits(), l.Bits)
	assert.Equal(t, address(user.Gateway), l.Gateway)
	assert.Equal(t, address(user.Resolver), l.DNS)
	assert.Equal(t, address(user.Gateway), l.Server)
	assert.InDelta(t, float64(24*3600*net.Second), float64(l.End-s.now()), float64(60*net.Second))

	exchange := s.seen
	require.NoError(t, s.Ping(l.Gateway, s.now()))
	s.until(func() bool { _, ok := s.Pong(); return ok })

	var messages []dhcpv4.Frame
	for _, f := range exchange {
		if m, ok := dhcpOf(t, f, len(messages)%2 == 0); ok {
			messages = append(messages, m)
		}
	}
	require.Len(t, messages, 4)
	wants := []struct {
		op      dhcpv4.Op
		kind    dhcpv4.MessageType
		yours   netip.Addr
		options map[dhcpv4.OptNum][]byte
	}{
		{dhcpv4.OpRequest, dhcpv4.MsgDiscover, netip.IPv4Unspecified(), map[dhcpv4.OptNum][]byte{
			dhcpv4.OptHostName: []byte("kapsel"), dhcpv4.OptMaximumMessageSize: {5, 0xdc}, dhcpv4.OptParameterRequestList: {1, 3, 6, 51, 58, 59},
		}},
		{dhcpv4.OpReply, dhcpv4.MsgOffer, user.Guest, nil},
		{dhcpv4.OpRequest, dhcpv4.MsgRequest, netip.IPv4Unspecified(), map[dhcpv4.OptNum][]byte{
			dhcpv4.OptHostName: []byte("kapsel"), dhcpv4.OptMaximumMessageSize: {5, 0xdc}, dhcpv4.OptParameterRequestList: {1, 3, 6, 51, 58, 59},
			dhcpv4.OptRequestedIPaddress: user.Guest.AsSlice(), dhcpv4.OptServerIdentification: user.Gateway.AsSlice(),
		}},
		{dhcpv4.OpReply, dhcpv4.MsgAck, user.Guest, nil},
	}
	for i, want := range wants {
		m := messages[i]
		assert.Equal(t, want.op, m.Op())
		kind, length, hops := m.Hardware()
		assert.Equal(t, [3]uint8{1, 6, 0}, [3]uint8{kind, length, hops})
		assert.Equal(t, messages[0].XID(), m.XID())
		assert.Zero(t, m.Secs())
		assert.Zero(t, m.Flags())
		assert.Equal(t, [4]byte{}, *m.CIAddr())
		assert.Equal(t, want.yours.As4(), *m.YIAddr())
		assert.Equal(t, [4]byte{}, *m.GIAddr())
		assert.Equal(t, [16]byte{0x52, 0x54, 0, 0, 0, 1}, *m.CHAddr())
		assert.Equal(t, uint32(dhcpv4.MagicCookie), m.MagicCookie())
		options := map[dhcpv4.OptNum][]byte{}
		require.NoError(t, m.ForEachOption(func(_ int, o dhcpv4.OptNum, data []byte) error {
			options[o] = data
			return nil
		}))
		assert.Equal(t, []byte{byte(want.kind)}, options[dhcpv4.OptMessageType])
		delete(options, dhcpv4.OptMessageType)
		if want.options != nil {
			assert.Equal(t, want.options, options)
		}
	}
}

// dhcpOf reads a frame by gVisor's headers, and the message of DHCP in it by lneto's.
func dhcpOf(t *testing.T, f []byte, client bool) (m dhcpv4.Frame, ok bool) {
	e := header.Ethernet(f)
	if e.Type() != header.IPv4ProtocolNumber {
		return m, false
	}
	require.Equal(t, header.EthernetBroadcastAddress, e.DestinationAddress())
	h := header.IPv4(f[header.EthernetMinimumSize:])
	require.True(t, h.IsValid(len(h)))
	require.True(t, h.IsChecksumValid())
	require.Equal(t, header.UDPProtocolNumber, h.TransportProtocol())
	require.Equal(t, header.IPv4Broadcast, h.DestinationAddress())
	u := header.UDP(h.Payload())
	require.Equal(t, int(u.Length()), len(u))
	payload := u.Payload()
	require.True(t, u.IsChecksumValid(h.SourceAddress(), h.DestinationAddress(), checksumOf(payload)))
	if client {
		require.Equal(t, ourMAC[:], []byte(e.SourceAddress()))
		require.Equal(t, [4]byte{}, h.SourceAddress().As4())
		require.Equal(t, uint8(64), h.TTL())
		require.Equal(t, [2]uint16{68, 67}, [2]uint16{u.SourcePort(), u.DestinationPort()})
		require.GreaterOrEqual(t, len(payload), 300)
	}
	m, err := dhcpv4.NewFrame(payload)
	require.NoError(t, err)
	return m, true
}

// checksumOf is the plain sum of RFC 1071.
func checksumOf(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
