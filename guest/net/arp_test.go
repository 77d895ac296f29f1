package net

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asks is the address that a frame asks for.
func asks(t *testing.T, frame []byte) Address {
	t.Helper()
	var p arpPacket
	var h ethernetHeader
	rest, c := parseEthernet(frame, &h)
	require.Equal(t, taken, c)
	require.Equal(t, taken, parseARP(rest, &p))
	require.Equal(t, uint16(arpRequest), p.operation)
	return p.targetIPv4
}

// reply makes the answer of a neighbor to our request.
func reply(a Address, h HardwareAddress) []byte {
	return arpFrame(ourHardware, arpPacket{operation: arpReply, sender: h, senderIPv4: a, target: ourHardware, targetIPv4: ourAddress})
}

// neighborNumber is one of many neighbors.
func neighborNumber(i int) (Address, HardwareAddress) {
	return Address{10, 0, 0, byte(i)}, HardwareAddress{2, 0, 0, 0, 0, byte(i)}
}

// sends has a socket send a datagram.
func (s *station) sends(a Address) {
	s.t.Helper()
	k := s.socket(2000)
	if k == nil {
		k, _ = s.Open(2000)
	}
	require.NoError(s.t, k.SendTo([]byte("data"), Endpoint{a, 7}))
}

// TestRequestIsAnswered, with the addresses in their places (RFC 826).
func TestRequestIsAnswered(t *testing.T) {
	s := newHost(t)
	require.Equal(t, taken, s.give(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: theirAddress, targetIPv4: ourAddress})))
	var h ethernetHeader
	var p arpPacket
	rest, _ := parseEthernet(s.one(), &h)
	require.Equal(t, taken, parseARP(rest, &p))
	assert.Equal(t, ethernetHeader{theirHardware, ourHardware, typeARP}, h)
	assert.Equal(t, arpPacket{arpReply, ourHardware, theirHardware, ourAddress, theirAddress}, p)
}

// TestProbeIsAnswered, but nobody is learned from it (RFC 5227, 2.1.1).
func TestProbeIsAnswered(t *testing.T) {
	s := newHost(t)
	require.Equal(t, taken, s.give(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, targetIPv4: ourAddress})))
	assert.Len(t, s.take(), 1)
	assert.Equal(t, [neighbors]neighbor{}, s.neighbors)
}

// TestFrameWaitsForItsAddress, and leaves when the answer comes (RFC 1122, 2.3.2.2).
func TestFrameWaitsForItsAddress(t *testing.T) {
	s := newHost(t)
	s.sends(theirAddress)
	assert.Equal(t, theirAddress, asks(t, s.one()))
	require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))
	f := s.one()
	assert.Equal(t, theirHardware, getHardware(f))
	assert.Equal(t, theirAddress, getAddress(f[ethernetSize+ipv4Destination:]))
}

// TestSilentNeighbor is asked three times, a second apart, and then what waited is dropped.
func TestSilentNeighbor(t *testing.T) {
	s := newHost(t)
	s.sends(theirAddress)
	for range askTimes {
		assert.Equal(t, theirAddress, asks(t, s.one()))
		at, ok := s.Deadline()
		require.True(t, ok)
		assert.Equal(t, s.now+Second, at)
		s.pass(Second - 1)
		assert.Empty(t, s.take())
		s.pass(1)
	}
	assert.Empty(t, s.take())
	assert.Equal(t, uint64(1), s.counters.Dropped[OutUnresolved])
	_, ok := s.Deadline()
	assert.False(t, ok)
}

// TestFramesThatWaitAreBounded: the oldest gives way.
func TestFramesThatWaitAreBounded(t *testing.T) {
	s := newHost(t)
	for range waitingFrames + 3 {
		s.sends(theirAddress)
	}
	assert.Equal(t, theirAddress, asks(t, s.one()))
	assert.Equal(t, uint64(3), s.counters.Dropped[OutDisplaced])
	require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))
	assert.Len(t, s.take(), waitingFrames)
}

