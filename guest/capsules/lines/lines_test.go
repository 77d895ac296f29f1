package lines

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWrite(t *testing.T) {
	var l Line
	for _, tt := range []struct {
		numbers []uint32
		want    string
	}{
		{[]uint32{0}, "0\n"}, {[]uint32{9}, "9\n"}, {[]uint32{10}, "10\n"}, {[]uint32{440, 250}, "440 250\n"},
		{[]uint32{1<<32 - 1, 1<<32 - 1, 1000000000}, "4294967295 4294967295 1000000000\n"},
	} {
		l.Write(tt.numbers...)
		assert.Equal(t, tt.want, string(l.Bytes()))
		got := make([]uint32, len(tt.numbers))
		assert.True(t, l.Read(got))
		assert.Equal(t, tt.numbers, got)
	}
}

func TestRead(t *testing.T) {
	for _, text := range []string{
		"", "\n", " 1\n", "1 \n", "1", "1\r\n", "-1\n", "+1\n", "0x1\n", "1 2\n", "4294967296\n", "99999999999999999999999999999999999999\n", "1\n2\n",
	} {
		var l Line
		l.Fill([]byte(text))
		copy(l.text[l.n:], text[l.n:])
		l.n = len(text)
		assert.False(t, l.Read(make([]uint32, 1)), "%q", text)
	}
	var l Line
	n, whole := l.Fill([]byte("2 1"))
	assert.Equal(t, 3, n)
	assert.False(t, whole)
	n, whole = l.Fill([]byte("2 3300\nmore"))
	assert.Equal(t, 7, n, "what is behind the line stays")
	assert.True(t, whole)
	var got [3]uint32
	assert.True(t, l.Read(got[:]))
	assert.Equal(t, [3]uint32{2, 12, 3300}, got)
}

// FuzzLine: a line of any bytes, in pieces, is one that a writer of numbers would write, but for zeros in front, or none.
func FuzzLine(f *testing.F) {
	f.Add([]byte("12 3\n"), 2)
	f.Add([]byte("4294967296\n"), 1)
	f.Fuzz(func(t *testing.T, input []byte, piece int) {
		var l Line
		for len(input) > 0 {
			n, whole := l.Fill(input[:min(len(input), 1+piece&7)])
			if l.n > Size {
				t.Fatal("a line longer than Size")
			}
			if whole || n == 0 {
				break
			}
			input = input[n:]
		}
		text := string(l.Bytes())
		var v [2]uint32
		if l.Read(v[:]) {
			var a, b uint32
			if n, err := fmt.Sscanf(text, "%d %d\n", &a, &b); n != 2 || err != nil || a != v[0] || b != v[1] {
				t.Fatalf("%q is read as %v", text, v)
			}
		}
	})
}
