package net

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/checksum"
)

// message is the message of ICMP in a frame.
func message(t *testing.T, frame []byte) (d datagram) {
	t.Helper()
	require.Equal(t, taken, parseIPv4(frame[ethernetSize:], &d))
	require.Equal(t, uint8(protocolICMP), d.protocol)
	require.Equal(t, taken, parseICMP(d.data))
	return d
}

// TestEcho is answered with the same identifier, sequence number and data (RFC 792; RFC 1122, 3.2.2.6), whatever its length.
func TestEcho(t *testing.T) {
	for _, length := range []int{0, 1, 2, 56, 1471, 1472} {
		s := newHost(t)
		s.knows(theirAddress, theirHardware)
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(i)
		}
		b := icmpBytes(icmpEcho, 0, data...)
		copy(b[icmpIdentifier:], []byte{1, 2, 3, 4})
		finishICMP(b)
		require.Equal(t, taken, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, b)))
		d := message(t, s.one())
		assert.Equal(t, ourAddress, d.source)
		assert.Equal(t, theirAddress, d.destination)
		assert.Equal(t, uint8(icmpEchoReply), d.data[0])
		assert.Equal(t, b[icmpIdentifier:], d.data[icmpIdentifier:])
	}
}

// TestEchoIsLimited to EchoRate in a second.
func TestEchoIsLimited(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	b := ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0))
	for range 2 {
		for range EchoRate {
			require.Equal(t, taken, s.give(b))
			s.one()
		}
		assert.Equal(t, ICMPLimit, s.give(b))
		assert.Empty(t, s.take())
		s.pass(Second)
	}
}

// TestUnreachable answers a datagram for a port or a protocol that nobody has, and quotes its header and 8 bytes (RFC 1122, 3.2.2.1,
// 4.1.3.1).
func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		frame []byte
		code  uint8
	}{
		{"a port", udpFrame(1000, 9, "much data"), codePort},
		{"no data", udpFrame(1000, 9, ""), codePort},
		{"a protocol", ipv4Frame(theirAddress, ourAddress, 47, []byte{1, 2, 3}), codeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHost(t)
			s.knows(theirAddress, theirHardware)
			s.give(tt.frame)
			d := message(t, s.one())
			assert.Equal(t, theirAddress, d.destination)
			assert.Equal(t, uint8(icmpUnreachable), d.data[0])
			assert.Equal(t, tt.code, d.data[1])
			quoted := tt.frame[ethernetSize:]
			assert.Equal(t, quoted[:min(len(quoted), ipv4Size+8)], d.data[icmpSize:])
			var q quotation
			if tt.code == codePort {
				require.Equal(t, taken, parseQuotation(d.data[icmpSize:], &q))
				assert.Equal(t, quotation{theirAddress, ourAddress, protocolUDP, 1000, 9}, q)
			}
		})
	}
}

// TestUnreachableIsNotSent about what was for many, about errors of ICMP, and about fragments (RFC 1122, 3.2.2); and not more often
// than UnreachableRate.
func TestUnreachableIsNotSent(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	many := ipv4Frame(theirAddress, Broadcast, protocolUDP, udpBytes(theirAddress, Broadcast, udpHeader{1, 9}, ""))
	for name, frame := range map[string][]byte{
		"a broadcast":          destined(many, BroadcastHardware),
		"a protocol, to all":   destined(ipv4Frame(theirAddress, Broadcast, 47, nil), BroadcastHardware),
		"a fragment":           change(udpFrame(1, 9, ""), 6, 0, 7),
		"an error of ICMP":     ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpUnreachable, 3)),
		"a source that is all": change(udpFrame(1, 9, ""), 12, 255, 255, 255, 255),
	} {
		assert.NotEqual(t, taken, s.give(frame), name)
		assert.Empty(t, s.take(), name)
	}
	for range UnreachableRate {
		s.give(udpFrame(1, 9, ""))
		s.one()
	}
	s.give(udpFrame(1, 9, ""))
	assert.Empty(t, s.take())
}

