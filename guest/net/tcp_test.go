package net

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

// segmentFrame makes a frame with a segment to us.
func segmentFrame(from Address, s tcp.Segment) []byte {
	b := make([]byte, s.Size())
	s.Put(b, checksum.Pseudo(from, ourAddress, protocolTCP, len(b)))
	return ipv4Frame(from, ourAddress, protocolTCP, b)
}

// syn is the SYN of a peer's port.
func syn(port uint16) tcp.Segment {
	return tcp.Segment{Source: port, Destination: 80, Sequence: uint32(port), Flags: tcp.SYN, Window: 1000, MSS: 1460}
}

// segment is the segment in a frame.
func segment(t *testing.T, frame []byte) (s tcp.Segment) {
	t.Helper()
	var d datagram
	require.Equal(t, taken, parseIPv4(frame[ethernetSize:], &d))
	require.True(t, tcp.Parse(d.data, checksum.Pseudo(d.source, d.destination, protocolTCP, len(d.data)), &s))
	return s
}

// TestSegmentOfNoConnection is answered with a reset (RFC 9293, 3.10.7.1), not more often than ResetRate, and a reset with nothing.
func TestSegmentOfNoConnection(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	assert.Equal(t, TCPNoConn, s.give(segmentFrame(theirAddress, syn(1000))))
	r := segment(t, s.one())
	assert.Equal(t, tcp.RST|tcp.ACK, r.Flags)
	assert.Equal(t, uint32(1001), r.Acknowledgment)
	assert.Equal(t, TCPNoConn, s.give(segmentFrame(theirAddress, tcp.Segment{Source: 1, Destination: 80, Flags: tcp.ACK, Acknowledgment: 77})))
	r = segment(t, s.one())
	assert.Equal(t, tcp.RST, r.Flags)
	assert.Equal(t, uint32(77), r.Sequence)
	assert.Equal(t, TCPNoConn, s.give(segmentFrame(theirAddress, tcp.Segment{Source: 1, Destination: 80, Flags: tcp.RST})))
	assert.Empty(t, s.take())
	for range ResetRate - 2 {
		s.give(segmentFrame(theirAddress, syn(1000)))
		s.one()
	}
	assert.Equal(t, ResetLimit, s.give(segmentFrame(theirAddress, syn(1000))))
	assert.Empty(t, s.take())
}

// TestListeners are opened, refused and closed.
func TestListeners(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	_, err := s.Listen(0)
	assert.Equal(t, ErrPortInUse, err)
	l, err := s.Listen(80)
	require.NoError(t, err)
	_, err = s.Listen(80)
	assert.Equal(t, ErrPortInUse, err)
	for i := range listeners - 1 {
		_, err := s.Listen(uint16(100 + i))
		require.NoError(t, err)
	}
	_, err = s.Listen(99)
	assert.Equal(t, ErrNoSocket, err)
	assert.Nil(t, l.Accept())

	require.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(1000))))
	answer := segment(t, s.one())
	assert.Equal(t, tcp.SYN|tcp.ACK, answer.Flags)
	assert.Equal(t, uint16(1460), answer.MSS)
	assert.Nil(t, l.Accept(), "it is half open")
	require.Equal(t, taken, s.give(segmentFrame(theirAddress, tcp.Segment{Source: 1000, Destination: 80, Sequence: 1001, Flags: tcp.ACK, Acknowledgment: answer.Sequence + 1, Window: 1000})))
	l.Close()
	assert.Equal(t, tcp.RST, segment(t, s.one()).Flags&tcp.RST)
	assert.Equal(t, TCPNoConn, s.give(segmentFrame(theirAddress, syn(1001))))
	assert.True(t, s.conns[0].free())
}

// stand makes the connection of a peer's port stand.
func (s *station) stand(port uint16) {
	s.t.Helper()
	require.Equal(s.t, taken, s.give(segmentFrame(theirAddress, syn(port))))
	answer := segment(s.t, s.one())
	require.Equal(s.t, taken, s.give(segmentFrame(theirAddress, tcp.Segment{Source: port, Destination: 80, Sequence: uint32(port) + 1, Flags: tcp.ACK, Acknowledgment: answer.Sequence + 1, Window: 1000})))
	s.take()
}

// TestAcceptIsInOrder, of those that stand.
func TestAcceptIsInOrder(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	l, err := s.Listen(80)
	require.NoError(t, err)
	for _, port := range []uint16{3, 1, 2} {
		s.stand(port)
	}
	for _, port := range []uint16{3, 1, 2} {
		assert.Equal(t, Endpoint{theirAddress, port}, l.Accept().Remote())
	}
	assert.Nil(t, l.Accept())
}

// TestFloodOfSYNs: the oldest connection that is half open gives way; those that stand stay, and when all stand, a SYN is dropped.
func TestFloodOfSYNs(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	l, err := s.Listen(80)
	require.NoError(t, err)
	s.stand(1)
	first := l.Accept()
	for port := uint16(997); port < 1000; port++ {
		require.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(port))))
		s.take()
	}
	s.now += Second/10 - 1
	assert.Equal(t, TCPFull, s.give(segmentFrame(theirAddress, syn(1000))), "a handshake has a tenth of a second")
	for port := uint16(1000); port < 1500; port++ {
		s.now += Second / 10
		require.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(port))))
		s.take()
	}
	for _, port := range []uint16{1497, 1498, 1499} {
		assert.NotNil(t, s.conn(80, Endpoint{theirAddress, port}))
	}
	assert.Nil(t, s.conn(80, Endpoint{theirAddress, 1496}))
	assert.Equal(t, tcp.Established, first.State())
	for port := uint16(2); port < 5; port++ {
		s.now += Second / 10
		s.stand(port)
	}
	assert.Equal(t, TCPFull, s.give(segmentFrame(theirAddress, syn(9))))
	_, err = s.Dial(Endpoint{theirAddress, 9}, s.now)
	assert.Equal(t, ErrNoSocket, err)
	first.CloseWrite()
	fin := segment(t, s.one())
	ack := tcp.Segment{Source: 1, Destination: 80, Sequence: 2, Flags: tcp.ACK, Acknowledgment: fin.Sequence + 1, Window: 1000}
	require.Equal(t, taken, s.give(segmentFrame(theirAddress, ack)))
	assert.Equal(t, tcp.FinWait2, first.State())
	assert.Equal(t, TCPFull, s.give(segmentFrame(theirAddress, syn(9))), "it is still the caller's")
	first.Abort()
	s.take()
	assert.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(9))))
}

