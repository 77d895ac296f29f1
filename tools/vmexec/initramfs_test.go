package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckStaticRefusesWhatIsNoProgram(t *testing.T) {
	assert.ErrorContains(t, checkStatic("/nonexistent"), "want a Linux program")
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755))
	assert.ErrorContains(t, checkStatic(text), "want a Linux program")
}

func TestCheckStaticRefusesSharedLibraries(t *testing.T) {
	const dynamic = "/bin/sh"
	if _, err := os.Stat(dynamic); err != nil {
		t.Skip(err)
	}
	assert.ErrorContains(t, checkStatic(dynamic), "dynamically linked")
}

func TestRigModules(t *testing.T) {
	rig := t.TempDir()
	_, err := rigModules(rig)
	assert.ErrorContains(t, err, "scripts/rig fetches one")

	for _, name := range []string{"vmlinuz", "kvm-amd.ko", "kvm.ko", "irqbypass.ko", "virtio.ko"} {
		require.NoError(t, os.WriteFile(filepath.Join(rig, name), nil, 0o644))
	}
	modules, err := rigModules(rig)
	require.NoError(t, err)
	assert.Equal(t, []string{"irqbypass.ko", "kvm.ko", "kvm-amd.ko"}, modules)
}
