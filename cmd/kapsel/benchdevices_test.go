package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/ethernet"
)

// TestBenchNetworkAnswers: a frame comes back if it asks for that, others are lost, and Close ends who waits for one.
func TestBenchNetworkAnswers(t *testing.T) {
	a := newAnswers()
	lost, asks := make([]byte, 60), make([]byte, 1514)
	lost[etherTypeLow], asks[etherTypeLow], asks[1513] = 0xb5, forAnswer, 'x'
	require.NoError(t, a.WriteFrame(lost))
	require.NoError(t, a.WriteFrame(lost[:etherTypeLow]))
	require.NoError(t, a.WriteFrame(asks))
	want := append([]byte(nil), asks...)
	asks[1513] = 'y' // it is the caller's again
	var buffer [ethernet.MaxFrame]byte
	n, err := a.ReadFrame(buffer[:])
	require.NoError(t, err)
	assert.Equal(t, want, buffer[:n])

	ended := make(chan error)
	go func() {
		_, err := a.ReadFrame(buffer[:])
		ended <- err
	}()
	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	assert.ErrorIs(t, <-ended, io.EOF)
	require.NoError(t, a.WriteFrame(asks))
	require.NoError(t, a.WriteFrame(asks), "nobody reads any more")
}
