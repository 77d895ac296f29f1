package crc_test

import (
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/crc"
)

// TestVectors are the check value of the catalogues, and Tock's (libtock-c, examples/tests/crc/test_cases.h).
func TestVectors(t *testing.T) {
	assert.EqualValues(t, 0xcbf43926, crc.AddEthernet(0, []byte("123456789")))
	for data, want := range map[string]uint32{
		"": 0xffff, "ABCDEFG": 0x1541, "ABCD": 0xb34b, "0123456": 0x1c2d, "0123": 0xd5a8, "01234567": 0xc21f, "012345678": 0x35b3,
		"01234567A": 0x57c4, "01234567ABCDE": 0xe06e, "0000000000000": 0xec86, "00000000000000": 0x7b2e, "01234567ABCDEF": 0xdfca,
		"01234567ABCDEFG": 0x2dfe, "01234567ABCDEFGH": 0x39bc, "01234567ABCDEFGHI": 0xb881,
	} {
		for cut := range len(data) + 1 {
			sum := crc.AddCCITT(crc.AddCCITT(crc.EmptyCCITT, []byte(data[:cut])), []byte(data[cut:]))
			assert.Equal(t, want, sum, "%q in two pieces, the first of %d bytes", data, cut)
		}
	}
}

// FuzzEthernet compares with the standard library, in one piece and in two.
func FuzzEthernet(f *testing.F) {
	f.Add([]byte("123456789"), 4)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		want := crc32.ChecksumIEEE(data)
		require.Equal(t, want, crc.AddEthernet(0, data))
		if cut >= 0 && cut <= len(data) {
			require.Equal(t, want, crc.AddEthernet(crc.AddEthernet(0, data[:cut]), data[cut:]))
		}
	})
}
