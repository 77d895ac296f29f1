package abi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

// padded is a padding object of the environment's, as words and strings say.
func padded(version, size uint32, magic uint64, first, second uint32, strings string) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, version)
	b = le.AppendUint32(b, size)
	b = le.AppendUint64(b, 0) // flags and checksum, which the loader looks at
	b = le.AppendUint64(b, magic)
	b = le.AppendUint32(b, first)
	b = le.AppendUint32(b, second)
	return append(b, strings...)
}

func TestFindEnvironment(t *testing.T) {
	const version, magic = 2 | 16<<16, EnvironmentMagic
	long := string(make([]byte, EnvironmentMax+1))
	for _, tt := range []struct {
		name                   string
		objects                []byte
		arguments, environment string
		want                   bool
	}{
		{"both", padded(version, 38, magic, 4, 2, "a\x00b\x00c\x00"), "a\x00b\x00", "c\x00", true},
		{"other objects behind", append(padded(version, 36, magic, 2, 2, "a\x00c\x00"), "others"...), "a\x00", "c\x00", true},
		{"neither", padded(version, 32, magic, 0, 0, ""), "", "", true},
		{"no argument", padded(version, 34, magic, 0, 2, "c\x00"), "", "c\x00", true},
		{"as much as there can be", padded(version, 32+EnvironmentMax, magic, EnvironmentMax, 0, long[1:]), long[1:], "", true},
		{"a byte more", padded(version, 33+EnvironmentMax, magic, EnvironmentMax, 1, long), "", "", false},
		{"no objects", nil, "", "", false},
		{"half a header", padded(version, 32, magic, 0, 0, "")[:31], "", "", false},
		{"another version", padded(version+1, 32, magic, 0, 0, ""), "", "", false},
		{"a task, whose header is longer", padded(2|20<<16, 32, magic, 0, 0, ""), "", "", false},
		{"other padding", padded(version, 32, magic+1, 0, 0, ""), "", "", false},
		{"an object that ends behind the others", padded(version, 39, magic, 4, 2, "a\x00b\x00c\x00"), "", "", false},
		{"strings that end behind the object", padded(version, 37, magic, 4, 2, "a\x00b\x00c\x00"), "", "", false},
		{"lengths whose sum wraps", padded(version, 38, magic, 1<<31, 1<<31, "a\x00b\x00c\x00"), "", "", false},
		{"an argument without its end", padded(version, 36, magic, 1, 3, "abc\x00"), "", "", false},
		{"a variable without its end", padded(version, 36, magic, 2, 2, "a\x00bc"), "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arguments, environment, ok := FindEnvironment(tt.objects)
			assert.Equal(t, tt.want, ok)
			assert.Equal(t, tt.arguments, string(arguments))
			assert.Equal(t, tt.environment, string(environment))
		})
	}
}

// FuzzFindEnvironment: whatever the bytes are, what is found lies within them, in order, and is what a capsule relies on.
func FuzzFindEnvironment(f *testing.F) {
	f.Add(padded(2|16<<16, 38, EnvironmentMagic, 4, 2, "a\x00b\x00c\x00"))
	f.Add(padded(2|16<<16, 1<<31, EnvironmentMagic, 1<<31, 1<<31, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		arguments, environment, ok := FindEnvironment(b)
		if !ok {
			assert.Empty(t, arguments)
			assert.Empty(t, environment)
			return
		}
		both := append(bytes.Clone(arguments), environment...)
		assert.LessOrEqual(t, len(both), EnvironmentMax)
		assert.Equal(t, both, append([]byte{}, b[32:][:len(both)]...))
		for _, strings := range [][]byte{arguments, environment} {
			assert.True(t, len(strings) == 0 || strings[len(strings)-1] == 0)
		}
	})
}
