package stream

import (
	"bytes"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConnect(t *testing.T) {
	for _, kind := range []byte{Upload, Download} {
		for _, size := range []uint64{0, 8, blockSize, blockSize + 8, 3 * blockSize} {
			ours, theirs := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- Serve(theirs) }()
			assert.NoError(t, Connect(ours, kind, size, 7), "%c %d", kind, size)
			assert.NoError(t, <-served, "%c %d", kind, size)
		}
	}
}

func TestWrongByteIsNamed(t *testing.T) {
	b := make([]byte, 64)
	Fill(b, 1, 128)
	require.NoError(t, Check(b, 1, 128))
	assert.Error(t, Check(b, 2, 128), "another stream")
	assert.Error(t, Check(b, 1, 136), "another place")
	b[9] ^= 1
	assert.ErrorContains(t, Check(b, 1, 128), "byte 137 is")
}

func TestUploadTellsOfAWrongByte(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() { _ = Serve(theirs) }()
	err := Connect(spoiled{ours}, Upload, blockSize, 7)
	assert.ErrorContains(t, err, `the other end found: "byte 5 is`)
}

// spoiled changes a byte of each block.
type spoiled struct{ net.Conn }

func (s spoiled) Write(b []byte) (int, error) {
	if len(b) == blockSize {
		b = bytes.Clone(b)
		b[5]++
	}
	return s.Conn.Write(b)
}
