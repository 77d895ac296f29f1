package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// By its other name the command is what "kapsel oci" is.
func TestOCIName(t *testing.T) {
	for _, name := range []string{"kapsel-oci", "/usr/bin/kapsel-oci"} {
		cmd, stdout, _ := kapsel(t, "--version")
		cmd.Args[0] = name
		require.NoError(t, cmd.Run())
		assert.Contains(t, stdout.String(), "\nspec: 1.")
	}
	cmd, stdout, _ := kapsel(t, "oci", "--help")
	require.NoError(t, cmd.Run())
	assert.Contains(t, stdout.String(), "verbs of oci")

	cmd, _, stderr := kapsel(t, "oci", "--root", t.TempDir(), "state", "a")
	assert.Error(t, cmd.Run())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Equal(t, "kapsel: container \"a\" does not exist\n", stderr.String())
}
