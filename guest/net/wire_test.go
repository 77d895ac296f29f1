package net

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/tcp"
)

// A wire connects two stations, and is as bad as the test wants it.
type wire struct {
	stations            [2]*station
	random              *rand.Rand
	lose, repeat, delay float64 // probabilities
	latency             Time
	flights             []flight
	carried             int
}

// A flight is a frame on its way to a station.
type flight struct {
	frame []byte
	to    int
	at    Time
}

// newWire makes two hosts that are each other's neighbors.
func newWire(t *testing.T) *wire {
	w := &wire{random: rand.New(rand.NewPCG(7, 7)), latency: 50}
	w.stations = [2]*station{newStation(t, ourHardware, 1), newStation(t, theirHardware, 2)}
	require.NoError(t, w.stations[0].SetAddress(ourAddress, 24, Address{}, w.stations[0].now))
	require.NoError(t, w.stations[1].SetAddress(theirAddress, 24, Address{}, w.stations[1].now))
	w.run(announceInterval)
	return w
}

// bad makes the wire lose, repeat and reorder frames, each with a probability of 5 %.
func (w *wire) bad() { w.lose, w.repeat, w.delay = 0.05, 0.05, 0.05 }

// put takes a frame of a station.
func (w *wire) put(from int, frame []byte) {
	w.carried++
	if w.random.Float64() < w.lose {
		return
	}
	f := flight{append([]byte(nil), frame...), 1 - from, w.stations[0].now + w.latency}
	if w.random.Float64() < w.delay {
		f.at += Time(w.random.IntN(20 * int(w.latency)))
	}
	w.flights = append(w.flights, f)
	if w.random.Float64() < w.repeat {
		w.flights = append(w.flights, f)
	}
}

// step takes what the stations send, brings what is due, and goes on to when something is; false if nothing ever is.
func (w *wire) step() bool {
	var buf [ethernetSize + MaxMTU]byte
	for i, s := range w.stations {
		for n := s.Output(buf[:], s.now); n > 0; n = s.Output(buf[:], s.now) {
			w.put(i, buf[:n])
		}
	}
	var next deadline
	for _, f := range w.flights {
		next.at(f.at)
	}
	for _, s := range w.stations {
		if at, ok := s.Deadline(); ok {
			next.at(at)
		}
	}
	if !next.set {
		return false
	}
	for _, s := range w.stations {
		s.now = max(s.now, next.time)
	}
	kept := w.flights[:0]
	for _, f := range w.flights {
		if f.at <= w.stations[0].now {
			w.stations[f.to].Input(f.frame, w.stations[f.to].now)
		} else {
			kept = append(kept, f)
		}
	}
	w.flights = kept
	return true
}

// run runs for a time.
func (w *wire) run(t Time) {
	for end := w.stations[0].now + t; w.stations[0].now < end; {
		if !w.step() {
			for _, s := range w.stations {
				s.now = end
			}
		}
	}
}

// until runs until something is so.
func (w *wire) until(t *testing.T, done func() bool) {
	t.Helper()
	for end := w.stations[0].now + 3600*Second; !done(); {
		require.Less(t, w.stations[0].now, end, "an hour has passed")
		require.True(t, w.step() || done(), "nothing happens any more")
	}
}

