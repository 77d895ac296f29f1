package initramfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckStaticRefusesWhatIsNoProgram(t *testing.T) {
	assert.ErrorContains(t, CheckStatic("/nonexistent"), "want a Linux program")
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755))
	assert.ErrorContains(t, CheckStatic(text), "want a Linux program")
}

func TestCheckStaticRefusesSharedLibraries(t *testing.T) {
	const dynamic = "/bin/sh"
	if _, err := os.Stat(dynamic); err != nil {
		t.Skip(err)
	}
	assert.ErrorContains(t, CheckStatic(dynamic), "dynamically linked")
}

// TestAddSystem takes this program for init, and of the modules those that there are, in the order of
// loading.
func TestAddSystem(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	if err := CheckStatic(self); err != nil {
		t.Skip(err)
	}
	modules := t.TempDir()
	for _, name := range []string{"kvm-amd.ko", "kvm.ko", "other.ko"} {
		require.NoError(t, os.WriteFile(filepath.Join(modules, name), []byte(name), 0o644))
	}
	a := New()
	require.NoError(t, a.AddSystem(self, modules, []string{"ccp.ko", "kvm.ko", "kvm-amd.ko"}))
	assert.Equal(t, []string{"init", "dev", "dev/console", "tmp", "modules", "modules/kvm.ko", "modules/kvm-amd.ko", "modules/list"}, names(t, a))
}
