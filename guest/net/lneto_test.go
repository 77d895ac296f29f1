package net_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/soypat/lneto/dhcp/dhcpv4"
	lnetoipv4 "github.com/soypat/lneto/ipv4"
	lnetoudp "github.com/soypat/lneto/udp"
	"github.com/soypat/lneto/x/xnet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net"
)

// newLneto makes lneto's stack with the peer's address, and our end without one. lneto resolves the address of whom it dials, and sends what
// else it sends to what it takes for the gateway: us.
func newLneto(t *testing.T) (*side, *xnet.StackAsync) {
	l := new(xnet.StackAsync)
	require.NoError(t, l.Reset(xnet.StackConfig{
		Hostname: "peer1", HardwareAddress: peerMAC, StaticAddress4: peers, RandSeed: 1,
		MaxActiveUDPPorts: 8, ICMPQueueLimit: 4, MTU: net.MaxMTU, AcceptIPv4Broadcast: true,
	}))
	require.NoError(t, l.EnableICMP(true))
	l.SetSubnet4(peers, 24)
	l.SetGatewayHardwareAddr(ourMAC)
	return newSide(t, peer{
		put: func(frame []byte) { l.IngressEthernet(bytes.Clone(frame)) }, // what it drops is its affair
		get: func(buf []byte) int {
			out := make([]byte, maxFrame+64)
			n, err := l.EgressEthernet(out)
			if err != nil {
				return 0
			}
			return copy(buf, out[:n])
		},
	}), l
}

// atOnce is for calls that do not have to wait.
func atOnce(uint) time.Duration { return time.Millisecond }

// buffers are those of a connection of lneto's.
func buffers() lnetoudp.ConnConfig {
	return lnetoudp.ConnConfig{
		RxBuf: make([]byte, 16<<10), TxBuf: make([]byte, 16<<10), RxQueueSize: 8, TxQueueSize: 8, RWBackoff: atOnce,
	}
}

// TestDatagramsWithLneto: it asks for our address and sends, and 2,000 datagrams go both ways as they were.
func TestDatagramsWithLneto(t *testing.T) {
	s, l := newLneto(t)
	require.NoError(t, s.SetAddress(ours, 24, net.Address{}, s.now()))
	k, err := s.Open(echoPort)
	require.NoError(t, err)
	var conn lnetoudp.Conn
	require.NoError(t, conn.Configure(buffers()))
	require.NoError(t, l.DialUDP(&conn, somePort, netip.AddrPortFrom(netip.AddrFrom4(ours), echoPort)))
	out, in := make([]byte, 1472), make([]byte, 2000)
	for i := range 2000 {
		data := fill(out[:1+i%1472], i)
		_, err := conn.Write(data)
		require.NoError(t, err)
		s.until(func() bool {
			n, from, ok, err := k.ReceiveFrom(in)
			require.NoError(t, err)
			if ok {
				require.Equal(t, net.Endpoint{Address: peers, Port: somePort}, from)
				require.True(t, bytes.Equal(data, in[:n]), "datagram %d", i)
				require.NoError(t, k.SendTo(in[:n], from))
			}
			return ok
		})
		s.until(func() bool { return conn.BufferedInput() > 0 })
		n, err := conn.Read(in)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, in[:n]), "datagram %d came back changed", i)
	}
	assert.Zero(t, s.Counters().Dropped[net.UDPChecksum])
}

// TestPingOfLneto is answered. Its own, in version 0.3.2, forgets its request when it first looks for the answer.
func TestPingOfLneto(t *testing.T) {
	s, _ := newLneto(t)
	require.NoError(t, s.SetAddress(ours, 24, net.Address{}, s.now()))
	require.NoError(t, s.Ping(peers, s.now()))
	s.until(func() bool { _, ok := s.Pong(); return ok })
}

// TestLeaseOfLneto: its server gives us an address, and the terms that it was told to.
func TestLeaseOfLneto(t *testing.T) {
	s, l := newLneto(t)
	var server dhcpv4.Server
	require.NoError(t, server.Configure(dhcpv4.ServerConfig{
		ServerAddr: peers, Gateway: peers, DNS: [4]byte{10, 0, 0, 53}, Subnet: lnetoipv4.PrefixFrom(peers, 24), LeaseSeconds: 7200,
	}))
	require.NoError(t, l.RegisterUDP4(&server, [4]byte{}, 68))
	s.StartDHCP(s.now())
	s.until(func() bool { _, ok := s.Lease(); return ok })
	got, _ := s.Lease()
	assert.Equal(t, [3]byte{10, 0, 0}, [3]byte(got.Address[:3]))
	assert.NotEqual(t, peers, got.Address)
	assert.Equal(t, 24, got.Bits)
	assert.Equal(t, peers, got.Gateway)
	assert.Equal(t, peers, got.Server)
	assert.Equal(t, net.Address{10, 0, 0, 53}, got.DNS)
	assert.InDelta(t, float64(3600*net.Second), float64(got.Renew-s.now()), float64(60*net.Second))
	assert.InDelta(t, float64(6300*net.Second), float64(got.Rebind-s.now()), float64(60*net.Second))
	assert.InDelta(t, float64(7200*net.Second), float64(got.End-s.now()), float64(60*net.Second))
}
