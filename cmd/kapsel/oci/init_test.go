package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTryFilesLeavesNothing: a user that looks at the process, which it may as soon as that is dumpable again, finds no thread of its own among those that share the memory.
func TestTryFilesLeavesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("to become another user it needs root")
	}
	b := &birth{}
	b.Settings.User.UID, b.Settings.User.GID = 70000, 70000
	b.Settings.Capabilities.Bounding = ^uint64(0)
	found := 0
	for range 200 {
		require.NoError(t, b.tryFiles())
		all, err := filepath.Glob("/proc/self/task/*/status")
		require.NoError(t, err)
		for _, path := range all {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "\nUid:\t70000") {
				found++
			}
		}
	}
	assert.Zero(t, found)
}
