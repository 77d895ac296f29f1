package softcrc

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// client counts what comes back.
type client struct {
	calls int
	data  []byte
	sum   uint32
	e     abi.ErrorCode
}

func (c *client) CRCDone(data []byte, sum uint32, e abi.ErrorCode) {
	c.calls++
	c.data, c.sum, c.e = data, sum, e
}

func newEngine(t testing.TB) (*CRC, *client) {
	m := kerneltest.New(t, capability.Mint())
	engine, c := new(CRC), new(client)
	engine.Init(&m.Kernel)
	engine.SetCRCClient(c)
	return engine, c
}

// TestVectors are Tock's (libtock-c, examples/tests/crc/test_cases.h), and the check values of the catalogues.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		algorithm hil.CRCAlgorithm
		want      uint32
		data      string
	}{
		{hil.CRC16CCITT, 0x1541, "ABCDEFG"}, {hil.CRC16CCITT, 0xb34b, "ABCD"}, {hil.CRC16CCITT, 0x1c2d, "0123456"},
		{hil.CRC16CCITT, 0xd5a8, "0123"}, {hil.CRC16CCITT, 0xec86, "0000000000000"}, {hil.CRC16CCITT, 0xb881, "01234567ABCDEFGHI"},
		{hil.CRC32, 0x0e6f94bc, "ABCDEFG"}, {hil.CRC32, 0xa6669d7d, "0123"}, {hil.CRC32, 0x44050cda, "A man, a plan, a canal, Panama"},
		{hil.CRC32C, 0x2c775665, "ABCDEFG"}, {hil.CRC32C, 0x063962b9, "0123"}, {hil.CRC32C, 0xb5ddeb44, "A man, a plan, a canal, Panama"},
		{hil.CRC32, 0xcbf43926, "123456789"}, {hil.CRC32C, 0xe3069283, "123456789"},
	} {
		engine, c := newEngine(t)
		for cut := 1; cut <= len(tt.data); cut++ { // in two pieces, or one
			sum := engine.EmptyCRC(tt.algorithm)
			for _, piece := range []string{tt.data[:cut], tt.data[cut:]} {
				if piece != "" {
					require.Equal(t, abi.OK, engine.AddToCRC(tt.algorithm, sum, []byte(piece)))
					engine.HandleDeferredCall()
					require.Equal(t, abi.OK, c.e)
					sum = c.sum
				}
			}
			assert.Equal(t, tt.want, sum, "algorithm %d of %q", tt.algorithm, tt.data)
		}
	}
}

// TestOrder: one piece at a time, told once and never from within the call; a call that nobody asked for does nothing.
func TestOrder(t *testing.T) {
	engine, c := newEngine(t)
	engine.HandleDeferredCall()
	assert.Zero(t, c.calls)
	data := []byte("data")
	assert.Equal(t, abi.OK, engine.AddToCRC(hil.CRC32, 0, data))
	assert.Equal(t, abi.BUSY, engine.AddToCRC(hil.CRC32, 0, data))
	assert.Zero(t, c.calls)
	engine.HandleDeferredCall()
	engine.HandleDeferredCall()
	assert.Equal(t, 1, c.calls)
	assert.Equal(t, data, c.data)
	for _, wrong := range [][]byte{nil, {}, make([]byte, MaxPiece+1)} {
		assert.Equal(t, abi.SIZE, engine.AddToCRC(hil.CRC32, 0, wrong))
	}
}

func BenchmarkCRC(b *testing.B) {
	data := make([]byte, 1024)
	for algorithm, name := range []string{"CRC-32", "CRC-32C by table", "CRC-16"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				add(hil.CRCAlgorithm(algorithm), 0, data)
			}
		})
	}
}
