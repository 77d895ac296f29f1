package main

import (
	"os"
	"path/filepath"
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
	assert.ErrorContains(t, err, empty+": ")
}
