package functab

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// small is the table of three functions: p.f of 6 bytes, with a line of another file inlined and a
// bounds check, p.g of 300 bytes, and h, of no package and file.
const small = "\x07\x00\x01p\x03a/b" +
	"\x0d\x02\x05/f.go\x02\x02/i\x00\x00" +
	"\x06\x10\x01\x02.f" + "\x0c\x14" + "\x11\x03\x01" + "\x11\x01\x00" + "\x0a\x08\x81\x02" +
	"\xac\x02\x08\x01\x02.g\xe0\x12\xac\x02" +
	"\x01\x06\x00\x01h\x09\x00\x02"

func TestFind(t *testing.T) {
	f, file := Name{"p", ".f"}, Name{"a/b", "/f.go"}
	for _, tt := range []struct {
		name   string
		offset uint64
		want   Place
		found  bool
	}{
		{"the first instruction", 0, Place{f, file, 10, true, 0}, true},
		{"of another file", 1, Place{f, Name{"a/b", "/i"}, 8, false, 0}, true},
		{"the end of those", 2, Place{f, Name{"a/b", "/i"}, 8, false, 0}, true},
		{"back in the file", 3, Place{f, file, 7, false, 0}, true},
		{"the last of the row", 4, Place{f, file, 7, false, 0}, true},
		{"a bounds check", 5, Place{f, file, 11, false, 257}, true},
		{"the next function", 6, Place{Name{"p", ".g"}, file, 150, false, 0}, true},
		{"its last instruction", 305, Place{Name{"p", ".g"}, file, 150, false, 0}, true},
		{"a function of no package", 306, Place{Function: Name{"", "h"}}, true},
		{"behind the code", 307, Place{}, false},
		{"before the code", ^uint64(0), Place{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p Place
			assert.Equal(t, tt.found, Find(small, tt.offset, &p))
			assert.Equal(t, tt.want, p)
		})
	}
}

// Nothing is known of a program that mkimage did not make.
func TestHere(t *testing.T) { assert.False(t, Here(program.Text, new(Place))) }

// Whatever the table holds, the reader ends, and names are parts of the table.
func FuzzFind(f *testing.F) {
	for n := range len(small) + 1 {
		f.Add(small[:n], uint64(n))
	}
	f.Fuzz(func(t *testing.T, table string, offset uint64) {
		var p Place
		Find(table, offset, &p)
		for _, n := range []Name{p.Function, p.File} {
			assert.LessOrEqual(t, len(n.Prefix)+len(n.Rest), 2*len(table))
		}
	})
}
