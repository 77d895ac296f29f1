package crc32c_test

import (
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"kapsel/guest/kernel/crc32c"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// eachWay runs a test with the table and, where the processor has it, with the instruction.
func eachWay(t *testing.T, test func(t *testing.T)) {
	t.Run("by the table", test)
	t.Run("by the instruction", func(t *testing.T) {
		if !cpu.X86.HasSSE42 {
			t.Skip("the processor has no CRC32 instruction")
		}
		crc32c.SetAccelerated(true)
		defer crc32c.SetAccelerated(false)
		test(t)
	})
}

// TestVectors are the examples of RFC 3720, B.4, and the check value of the catalogues.
func TestVectors(t *testing.T) { eachWay(t, testVectors) }

func testVectors(t *testing.T) {
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

// TestEveryLength, from every address within a word.
func TestEveryLength(t *testing.T) {
	data := make([]byte, 100)
	for i := range data {
		data[i] = byte(7*i + 1)
	}
	eachWay(t, func(t *testing.T) {
		for from := range 8 {
			for to := from; to <= len(data); to++ {
				require.Equal(t, crc32.Checksum(data[from:to], castagnoli), crc32c.Sum(data[from:to]), "%d to %d", from, to)
			}
		}
	})
}

// FuzzSum compares with the standard library, in one piece and in two, by the table and by the instruction.
func FuzzSum(f *testing.F) {
	f.Add([]byte(nil), 0)
	f.Add([]byte("123456789"), 4)
	f.Add(make([]byte, 512), 512)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		want := crc32.Checksum(data, castagnoli)
		eachWay(t, func(t *testing.T) {
			require.Equal(t, want, crc32c.Sum(data))
			if cut >= 0 && cut <= len(data) {
				require.Equal(t, want, crc32c.Add(crc32c.Sum(data[:cut]), data[cut:]))
			}
		})
	})
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, 4096)
	for _, way := range []struct {
		name        string
		accelerated bool
	}{{"table", false}, {"instruction", cpu.X86.HasSSE42}} {
		b.Run(way.name, func(b *testing.B) {
			crc32c.SetAccelerated(way.accelerated)
			defer crc32c.SetAccelerated(false)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				crc32c.Sum(data)
			}
		})
	}
}