// TestAnswersHaveRoomBesideFramesThatWait: a neighbor that is silent keeps nobody else from an answer.
func TestAnswersHaveRoomBesideFramesThatWait(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	for range waitingFrames {
		s.sends(Address{10, 0, 0, 9})
	}
	s.one()
	echo := ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0))
	for range frameBuffers - waitingFrames {
		assert.Equal(t, taken, s.give(echo))
	}
	assert.Equal(t, AnswerFull, s.give(echo))
	assert.Len(t, s.take(), frameBuffers-waitingFrames)
}

// TestNeighborIsAskedAgain after a minute, when it is needed, while it is used as before; one that is silent then is forgotten.
func TestNeighborIsAskedAgain(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	s.pass(neighborFresh)
	assert.Empty(t, s.take(), "nobody needs it")
	s.sends(theirAddress)
	frames := s.take()
	require.Len(t, frames, 2)
	assert.Equal(t, theirHardware, getHardware(frames[0]))
	assert.Equal(t, theirAddress, asks(t, frames[1]))
	require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))
	s.pass(neighborFresh - 1)
	s.sends(theirAddress)
	assert.Len(t, s.take(), 1)
	s.pass(1)
	for range askTimes {
		s.sends(theirAddress)
		require.Len(t, s.take(), 2)
		s.pass(Second)
	}
	s.take()
	assert.Nil(t, s.find(theirAddress))
}

// TestClaimsAreNotBelieved: only the answer to a question changes an address, whoever says something else in a request, an
// announcement or an answer; the question is asked at once, and once in a second.
func TestClaimsAreNotBelieved(t *testing.T) {
	evil := HardwareAddress{2, 6, 6, 6, 6, 6}
	for _, tt := range []struct {
		name   string
		packet arpPacket
	}{
		{"an announcement", arpPacket{operation: arpRequest, sender: evil, senderIPv4: theirAddress, targetIPv4: theirAddress}},
		{"an announcement as an answer", arpPacket{operation: arpReply, sender: evil, senderIPv4: theirAddress, targetIPv4: theirAddress}},
		{"an answer", arpPacket{operation: arpReply, sender: evil, senderIPv4: theirAddress, target: ourHardware, targetIPv4: ourAddress}},
		{"a request to another", arpPacket{operation: arpRequest, sender: evil, senderIPv4: theirAddress, targetIPv4: gateway}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHost(t)
			s.knows(theirAddress, theirHardware)
			claim := arpFrame(BroadcastHardware, tt.packet)
			require.Equal(t, taken, s.give(claim))
			s.sends(theirAddress)
			frames := s.take()
			require.Len(t, frames, 2)
			assert.Equal(t, theirAddress, asks(t, frames[0]))
			assert.Equal(t, theirHardware, getHardware(frames[1]), "believed at once")
			require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))

			require.Equal(t, taken, s.give(claim))
			assert.Empty(t, s.take(), "asked twice in a second")
			s.pass(askEvery)
			assert.Equal(t, theirAddress, asks(t, s.one()))
			require.Equal(t, taken, s.give(reply(theirAddress, evil)), "it has a new interface")
			s.sends(theirAddress)
			assert.Equal(t, evil, getHardware(s.one()))
		})
	}
}

// TestAnnouncementIsNoAnswer, though the address is asked for.
func TestAnnouncementIsNoAnswer(t *testing.T) {
	s := newHost(t)
	s.sends(theirAddress)
	s.one()
	evil := HardwareAddress{2, 6, 6, 6, 6, 6}
	s.give(arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: evil, senderIPv4: theirAddress, targetIPv4: theirAddress}))
	assert.Empty(t, s.take())
	require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))
	assert.Equal(t, theirHardware, getHardware(s.one()))
}

// TestFloodOfRequests: who asks is entered, but displaces nobody who is needed.
func TestFloodOfRequests(t *testing.T) {
	s := newHost(t)
	for i := range 3 {
		a, h := neighborNumber(100 + i)
		s.knows(a, h)
		s.sends(a)
		s.one()
	}
	for i := 2; i < 100; i++ {
		s.knows(neighborNumber(i))
	}
	for i := range 3 {
		a, h := neighborNumber(100 + i)
		s.sends(a)
		assert.Equal(t, h, getHardware(s.one()))
	}
}