// TestReleasedConnectionsGiveWay: peers who never take what was written, and acknowledge each probe of their closed windows, do not hold the pool.
func TestReleasedConnectionsGiveWay(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	l, err := s.Listen(80)
	require.NoError(t, err)
	for port := range uint16(len(s.conns)) {
		s.stand(port)
		c := l.Accept()
		_, err := c.Write(make([]byte, 1000))
		require.NoError(t, err)
		data := segment(t, s.one())
		closed := tcp.Segment{Source: port, Destination: 80, Sequence: uint32(port) + 1, Flags: tcp.ACK, Acknowledgment: data.Sequence + 1}
		require.Equal(t, taken, s.give(segmentFrame(theirAddress, closed)))
		c.Close()
		s.take()
		require.Equal(t, tcp.FinWait1, c.State())
	}
	assert.Equal(t, TCPFull, s.give(segmentFrame(theirAddress, syn(100))), "they have a second to take it")
	s.now += Second
	assert.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(100))))
	assert.True(t, s.conn(80, Endpoint{theirAddress, 100}) != nil)
	assert.True(t, s.conn(80, Endpoint{theirAddress, 0}) == nil, "not the oldest gave way")
	reset := segment(t, s.take()[0])
	assert.Equal(t, tcp.RST, reset.Flags, "its peer is told")
	assert.Equal(t, uint16(0), reset.Destination)
	for port := uint16(101); port < 200; port++ {
		s.now += Second / 10
		require.Equal(t, taken, s.give(segmentFrame(theirAddress, syn(port))))
	}
	assert.True(t, s.conn(80, Endpoint{theirAddress, 1}) != nil, "half open ones go first")
}

// TestDialErrors are told at once.
func TestDialErrors(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	_, err := s.Dial(Endpoint{theirAddress, 80}, s.now)
	assert.Equal(t, ErrNoAddress, err)
	require.NoError(t, s.SetAddress(ourAddress, 24, Address{}, s.now))
	for _, to := range []Endpoint{{far, 80}, {Broadcast, 80}, {Address{10, 0, 0, 255}, 80}, {theirAddress, 0}, {ourAddress, 80}} {
		_, err = s.Dial(to, s.now)
		assert.Equal(t, ErrNoRoute, err, "%v", to)
	}
}

// TestDialToNobody: a closed port refuses, and a silent host is given up.
func TestDialToNobody(t *testing.T) {
	w := newWire(t)
	c, err := w.stations[0].Dial(Endpoint{theirAddress, 80}, w.stations[0].now)
	require.NoError(t, err)
	w.until(t, func() bool { return c.State() == tcp.Closed })
	_, err = c.Read(make([]byte, 1))
	assert.Equal(t, tcp.ErrRefused, err)
	c.Close()
	assert.True(t, c.free())

	c, err = w.stations[0].Dial(Endpoint{Address{10, 0, 0, 77}, 80}, w.stations[0].now)
	require.NoError(t, err)
	w.until(t, func() bool { return c.State() == tcp.Closed })
	_, err = c.Read(make([]byte, 1))
	assert.Equal(t, tcp.ErrTimeout, err)
}

// TestConnectionsInARow: a thousand, in a pool of four, each closed by the one who accepted it first, so that it waits in TIME-WAIT.
func TestConnectionsInARow(t *testing.T) {
	w := newWire(t)
	l, err := w.stations[1].Listen(80)
	require.NoError(t, err)
	began := w.stations[0].now
	for i := range 1000 {
		c, err := w.stations[0].Dial(Endpoint{theirAddress, 80}, w.stations[0].now)
		require.NoError(t, err)
		var peer *Conn
		w.until(t, func() bool { peer = l.Accept(); return peer != nil })
		_, err = peer.Write([]byte{byte(i), byte(i >> 8)})
		require.NoError(t, err)
		peer.Close()
		var b [3]byte
		got := 0
		w.until(t, func() bool {
			n, err := c.Read(b[got:])
			got += n
			return err == tcp.EOF
		})
		assert.Equal(t, []byte{byte(i), byte(i >> 8)}, b[:got])
		c.Close()
	}
	assert.Less(t, w.stations[0].now-began, 10*Second, "a connection waited for another's end")
}

// TestConnectionsEndWithTheirAddress: another address is not theirs.
func TestConnectionsEndWithTheirAddress(t *testing.T) {
	s := newHost(t)
	s.knows(theirAddress, theirHardware)
	l, err := s.Listen(80)
	require.NoError(t, err)
	s.stand(1)
	s.stand(2)
	c := l.Accept()
	require.NoError(t, s.SetAddress(Address{10, 0, 0, 9}, 24, gateway, s.now))
	assert.Len(t, s.take(), 1, "the announcement, and no reset from an address that the peers do not know")
	assert.Equal(t, tcp.Closed, c.State())
	assert.Nil(t, l.Accept())
	assert.True(t, s.conns[1].free())
}
