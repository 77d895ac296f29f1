package checksum_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/net/checksum"
)

func TestChecksum(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want uint16
	}{
		{"nothing", nil, 0xffff},
		{"the example of RFC 1071, 3", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{"an odd byte", []byte{0x12}, ^uint16(0x1200)},
		{"carries", []byte{0xff, 0xff, 0xff, 0xff, 0x00, 0x01}, ^uint16(0x0001)},
		{"a header with its checksum", []byte{0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, checksum.Finish(checksum.Add(0, tt.data)))
		})
	}
}

// FuzzAdd compares with the sum by 16-bit words, in one piece and in two.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5}, 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		want := uint32(0)
		for i, v := range b {
			want += uint32(v) << (8 * uint(1-i%2))
			want = want&0xffff + want>>16
		}
		got := checksum.Add(0, b)
		assert.Equal(t, checksum.Finish(want), checksum.Finish(got))
		if cut >= 0 && cut%2 == 0 && cut <= len(b) {
			assert.Equal(t, got, checksum.Add(checksum.Add(0, b[:cut]), b[cut:]))
		}
	})
}

func TestPseudo(t *testing.T) {
	want := checksum.Add(0, []byte{10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0x01, 0x02})
	assert.Equal(t, want, checksum.Pseudo([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}, 6, 0x102))
}