// TestFloodCannotOustTheGateway, though we send to ever new neighbors, silent ones or not; and one that is needed is back with
// its next question.
func TestFloodCannotOustTheGateway(t *testing.T) {
	s := newHost(t)
	s.knows(gateway, theirHardware)
	for i := 2; i < 250; i++ {
		a, h := neighborNumber(i)
		s.sends(a)
		assert.Equal(t, a, asks(t, s.one()))
		if i%3 == 0 {
			require.Equal(t, taken, s.give(reply(a, h)))
			s.one()
		}
		s.sends(far)
		assert.Equal(t, theirHardware, getHardware(s.one()))
	}
	assert.Equal(t, theirHardware, s.find(gateway).hardware)
}

// TestAllNeighborsAreNeeded: the one whose need is longest ago gives way, and what waits for one that gave way is dropped.
func TestAllNeighborsAreNeeded(t *testing.T) {
	s := newHost(t)
	for i := 2; i < 2+neighbors; i++ {
		a, h := neighborNumber(i)
		s.sends(a)
		s.one()
		require.Equal(t, taken, s.give(reply(a, h)))
		s.one()
		s.pass(1)
	}
	oldest, _ := neighborNumber(2)
	s.knows(neighborNumber(99))
	assert.NotNil(t, s.find(oldest), "displaced by one who asked")
	a, _ := neighborNumber(100)
	s.sends(a)
	s.one()
	assert.Nil(t, s.find(oldest))
	b, _ := neighborNumber(101)
	s.sends(b)
	s.one()
	assert.Nil(t, s.find(a), "one without an answer goes before one that is known")
	assert.Equal(t, uint64(1), s.counters.Dropped[OutUnresolved])
}

// TestAnnouncements are two, two seconds apart (RFC 5227, 2.3).
func TestAnnouncements(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	require.NoError(t, s.SetAddress(ourAddress, 24, gateway, s.now))
	for range announceTimes {
		f := s.one()
		assert.Equal(t, ourAddress, asks(t, f))
		assert.Equal(t, ourAddress, getAddress(f[ethernetSize+arpSenderIPv4:]))
		assert.Equal(t, BroadcastHardware, getHardware(f))
		s.pass(announceInterval)
	}
	assert.Empty(t, s.take())
}

// TestConflictIsDefended, once in ten seconds, and counted (RFC 5227, 2.4).
func TestConflictIsDefended(t *testing.T) {
	s := newHost(t)
	claim := arpFrame(BroadcastHardware, arpPacket{operation: arpRequest, sender: theirHardware, senderIPv4: ourAddress, targetIPv4: ourAddress})
	s.pass(defendInterval)
	for range 5 {
		require.Equal(t, taken, s.give(claim))
	}
	assert.Equal(t, ourAddress, asks(t, s.one()))
	s.pass(defendInterval - 1)
	s.give(claim)
	assert.Empty(t, s.take())
	s.pass(1)
	s.give(claim)
	assert.Len(t, s.take(), 1)
	assert.Equal(t, uint64(7), s.counters.Conflicts)
}

// TestNeighborsElsewhere are not learned, though they ask: they are reached by the gateway.
func TestNeighborsElsewhere(t *testing.T) {
	s := newHost(t)
	s.knows(far, theirHardware)
	assert.Nil(t, s.find(far))
}

// TestNewAddressForgets what was true of the old one.
func TestNewAddressForgets(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	s.sends(Address{10, 0, 0, 9})
	s.one()
	require.NoError(t, s.SetAddress(Address{10, 0, 1, 1}, 24, Address{}, s.now))
	assert.Equal(t, [neighbors]neighbor{}, s.neighbors)
	assert.Len(t, s.take(), 1, "the announcement")
	assert.Equal(t, uint64(1), s.counters.Dropped[OutUnresolved])
}
