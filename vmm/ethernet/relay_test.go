package ethernet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRelay: another process's device, here a file, is at a network as a device of the monitor's is.
func TestRelay(t *testing.T) {
	network, far := Pair()
	peer := newDevice(t, far, nil)
	p := NewPort(macs[0], network, nil, t.Logf)
	b, file, err := SocketPair()
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.SetDeadline(time.Now().Add(patience)))
	done := make(chan error)
	go func() { done <- Relay(p, b) }()

	buffer := make([]byte, MaxFrame+1)
	for i := range 3 * QueueSize {
		want := frameOf(HeaderSize+i, i)
		_, err := file.Write(want)
		require.NoError(t, err)
		require.Equal(t, want, peer.next(t))
		require.NoError(t, peer.Send(want))
		n, err := file.Read(buffer)
		require.NoError(t, err)
		require.Equal(t, want, buffer[:n])
	}
	_, err = file.Write(make([]byte, MaxFrame+1))
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return p.Stats().SentBad == 1 }, patience, time.Millisecond, "the rules hold for it too")

	require.NoError(t, p.Close())
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Relay waits")
	}
}

// TestRelayEndsWithItsDevice: and with the other process's end gone, nothing hangs.
func TestRelayEndsWithItsDevice(t *testing.T) {
	network, far := Pair()
	newDevice(t, far, nil)
	p := NewPort(macs[0], network, nil, t.Logf)
	a, b := Pair()
	done := make(chan error)
	go func() { done <- Relay(p, a) }()
	require.NoError(t, b.Close())
	require.NoError(t, <-done)
	assert.Error(t, p.Send(frameOf(64, 1)))

	p = NewPort(macs[0], &scripted{reads: [][]byte{frameOf(64, 1)}}, nil, t.Logf)
	s, file, err := SocketPair()
	require.NoError(t, err)
	require.NoError(t, file.Close())
	go func() { done <- Relay(p, s) }()
	require.NoError(t, p.Close(), "which may be before the start")
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Relay waits")
	}
}

// TestRelayEndsAlthoughItsDeviceTakesNothing: a process that stands still with its socket full holds nobody.
func TestRelayEndsAlthoughItsDeviceTakesNothing(t *testing.T) {
	network, far := Pair()
	p := NewPort(macs[0], network, nil, t.Logf)
	s, file, err := SocketPair()
	require.NoError(t, err)
	defer file.Close()
	done := make(chan error)
	go func() { done <- Relay(p, s) }()
	// When the socket is full the port's queue and the pair's fill, and one frame is in the reader's hands.
	full := make(chan struct{})
	go func() {
		defer close(full)
		for far.WriteFrame(frameOf(MaxFrame, 1)) == nil {
		}
	}()
	assert.Eventually(t, func() bool { return p.in.full() }, patience, time.Millisecond)
	require.NoError(t, p.Close())
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Relay waits")
	}
	<-full
}

// full reports whether no frame more has room.
func (r *ring) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count == QueueSize
}
