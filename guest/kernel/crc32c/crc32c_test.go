package crc32c_test

import (
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/crc32c"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// TestVectors are the examples of RFC 3720, B.4, and the check value of the catalogues.
func TestVectors(t *testing.T) {
	zeroes, ones, up, down := make([]byte, 32), make([]byte, 32), make([]byte, 32), make([]byte, 32)
	for i := range 32 {
		ones[i], up[i], down[i] = 0xff, byte(i), byte(31-i)
	}
	for _, c := range []struct {
		name string
		data []byte
		want uint32
	}{
		{"nothing", nil, 0},
		{"32 bytes of zeroes", zeroes, 0x8a9136aa},
		{"32 bytes of ones", ones, 0x62a8ab43},
		{"32 bytes, incrementing", up, 0x46dd794e},
		{"32 bytes, decrementing", down, 0x113fdb5c},
		{"the nine digits", []byte("123456789"), 0xe3069283},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, crc32c.Sum(c.data)) })
	}
}

func TestSumNeedsNoMemory(t *testing.T) {
	data := make([]byte, 4096)
	assert.Zero(t, testing.AllocsPerRun(10, func() { crc32c.Sum(data) }))
}

// FuzzSum compares with the standard library, in one piece and in two.
func FuzzSum(f *testing.F) {
	f.Add([]byte(nil), 0)
	f.Add([]byte("123456789"), 4)
	f.Add(make([]byte, 512), 512)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		want := crc32.Checksum(data, castagnoli)
		require.Equal(t, want, crc32c.Sum(data))
		if cut >= 0 && cut <= len(data) {
			require.Equal(t, want, crc32c.Add(crc32c.Sum(data[:cut]), data[cut:]))
		}
	})
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, 4096)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		crc32c.Sum(data)
	}
}
