package image

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFindBare: the kernel that comes with the command lies beside it, or in lib/kapsel beside its directory.
func TestFindBare(t *testing.T) {
	root := t.TempDir()
	bin, lib := filepath.Join(root, "bin"), filepath.Join(root, "lib", "kapsel")
	require.NoError(t, os.Mkdir(bin, 0o700))
	require.NoError(t, os.MkdirAll(lib, 0o700))
	_, err := FindBare(bin)
	assert.EqualError(t, err, fmt.Sprintf("a task and no image: want the kernel that comes with the command, %q or %q, and found neither: "+
		"scripts/build makes build/bare.elf; or name an image in front of the task", bin+"/bare.elf", lib+"/bare.elf"))
	for _, path := range []string{lib + "/bare.elf", bin + "/bare.elf"} { // the second comes first
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		found, err := FindBare(bin)
		require.NoError(t, err)
		assert.Equal(t, path, found)
	}
}
