package format

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

type text struct{ strings.Builder }

func (t *text) WriteString(s string) { t.Builder.WriteString(s) }

func TestNumbers(t *testing.T) {
	for _, v := range []uint64{0, 1, 9, 10, 11, 99, 100, 255, 4096, 1 << 32, 999_999_999, 1<<63 - 1, ^uint64(0)} {
		var dec, hex, wide, right text
		Dec(&dec, v)
		Hex(&hex, v)
		HexWidth(&wide, v, 8)
		DecRight(&right, v, 12)
		assert.Equal(t, fmt.Sprintf("%d", v), dec.String())
		assert.Equal(t, fmt.Sprintf("%#x", v), hex.String())
		assert.Equal(t, fmt.Sprintf("%#08x", v)[:2]+fmt.Sprintf("%08x", v), wide.String())
		assert.Equal(t, fmt.Sprintf("%12d", v), right.String())
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{"plain text ~!", "plain text ~!"}, {"", ""}, {"a\x00\n\x7f\xffz", "a????z"},
	} {
		var out text
		Text(&out, []byte(c.got))
		assert.Equal(t, c.want, out.String())
	}
}

func TestLeft(t *testing.T) {
	for s, width := range map[string]int{"": 0, "ab": 5, "longer than it": 3, "x": 100} {
		var out text
		Left(&out, s, width)
		assert.Equal(t, fmt.Sprintf("%-*s", width, s), out.String())
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var out discard
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		Dec(&out, 123)
		HexWidth(&out, 0xabc, 16)
		Left(&out, "ab", 40)
		Text(&out, []byte("abc"))
	}))
}

type discard struct{}

func (*discard) WriteString(string) {}