// TestAnswersTakeTheWayBack: those to elsewhere leave by the gateway, whoever brought the question.
func TestAnswersTakeTheWayBack(t *testing.T) {
	s := newHost(t)
	s.knows(gateway, HardwareAddress{2, 0, 0, 0, 0, 254})
	require.Equal(t, taken, s.give(ipv4Frame(far, ourAddress, protocolICMP, icmpBytes(icmpEcho, 0))))
	f := s.one()
	assert.Equal(t, HardwareAddress{2, 0, 0, 0, 0, 254}, getHardware(f))
	assert.Equal(t, far, message(t, f).destination)
}

// TestPing sends an echo request, and knows its answer.
func TestPing(t *testing.T) {
	s := newHost(t)
	assert.Equal(t, ErrNoRoute, s.Ping(ourAddress, s.now))
	require.NoError(t, s.Ping(theirAddress, s.now))
	s.pass(Millisecond)
	assert.Equal(t, theirAddress, asks(t, s.one()))
	require.Equal(t, taken, s.give(reply(theirAddress, theirHardware)))
	request := message(t, s.one()).data
	assert.Equal(t, uint8(icmpEcho), request[0])
	answer := append([]byte(nil), request...)
	answer[0] = icmpEchoReply
	finishICMP(answer)
	wrong := append([]byte(nil), answer...)
	wrong[icmpSequence]++
	finishICMP(wrong)
	assert.Equal(t, ICMPType, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, wrong)), "another number")
	assert.Equal(t, ICMPType, s.give(ipv4Frame(far, ourAddress, protocolICMP, answer)), "another host")
	_, ok := s.Pong()
	assert.False(t, ok)
	s.pass(Millisecond)
	assert.Equal(t, taken, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, answer)))
	took, ok := s.Pong()
	assert.True(t, ok)
	assert.Equal(t, 2*Millisecond, took)
	assert.Equal(t, ICMPType, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, answer)), "twice")
	assert.Equal(t, ErrNoAddress, newStation(t, ourHardware, 1).Ping(theirAddress, 0))
}

// TestSocketLearnsThatNothingArrived (RFC 1122, 4.1.3.3), once.
func TestSocketLearnsThatNothingArrived(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	k, err := s.Open(2000)
	require.NoError(t, err)
	require.NoError(t, k.SendTo([]byte("anybody?"), Endpoint{theirAddress, 7}))
	sent := s.one()[ethernetSize:]
	require.Equal(t, taken, s.give(ipv4Frame(theirAddress, ourAddress, protocolICMP, icmpBytes(icmpUnreachable, codePort, sent[:28]...))))
	_, from, ok, err := k.ReceiveFrom(make([]byte, 10))
	assert.False(t, ok)
	assert.Equal(t, ErrUnreachable, err)
	assert.Equal(t, Endpoint{theirAddress, 7}, from)
	_, _, ok, err = k.ReceiveFrom(make([]byte, 10))
	assert.False(t, ok)
	assert.NoError(t, err)
}

// TestChecksumOfZero is sent as 0xffff (RFC 768).
func TestChecksumOfZero(t *testing.T) {
	h := udpHeader{1, 2}
	data := []byte{0, 0}
	b := make([]byte, udpSize+2)
	putUDP(b, h, ourAddress, theirAddress, len(b))
	data = append(data[:0], b[udpChecksum:udpChecksum+2]...) // the sum becomes all ones with this
	copy(b[udpSize:], data)
	putUDP(b, h, ourAddress, theirAddress, len(b))
	assert.Equal(t, []byte{0xff, 0xff}, b[udpChecksum:udpChecksum+2])
	assert.Equal(t, uint16(0), checksum.Finish(checksum.Add(checksum.Pseudo(ourAddress, theirAddress, protocolUDP, len(b)), b)))
}