// TestDatagramsOnABadWire: of 100,000, with 5 % each of loss, repetition and reordering, those that arrive are whole.
func TestDatagramsOnABadWire(t *testing.T) {
	const all = 100_000
	w := newWire(t)
	w.bad()
	from, err := w.stations[0].Open(2000)
	require.NoError(t, err)
	to, err := w.stations[1].Open(7)
	require.NoError(t, err)
	var b, r [MaxMTU]byte
	came, distinct, repeated := 0, 0, 0
	seen := make([]bool, all)
	receive := func() {
		for {
			n, e, ok, err := to.ReceiveFrom(r[:])
			require.NoError(t, err)
			if !ok {
				return
			}
			came++
			require.Equal(t, Endpoint{ourAddress, 2000}, e)
			require.GreaterOrEqual(t, n, 8)
			require.Equal(t, crc32.ChecksumIEEE(r[4:n]), binary.BigEndian.Uint32(r[:]), "a datagram was corrupted")
			number := binary.BigEndian.Uint32(r[4:])
			if seen[number] {
				repeated++
			} else {
				distinct++
			}
			seen[number] = true
		}
	}
	for i := range all {
		n := 8 + w.random.IntN(200)
		if i%50 == 0 {
			n = 8 + w.random.IntN(1472-8)
		}
		for j := range b[:n] {
			b[j] = byte(i * (j + 1))
		}
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		binary.BigEndian.PutUint32(b[:], crc32.ChecksumIEEE(b[4:n]))
		for from.SendTo(b[:n], Endpoint{theirAddress, 7}) == ErrFull {
			w.step()
			receive()
		}
		if i%4 == 0 {
			w.step()
			receive()
		}
	}
	w.run(Second)
	receive()
	for _, s := range w.stations {
		check(t, s.Stack)
	}
	t.Logf("%d of %d came, %d of them again; drops %v", distinct, all, repeated, w.stations[1].counters.Dropped)
	assert.InDelta(t, 0.95*all, distinct, 0.01*all)
	assert.InDelta(t, 0.05*0.95*all, repeated, 0.01*all)
	assert.Zero(t, w.stations[1].counters.Dropped[UDPChecksum])
}

// TestDamageIsFound: a bit of a datagram that was changed on its way has it dropped, whichever it is; the two bytes of a frame's type and the
// addresses in Ethernet apart, which its check sequence protects.
func TestDamageIsFound(t *testing.T) {
	s := newHost(t)
	_, err := s.Open(2000)
	require.NoError(t, err)
	f := udpFrame(1000, 2000, "some data that must not change")
	for bit := ethernetSize * 8; bit < len(f)*8; bit++ {
		g := bytes.Clone(f)
		g[bit/8] ^= 1 << (bit % 8)
		assert.NotEqual(t, taken, s.give(g), "bit %d", bit)
	}
}

// TestStreamsOnABadWire: connections in both directions carry 1 MiB each way, whole.
func TestStreamsOnABadWire(t *testing.T) {
	const all = 1 << 20
	w := newWire(t)
	w.bad()
	l, err := w.stations[1].Listen(80)
	require.NoError(t, err)
	client, err := w.stations[0].Dial(Endpoint{theirAddress, 80}, w.stations[0].now)
	require.NoError(t, err)
	var peer *Conn
	w.until(t, func() bool { peer = l.Accept(); return peer != nil })
	assert.Equal(t, Endpoint{ourAddress, client.Local()}, peer.Remote())
	var sums [2]struct {
		sent, got int
		ended     bool
	}
	value := func(b []byte, direction, at int) []byte {
		for j := range b {
			b[j] = byte((at+j)*7 + (at+j)>>8 + direction)
		}
		return b
	}
	pump := func(i int, from, to *Conn) {
		var b, want [1000]byte
		x := &sums[i]
		if x.sent < all {
			n := min(len(b), all-x.sent, from.Writable())
			n, err := from.Write(value(b[:n], i, x.sent))
			require.NoError(t, err)
			if x.sent += n; x.sent == all {
				from.CloseWrite()
			}
		}
		n, err := to.Read(b[:])
		require.True(t, bytes.Equal(value(want[:n], i, x.got), b[:n]), "corrupted behind byte %d", x.got)
		x.got += n
		if err != nil {
			require.Equal(t, tcp.EOF, err)
			x.ended = true
		}
	}
	w.until(t, func() bool {
		pump(0, client, peer)
		pump(1, peer, client)
		return sums[0].ended && sums[1].ended
	})
	for _, s := range sums {
		assert.Equal(t, all, s.got)
	}
	for _, s := range w.stations {
		check(t, s.Stack)
	}
}

// TestPingOnAWire goes both ways.
func TestPingOnAWire(t *testing.T) {
	w := newWire(t)
	for i, to := range []Address{theirAddress, ourAddress} {
		require.NoError(t, w.stations[i].Ping(to, w.stations[i].now))
		w.until(t, func() bool { _, ok := w.stations[i].Pong(); return ok })
		took, _ := w.stations[i].Pong()
		assert.GreaterOrEqual(t, took, 2*w.latency)
	}
}
