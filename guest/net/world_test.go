package net

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/checksum"
)

var (
	ourHardware   = HardwareAddress{0x52, 0x54, 0, 0, 0, 1}
	theirHardware = HardwareAddress{0x52, 0x54, 0, 0, 0, 2}
	ourAddress    = Address{10, 0, 0, 1}
	theirAddress  = Address{10, 0, 0, 2}
	gateway       = Address{10, 0, 0, 254}
	far           = Address{192, 0, 2, 1}
)

// A station is a stack with the clock of the test.
type station struct {
	*Stack
	t   *testing.T
	now Time
}

// newStation makes a stack without an address. Each byte of entropy comes from the seed.
func newStation(t *testing.T, h HardwareAddress, seed uint64) *station {
	s := &station{new(Stack), t, Second}
	random := rand.New(rand.NewPCG(seed, 0))
	require.NoError(t, s.Init(Config{
		Hardware: h, Name: "station", Random: random.Uint32,
		Sockets: MakeSockets(4, 8192), Conns: MakeConns(4, 4096, 4096),
	}))
	return s
}

// newHost is newStation with an address and a gateway, whose announcements are over.
func newHost(t *testing.T) *station {
	s := newStation(t, ourHardware, 1)
	require.NoError(t, s.SetAddress(ourAddress, 24, gateway, s.now))
	require.Len(t, s.take(), 1)
	s.pass(announceInterval)
	require.Len(t, s.take(), 1)
	return s
}

// pass lets time go by.
func (s *station) pass(t Time) { s.now += t }

// take returns all frames that the stack sends now.
func (s *station) take() [][]byte {
	s.t.Helper()
	var frames [][]byte
	buf := make([]byte, ethernetSize+MaxMTU)
	for n := s.Output(buf, s.now); n > 0; n = s.Output(buf, s.now) {
		frames = append(frames, append([]byte(nil), buf[:n]...))
		require.Less(s.t, len(frames), 1000, "the stack does not stop sending")
	}
	check(s.t, s.Stack)
	if at, ok := s.Deadline(); ok {
		require.Greater(s.t, at, s.now, "the stack has sent all, and wants to be called at once")
	}
	return frames
}

// give gives a frame to the stack and returns its cause.
func (s *station) give(frame []byte) Cause {
	s.t.Helper()
	before := s.counters
	s.Input(frame, s.now)
	check(s.t, s.Stack)
	assert.Equal(s.t, before.In+1, s.counters.In)
	for c := range lastIn + 1 {
		if s.counters.Dropped[c] != before.Dropped[c] {
			return c
		}
	}
	assert.Equal(s.t, before.Taken+1, s.counters.Taken)
	return taken
}

// one is the only frame that the stack sends now.
func (s *station) one() []byte {
	s.t.Helper()
	frames := s.take()
	require.Len(s.t, frames, 1)
	return frames[0]
}

// knows has the stack learn a neighbor: who asks for it.
func (s *station) knows(a Address, h HardwareAddress) {
	s.t.Helper()
	require.Equal(s.t, taken, s.give(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: h, senderIPv4: a, targetIPv4: s.address})))
	s.one()
}

// check holds what is true of a stack at any time.
func check(t *testing.T, s *Stack) {
	t.Helper()
	sum := s.counters.Taken
	for c := range lastIn + 1 {
		sum += s.counters.Dropped[c]
	}
	assert.Equal(t, s.counters.In, sum, "each frame is taken, or dropped for one cause")
	waiting := 0
	for i := range s.frames {
		f := &s.frames[i]
		assert.LessOrEqual(t, f.length, len(f.data))
		if f.state == frameWaiting {
			waiting++
			n := s.find(f.hop)
			if assert.NotNil(t, n, "a frame waits for nobody") {
				assert.True(t, !n.known && n.asking, "a frame waits for an address that is known, or that nobody asks for")
			}
		}
	}
	assert.LessOrEqual(t, waiting, waitingFrames)
	seen := map[Address]bool{}
	for i := range s.neighbors {
		n := &s.neighbors[i]
		if !n.used {
			assert.Equal(t, neighbor{}, *n)
			continue
		}
		assert.False(t, seen[n.address], "two entries for %v", n.address)
		seen[n.address] = true
		assert.True(t, s.bound && n.address.host() && n.address != s.address, "an entry of no neighbor: %v", n.address)
		assert.LessOrEqual(t, n.asked, uint8(askTimes))
		assert.False(t, n.known && n.hardware.group())
	}
	for i := range s.sockets {
		for _, r := range []*ring{&s.sockets[i].in, &s.sockets[i].out} {
			assert.True(t, r.used >= 0 && r.used <= len(r.buf) && r.first >= 0 && (r.first < len(r.buf) || len(r.buf) == 0))
		}
	}
	if s.bound {
		assert.True(t, s.usable())
		assert.True(t, s.gateway == Address{} || s.reaches(s.gateway))
	}
	assert.False(t, !s.bound && s.dhcp.state >= dhcpBound, "a lease without its address")
}

// arpFrame makes a frame with a packet from its sender.
func arpFrame(to HardwareAddress, p arpPacket) []byte {
	b := make([]byte, 60)
	putEthernet(b, ethernetHeader{to, p.sender, typeARP})
	putARP(b[ethernetSize:], &p)
	return b
}

// ipv4Frame makes a frame with a datagram of theirs to us.
func ipv4Frame(source, destination Address, protocol uint8, data []byte) []byte {
	b := make([]byte, ethernetSize+ipv4Size+len(data))
	putEthernet(b, ethernetHeader{ourHardware, theirHardware, typeIPv4})
	putIPv4(b[ethernetSize:], source, destination, protocol, len(data))
	copy(b[ethernetSize+ipv4Size:], data)
	return b
}

// udpBytes makes a datagram of UDP.
func udpBytes(source, destination Address, h udpHeader, data string) []byte {
	b := make([]byte, udpSize+len(data))
	copy(b[udpSize:], data)
	putUDP(b, h, source, destination, len(b))
	return b
}

// udpFrame makes a frame with a datagram of theirs to us.
func udpFrame(from, to uint16, data string) []byte {
	return ipv4Frame(theirAddress, ourAddress, protocolUDP, udpBytes(theirAddress, ourAddress, udpHeader{from, to}, data))
}

// icmpBytes makes a message.
func icmpBytes(kind, code uint8, rest ...byte) []byte {
	b := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, rest...)
	finishICMP(b)
	return b
}

// change returns a frame with some bytes of the datagram changed, and the header's checksum right.
func change(frame []byte, at int, bytes ...byte) []byte {
	frame = append([]byte(nil), frame...)
	b := frame[ethernetSize:]
	copy(b[at:], bytes)
	if n := int(b[0]&15) * 4; n >= ipv4Size && n <= len(b) {
		put16(b[ipv4Checksum:], 0)
		put16(b[ipv4Checksum:], checksum.Finish(checksum.Add(0, b[:n])))
	}
	return frame
}

// destined returns a frame to another station.
func destined(frame []byte, to HardwareAddress) []byte {
	frame = append([]byte(nil), frame...)
	copy(frame, to[:])
	return frame
}
