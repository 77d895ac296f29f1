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
