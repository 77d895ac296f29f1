package net

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSockets opens, refuses and closes.
func TestSockets(t *testing.T) {
	s := newHost(t)
	k, err := s.Open(2000)
	require.NoError(t, err)
	_, err = s.Open(2000)
	assert.Equal(t, ErrPortInUse, err)
	_, err = s.Open(dhcpClientPort)
	assert.Equal(t, ErrPortInUse, err)
	ports := map[uint16]bool{2000: true}
	for range 3 {
		any, err := s.Open(0)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, any.Port(), uint16(firstAnyPort))
		assert.False(t, ports[any.Port()])
		ports[any.Port()] = true
	}
	_, err = s.Open(0)
	assert.Equal(t, ErrNoSocket, err)
	require.Equal(t, taken, s.give(udpFrame(1000, 2000, "old")))
	k.Close()
	assert.Equal(t, ErrClosed, k.SendTo(nil, Endpoint{theirAddress, 7}))
	_, _, _, err = k.ReceiveFrom(nil)
	assert.Equal(t, ErrClosed, err)
	assert.Equal(t, UDPNoSocket, s.give(udpFrame(1000, 2000, "nobody")))
	k, err = s.Open(2001)
	require.NoError(t, err)
	_, _, ok, err := k.ReceiveFrom(nil)
	assert.False(t, ok, "what was for another port")
	assert.NoError(t, err)
}

// TestSendErrors are told at once.
func TestSendErrors(t *testing.T) {
	s := newStation(t, ourHardware, 1)
	k, err := s.Open(2000)
	require.NoError(t, err)
	assert.Equal(t, ErrNoAddress, k.SendTo(nil, Endpoint{theirAddress, 7}))
	require.NoError(t, s.SetAddress(ourAddress, 24, Address{}, s.now))
	assert.Equal(t, ErrNoRoute, k.SendTo(nil, Endpoint{far, 7}))
	require.NoError(t, k.SendTo(make([]byte, 1400), Endpoint{theirAddress, 7}))
	for err == nil {
		err = k.SendTo(make([]byte, 1400), Endpoint{theirAddress, 7})
	}
	assert.Equal(t, ErrFull, err)
	s.take()
	assert.NoError(t, k.SendTo(make([]byte, 1400), Endpoint{theirAddress, 7}), "there is room again")
}

// TestFullSocket drops what comes next, and has what came first.
func TestFullSocket(t *testing.T) {
	s := newHost(t)
	k, err := s.Open(2000)
	require.NoError(t, err)
	came := 0
	for s.give(udpFrame(1000, 2000, string([]byte{byte(came)})+string(make([]byte, 999)))) == taken {
		came++
	}
	assert.Equal(t, 8192/1008, came)
	assert.Equal(t, uint64(1), s.counters.Dropped[UDPFull])
	var b [1000]byte
	for i := range came {
		n, _, ok, err := k.ReceiveFrom(b[:])
		require.True(t, ok)
		require.NoError(t, err)
		assert.Equal(t, 1000, n)
		assert.Equal(t, byte(i), b[0])
	}
}

// TestShortBuffer gets the beginning, and the next datagram next.
func TestShortBuffer(t *testing.T) {
	s := newHost(t)
	k, err := s.Open(2000)
	require.NoError(t, err)
	require.Equal(t, taken, s.give(udpFrame(1000, 2000, "a long one")))
	require.Equal(t, taken, s.give(udpFrame(1000, 2000, "next")))
	var b [4]byte
	n, _, ok, err := k.ReceiveFrom(b[:])
	assert.Equal(t, 4, n)
	assert.True(t, ok)
	assert.Equal(t, ErrTruncated, err)
	n, _, _, err = k.ReceiveFrom(b[:])
	require.NoError(t, err)
	assert.Equal(t, "next", string(b[:n]))
}

// TestSocketWithoutBuffer neither sends nor receives.
func TestSocketWithoutBuffer(t *testing.T) {
	s := &station{new(Stack), t, Second}
	require.NoError(t, s.Init(Config{Hardware: ourHardware, Random: rand.Uint32, Sockets: MakeSockets(1, 0)}))
	require.NoError(t, s.SetAddress(ourAddress, 24, Address{}, s.now))
	k, err := s.Open(2000)
	require.NoError(t, err)
	assert.Equal(t, ErrFull, k.SendTo(nil, Endpoint{theirAddress, 7}))
	assert.Equal(t, UDPFull, s.give(udpFrame(1, 2000, "")))
}

// TestBroadcastIsSent to all in Ethernet as well.
func TestBroadcastIsSent(t *testing.T) {
	s := newHost(t)
	k, err := s.Open(2000)
	require.NoError(t, err)
	for _, to := range []Address{Broadcast, {10, 0, 0, 255}} {
		require.NoError(t, k.SendTo([]byte("all"), Endpoint{to, 7}))
		assert.Equal(t, BroadcastHardware, getHardware(s.one()))
	}
}

// TestRing compares with a list, with random operations.
func TestRing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 7, 8, 9, 100, 4096} {
		r := ring{buf: make([]byte, size)}
		type datagram struct {
			data []byte
			e    Endpoint
		}
		var model []datagram
		used := 0
		for range 20_000 {
			if random.IntN(2) == 0 {
				d := datagram{make([]byte, random.IntN(size/2+2)), Endpoint{Address{1, 2, 3, byte(random.Uint32())}, uint16(random.Uint32())}}
				for i := range d.data {
					d.data[i] = byte(random.Uint32())
				}
				room := used+recordSize+len(d.data) <= size
				require.Equal(t, room, r.push(d.data, d.e))
				if room {
					model = append(model, d)
					used += recordSize + len(d.data)
				}
				continue
			}
			b := make([]byte, random.IntN(size+1))
			length, e, ok := r.pop(b)
			require.Equal(t, len(model) > 0, ok)
			if ok {
				require.Equal(t, len(model[0].data), length)
				require.Equal(t, model[0].e, e)
				n := min(length, len(b))
				require.True(t, bytes.Equal(model[0].data[:n], b[:n]))
				used -= recordSize + length
				model = model[1:]
			}
		}
	}
}
