package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDamagedStateFile: whatever byte is another one, and wherever the file is cut, it is refused with a line, before anything is asked.
func TestDamagedStateFile(t *testing.T) {
	whole := append([]byte(stateHeading), "the state of a task"...)
	digest := sha256.Sum256(whole)
	whole = append(whole, digest[:]...)
	state, err := parseState(whole)
	require.NoError(t, err)
	assert.Equal(t, "the state of a task", string(state))
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		_, err := parseState(damaged)
		assert.Error(t, err, "byte %d", at)
		_, err = parseState(whole[:at])
		assert.Error(t, err, "cut off at %d", at)
	}
	path := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-1], 0o600))
	var out, said bytes.Buffer
	assert.Equal(t, statusUsage, command([]string{"restore", "--control", "/nowhere/socket", "task", path}, stdio{out: &out, err: &said}))
	assert.Contains(t, said.String(), "it is damaged: its digest is not that of its contents")
	assert.Equal(t, 1, bytes.Count(said.Bytes(), []byte("\n")))
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	said.Reset()
	assert.Equal(t, statusFailed, command([]string{"restore", "--control", "/nowhere/socket", "task", path}, stdio{out: &out, err: &said}))
}
