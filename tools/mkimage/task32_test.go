package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func TestFlatTask(t *testing.T) {
	program := []byte("the program's first byte is where it is entered")
	path := filepath.Join(t.TempDir(), "small.bin")
	require.NoError(t, os.WriteFile(path, program, 0o644))
	out := t.TempDir()
	object, err := objectOf(nil, path, out, false)
	require.NoError(t, err)
	written, err := os.ReadFile(filepath.Join(out, "small.tbf"))
	require.NoError(t, err)
	assert.Equal(t, object, written)

	o, wrong := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(wrong))
	assert.Equal(t, "small", string(o.Name()))
	assert.False(t, o.Is64Bit())
	wrong = o.Runnable()
	assert.NoError(t, tbfbuild.Words(wrong))
	fixed, ok := o.FixedAddresses()
	require.True(t, ok)
	assert.Equal(t, tbf.FixedAddresses{RAM: 0x210000, Flash: 0x150080}, fixed)
	p, ok := o.Program()
	require.True(t, ok)
	assert.EqualValues(t, 0x8000, p.MinimumRAM)
	assert.EqualValues(t, 0x80, p.InitOffset, "the init function is the program's start")
	assert.Equal(t, program, object[0x80:][:len(program)])
	assert.Zero(t, len(object)%abi.PageSize)
}

func TestFlatTaskRefuses(t *testing.T) {
	_, err := objectOf(nil, filepath.Join(t.TempDir(), "absent.bin"), "", false)
	assert.ErrorIs(t, err, os.ErrNotExist)
	empty := filepath.Join(t.TempDir(), "empty.bin")
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	_, err = objectOf(nil, empty, t.TempDir(), false)
	assert.ErrorContains(t, err, strconv.Quote(empty)+" is empty, want a flat 32-bit program")
}

// The object must end where its RAM begins, with its credential.
func TestFlatTaskEndsBelowItsRAM(t *testing.T) {
	const fits = 0x21_0000 - 0x15_0080
	for _, tt := range []struct {
		name   string
		size   int
		digest bool
		want   string
	}{
		{"fits", fits, false, ""},
		{"a byte too much", fits + 1, false, " is 786305 bytes long: its object ends at 0x211000, want at most 0x210000, where its RAM begins"},
		{"no room for the digest", fits, true, " is 786304 bytes long: its object ends at 0x211000, want at most 0x210000, where its RAM begins"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "large.bin")
			require.NoError(t, os.WriteFile(path, make([]byte, tt.size), 0o644))
			_, err := objectOf(nil, path, t.TempDir(), tt.digest)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, strconv.Quote(path)+tt.want)
		})
	}
}

// With a digest the object is the same but for the credential.
func TestDigestOfAFlatTask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small.bin")
	require.NoError(t, os.WriteFile(path, []byte("a program"), 0o644))
	signed, err := objectOf(nil, path, t.TempDir(), true)
	require.NoError(t, err)
	plain, err := objectOf(nil, path, t.TempDir(), false)
	require.NoError(t, err)
	requireDigest(t, plain, signed)
}
