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
		n += 1 << (orders[i] &^ Signed)
		text += strings.Repeat("0", bits.Len64(n)-1-int(orders[i]&^Signed)) + strconv.FormatUint(n, 2)
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

// function is a function and its rows, which are bits in text.
func function(size, owner, file, rest, line uint64, rows ...string) string {
	body := strings.Join(rows, "")
	return numbers(Function, size, uint64(len(body)), owner, file, rest, line+1) + body
}

func kind(n uint64) string { return numbers("\x00", n) }

// small is the table of four functions: p.f of 6 bytes, with a line of another file inlined and a
// bounds check, p.(*T).g of 300 bytes, one of no package and file, and p.f again, which ends in RET.
var small = Program{
	Prefixes: "\x00\x01p\x03a/b",
	Names:    "\x02\x01." + "\x06\x02/f.go" + "\x03\x02/i" + "\x07\x01.(*T)." + "\x01\x00",
	Rests:    "\x01f\x01g\x01h",
	Functions: words(function(6, 0, 1, 0, 10,
		kind(2)+numbers(Row, 0, 0),                    // one byte, line 10, no frame
		kind(4)+numbers(Row, 1, 4, 2),                 // two bytes, line 8, of /i
		kind(3)+numbers(Row, 1, 2),                    // two bytes, line 7, of /f.go
		kind(5)+numbers(Row[:2]+Row[3:], 0, 7, 257)) + // one byte, line 11, a bounds check
		function(300, 5, 0, 1, 150, kind(0)+numbers(Row, 299, 0)) +
		function(1, 1, 5, 2, 0, kind(0)+numbers(Row, 0, 0)) +
		function(3, 8, 6, 0, 5, kind(0)+numbers(Row, 1, 0), kind(1))),
}

func TestFind(t *testing.T) {
	f, g, file, i := Name{"p", ".", "f"}, Name{"p", ".(*T).", "g"}, Name{"a/b", "", "/f.go"}, Name{"a/b", "", "/i"}
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
		{"a bounds check", 5, Place{f, file, 11, false, 257}, true},
		{"the next function", 6, Place{g, file, 150, false, 0}, true},
		{"its last instruction", 305, Place{g, file, 150, false, 0}, true},
		{"a function of no package", 306, Place{Function: Name{"", "", "h"}}, true},
		{"in front of RET", 308, Place{f, file, 5, false, 0}, true},
		{"RET", 309, Place{f, file, 5, true, 0}, true},
		{"behind the code", 310, Place{}, false},
		{"before the code", ^uint64(0), Place{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p Place
			assert.Equal(t, tt.found, small.Find(tt.offset, &p))
			assert.Equal(t, tt.want, p)
		})
	}
}

// Kinds has each kind once, and nothing that makes a row of no number.
func TestKinds(t *testing.T) {
	seen := map[byte]bool{}
	for _, kind := range []byte(strings.TrimRight(Kinds, Kinds[:1])) {
		assert.False(t, seen[kind], "%#x", kind)
		seen[kind] = true
	}
	assert.Len(t, Kinds, 16)
}

// Nothing is known of a program that mkimage did not make.
func TestHere(t *testing.T) { assert.False(t, Here(program.Text, new(Place))) }

// Whatever the table holds, the reader ends, and names are parts of the table.
func FuzzFind(f *testing.F) {
	var functions []byte
	for _, w := range small.Functions {
		functions = binary.LittleEndian.AppendUint64(functions, w)
	}
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
