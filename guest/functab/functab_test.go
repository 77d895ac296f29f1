package functab

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// numbers are bits in text, of numbers of those orders.
func numbers(orders string, numbers ...uint64) (text string) {
	for i, n := range numbers {
		order := int(orders[i] & Order)
		n += 1 << order
		text += strings.Repeat("0", bits.Len64(n)-1-order) + strconv.FormatUint(n, 2)
	}
	return text
}

// words are bits in text as words, and the word of zeros.
func words(text string) (words []uint64) {
	for text += strings.Repeat("0", 64+63-(len(text)+63)%64); text != ""; text = text[64:] {
		word, _ := strconv.ParseUint(text[:64], 2, 64)
		words = append(words, word)
	}
	return words
}

// group is a group and its rows, which are bits in text.
func group(size, owner, file uint64, rows ...string) string {
	body := strings.Join(rows, "")
	return numbers(Group, size, uint64(len(body)), owner, file) + body
}

// oneRow is a row of a kind.
func oneRow(kind byte, ofKind ...uint64) string {
	text := numbers("\x00", uint64(strings.IndexByte(Kinds, kind)))
	for i, order := range []byte(Row) {
		if kind>>i&1 != 0 {
			text += numbers(string([]byte{order}), ofKind[0])
			ofKind = ofKind[1:]
		}
	}
	return text
}

// small is the table of six functions: p.f of 6 bytes, with a line of another file inlined and a
// bounds check, and p.h, which follows it in one group; p.(*T).g of 300 bytes, one of no package and file; p.f and p.g again, of which the
// first ends in RET.
var small = Program{
	Prefixes: "\x00\x01p\x03a/b",
	Names:    "\x02\x01." + "\x06\x02/f.go" + "\x03\x02/i" + "\x07\x01.(*T)." + "\x01\x00",
	Rests:    "\x01f\x01g\x01h",
	Functions: words(group(8, 0, 1,
		oneRow(NoFrame|HasRest|HasFar, 19, 0),                  // one byte, line 10, no frame
		oneRow(OtherFile|HasFile|HasFar|HasSize, 1, 15, 2),     // two bytes, line 8, of /i
		oneRow(OtherFile|HasLine|HasSize, 1, 6),                // two bytes, line 7, of /f.go
		oneRow(OtherFile|HasLine|HasSize|HasBounds, 0, 5, 257), // one byte, line 11 of /i, a bounds check
		oneRow(HasRest|HasFar|HasSize, 1, 1, 2)) +              // two bytes of p.h, line 12 of /f.go
		group(300, 5, 0, oneRow(NoFrame|HasRest|HasFar|HasSize, 299, 299, 1)) +
		group(1, 1, 5, oneRow(HasRest|HasFar|HasSize, 0, 0, 2)) +
		group(4, 8, 6, oneRow(HasRest|HasFar|HasSize, 1, 9, 0), oneRow(NoFrame), oneRow(NoFrame|HasRest|HasFar, 3, 1))),
}

func TestFind(t *testing.T) {
	f, g, h, file, i := Name{"p", ".", "f"}, Name{"p", ".(*T).", "g"}, Name{"p", ".", "h"}, Name{"a/b", "", "/f.go"}, Name{"a/b", "", "/i"}
	for _, tt := range []struct {
		name   string
		offset uint64
		want   Place
		found  bool
	}{
		{"the first instruction", 0, Place{f, file, 10, true, 0}, true},
		{"of another file", 1, Place{f, i, 8, false, 0}, true},
		{"the end of those", 2, Place{f, i, 8, false, 0}, true},
		{"back in the file", 3, Place{f, file, 7, false, 0}, true},
		{"the last of the row", 4, Place{f, file, 7, false, 0}, true},
		{"a bounds check", 5, Place{f, i, 11, false, 257}, true},
		{"the next function of the group", 6, Place{h, file, 12, false, 0}, true},
		{"its last byte", 7, Place{h, file, 12, false, 0}, true},
		{"the next group", 8, Place{g, file, 150, true, 0}, true},
		{"its last instruction", 307, Place{g, file, 150, true, 0}, true},
		{"a function of no package", 308, Place{Function: Name{"", "", "h"}}, true},
		{"in front of RET", 310, Place{f, file, 5, false, 0}, true},
		{"RET", 311, Place{f, file, 5, true, 0}, true},
		{"behind RET", 312, Place{Name{"p", ".", "g"}, file, 7, true, 0}, true},
		{"behind the code", 313, Place{}, false},
		{"before the code", ^uint64(0), Place{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p Place
			assert.Equal(t, tt.found, small.Find(tt.offset, &p))
			assert.Equal(t, tt.want, p)
		})
	}
}

// Kinds has each kind once. The last is what is read behind the end: rows end there.
func TestKinds(t *testing.T) {
	seen := map[byte]bool{}
	for _, kind := range []byte(Kinds) {
		assert.False(t, seen[kind], "%#x", kind)
		seen[kind] = true
	}
	assert.Len(t, Kinds, 16)
	assert.NotZero(t, Kinds[15]&HasSize)
}

// Nothing is known of a program that mkimage did not make.
func TestHere(t *testing.T) { assert.False(t, Here(program.Text, new(Place))) }

// wordBytes are the bytes of words.
func wordBytes(words []uint64) (b []byte) {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// loop is the table of a group of no size, whose length is in a code of more than 64 bits: a reader that takes that for a number goes back by as
// much as it has read, to the same group.
var loop = Program{Functions: words("100000000" + // the size
	strings.Repeat("0", 59) + "1111" + strings.Repeat("0", 64) + // the length: 15-256
	strings.Repeat("0", 50) + "1" + strings.Repeat("0", 52) + "1")}

func TestNumberLongerThanAWord(t *testing.T) { assert.False(t, loop.Find(0, new(Place))) }

// Whatever the table holds, the reader ends, and names are parts of the table.
func FuzzFind(f *testing.F) {
	functions := wordBytes(small.Functions)
	f.Add(wordBytes(loop.Functions), "", "", "", uint64(0))
	for n := range len(functions) + 1 {
		f.Add(functions[:n], small.Prefixes, small.Names, small.Rests, uint64(n))
	}
	f.Fuzz(func(t *testing.T, functions []byte, prefixes, names, rests string, offset uint64) {
		table := Program{Prefixes: prefixes, Names: names, Rests: rests, Functions: make([]uint64, len(functions)/8)}
		for i := range table.Functions {
			table.Functions[i] = binary.LittleEndian.Uint64(functions[8*i:])
		}
		var p Place
		table.Find(offset, &p)
		for _, n := range []Name{p.Function, p.File} {
			for _, part := range []string{n.Prefix, n.Type, n.Rest} {
				assert.Contains(t, fmt.Sprint(prefixes, names, rests), part)
			}
		}
	})
}
