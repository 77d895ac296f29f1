package net

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNothingIsAllocated after Init: neither by frames of any kind, nor by calls, whether they succeed or fail, nor by DHCP. A task's
// memory never comes back.
func TestNothingIsAllocated(t *testing.T) {
	w := newWire(t)
	a, b := w.stations[0].Stack, w.stations[1].Stack
	l, err := b.Listen(80)
	require.NoError(t, err)
	k, err := a.Open(2000)
	require.NoError(t, err)
	echo, err := b.Open(7)
	require.NoError(t, err)
	now := w.stations[0].now
	var buf, data [ethernetSize + MaxMTU]byte
	exchange := func() {
		for busy := true; busy; {
			busy = false
			for n := a.Output(buf[:], now); n > 0; n = a.Output(buf[:], now) {
				b.Input(buf[:n], now)
				busy = true
			}
			for n := b.Output(buf[:], now); n > 0; n = b.Output(buf[:], now) {
				a.Input(buf[:n], now)
				busy = true
			}
		}
		now += 10 * Millisecond
	}
	bad := [][]byte{{}, udpFrame(1, 9, "x"), change(udpFrame(1, 9, "x"), 6, 0x20), ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0))}
	lease := newStation(t, ourHardware, 3)
	offer, ack := (&dhcpMessage{typeOffer, 0, ourAddress, server, terms}).bytes(), (&dhcpMessage{typeAck, 0, ourAddress, server, terms}).bytes()
	var offered, acknowledged [600]byte
	served := func(in []byte, message []byte) []byte { // a frame with the client's number, without memory of its own
		put32(message[dhcpXID:], lease.dhcp.xid)
		n := ethernetSize + ipv4Size + udpSize + len(message)
		copy(in[n-len(message):], message)
		putUDP(in[ethernetSize+ipv4Size:], udpHeader{67, 68}, server, Broadcast, udpSize+len(message))
		putIPv4(in[ethernetSize:], server, Broadcast, protocolUDP, udpSize+len(message))
		putEthernet(in, ethernetHeader{BroadcastHardware, serverHard, typeIPv4})
		return in[:n]
	}
	drain := func() {
		for lease.Output(buf[:], lease.now) > 0 {
		}
	}
	got := 0
	allocations := testing.AllocsPerRun(100, func() {
		k.SendTo(data[:100], Endpoint{theirAddress, 7})
		k.SendTo(data[:], Endpoint{theirAddress, 7})
		k.SendTo(data[:1], Endpoint{far, 7})
		exchange()
		n, from, _, _ := echo.ReceiveFrom(data[:])
		echo.SendTo(data[:n], from)
		exchange()
		k.ReceiveFrom(data[:10])
		a.Ping(theirAddress, now)
		c, err := a.Dial(Endpoint{theirAddress, 80}, now)
		if err != nil {
			panic(err)
		}
		refused, _ := a.Dial(Endpoint{theirAddress, 81}, now)
		exchange()
		refused.Close()
		peer := l.Accept()
		peer.Write(data[:1000])
		peer.Close()
		exchange()
		n, _ = c.Read(data[:])
		got += n
		c.Read(data[:])
		c.Close()
		exchange()
		for _, f := range bad {
			a.Input(f, now)
		}
		exchange()
		a.Deadline()

		lease.StartDHCP(lease.now)
		drain()
		lease.Input(served(offered[:], offer), lease.now)
		drain()
		lease.Input(served(acknowledged[:], ack), lease.now)
		for range 20 {
			drain()
			lease.now, _ = lease.Deadline()
		}
	})
	assert.Zero(t, allocations)
	assert.Equal(t, 101*1000, got, "the work was not done")
	_, ok := a.Pong()
	assert.True(t, ok)
	assert.NotZero(t, lease.counters.Taken)
}

// TestMemory holds what docs/network.md says of memory against the structures.
func TestMemory(t *testing.T) {
	text, err := os.ReadFile("../../docs/network.md")
	require.NoError(t, err)
	own := int(unsafe.Sizeof(Stack{}))
	for _, size := range []string{
		number(own+frameBuffers*(ethernetSize+MaxMTU)) + " bytes (" + number(own) + ", and 8 frames of 1,514)",
		fmt.Sprintf("a socket %d and its two rings, a connection %d and its two buffers", unsafe.Sizeof(Socket{}), unsafe.Sizeof(Conn{})),
	} {
		assert.Contains(t, string(text), size)
	}
}

// number writes a number of four or five digits with a comma.
func number(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
