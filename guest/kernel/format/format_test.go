package format

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

type text struct{ strings.Builder }

func (t *text) WriteString(s string) { t.Builder.WriteString(s) }
func (t *text) WriteChars(chars uint64, n int) {
	t.Builder.Write(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}

func TestNumbers(t *testing.T) {
	for _, v := range []uint64{0, 1, 9, 10, 11, 99, 100, 255, 4096, 1 << 32, 999_999_999, 1<<63 - 1, ^uint64(0)} {
		for _, c := range []struct{ verb, want string }{
			{"%d", fmt.Sprintf("%d", v)},
			{"%12d", fmt.Sprintf("%12d", v)},
			{"%x", fmt.Sprintf("%x", v)},
			{"%8x", fmt.Sprintf("%08x", v)},
			{"%16x", fmt.Sprintf("%016x", v)},
		} {
			var out text
			Print(&out, c.verb, v)
			assert.Equal(t, c.want, out.String(), c.verb)
		}
	}
}

func TestPrint(t *testing.T) {
	for _, c := range []struct {
		text   string
		values []uint64
		want   string
	}{
		{"", nil, ""},
		{"no verb\n", nil, "no verb\n"},
		{"%d in front", []uint64{7}, "7 in front"},
		{"at the end %x", []uint64{7}, "at the end 7"},
		{"fewer verbs: %d", []uint64{1, 2}, "fewer verbs: 1"},
		{"%d%3d, then %4x..%x.", []uint64{1, 2, 3, 4}, "1  2, then 0003..4."},
	} {
		var out text
		Print(&out, c.text, c.values...)
		assert.Equal(t, c.want, out.String())
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{"plain text ~!", "plain text ~!"}, {"", ""}, {"a\x00\n\x7f\xffz", "a????z"},
		{"eight of them", "eight of them"}, {"12345678", "12345678"}, {"123456789\n1234567", "123456789?1234567"},
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
		Print(&out, "%d and %16x", 123, 0xabc)
		Left(&out, "ab", 40)
		Text(&out, []byte("abc"))
	}))
}

type discard struct{}

func (*discard) WriteString(string)     {}
func (*discard) WriteChars(uint64, int) {}
