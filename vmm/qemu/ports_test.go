package qemu

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/vmm"
)

// TestPortWhoseAnswersNobodyTakes: a guest that asks a lot, and ends without taking the answers, does not hold the machine.
func TestPortWhoseAnswersNobodyTakes(t *testing.T) {
	conn, theirs, err := newSocket("port")
	require.NoError(t, err)
	defer conn.Close()
	_, err = theirs.Write(make([]byte, 100<<10)) // more than is copied at once
	require.NoError(t, err)
	theirs.Close()
	input, output := io.Pipe() // what is sent is what is answered
	p := &namedPort{Port: vmm.Port{Name: "echo", Input: input, Output: output}, conn: conn, copied: make(chan struct{})}
	go p.copyIn(t.Logf)
	p.copyOut(func(string, ...any) {})
	output.Close()
}

// full is a port's end that takes two bytes of the guest's in all, and has two for it.
type full struct {
	taken, left string
	wake        func()
}

func (f *full) Offer(p []byte) int {
	n := min(len(p), 2-len(f.taken))
	f.taken += string(p[:n])
	return n
}

func (f *full) Fetch(p []byte) int {
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n
}

func (f *full) Ended() bool { return false }

func (f *full) Attach(wake func()) { f.wake = wake }

// TestOwnEndThatTakesNothing: what an end has no room for is lost when the guest has ended, and nobody waits for it. Until then it is waited for, and so is
// what comes for the guest.
func TestOwnEndThatTakesNothing(t *testing.T) {
	end := &full{left: "ab"}
	s := newEndStream(end)
	require.NotNil(t, end.wake)
	got := make([]byte, 10)
	n, err := s.Read(got)
	require.NoError(t, err)
	require.Equal(t, "ab", string(got[:n]))

	wrote := make(chan error)
	go func() {
		_, err := s.Write([]byte("0123"))
		wrote <- err
	}()
	read := make(chan error)
	go func() {
		_, err := s.Read(got)
		read <- err
	}()
	s.finish()
	require.ErrorIs(t, <-wrote, errNotTaken)
	s.close()
	require.ErrorIs(t, <-read, io.EOF)
	require.Equal(t, "01", end.taken)
	require.Nil(t, end.wake)
}
