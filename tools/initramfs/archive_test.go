package initramfs

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/u-root/u-root/pkg/cpio"
)

// names ends the archive and lists what it has.
func names(t *testing.T, a *Archive) (names []string) {
	content, err := a.Bytes()
	require.NoError(t, err)
	r := cpio.Newc.Reader(bytes.NewReader(content))
	for {
		rec, err := r.ReadRecord()
		if err == io.EOF {
			return names
		}
		require.NoError(t, err)
		names = append(names, rec.Name)
	}
}

func TestArchiveWritesEachFolderOnceAndBeforeItsFiles(t *testing.T) {
	a := New()
	require.NoError(t, a.File("/a/b/one", 0o644, nil))
	require.NoError(t, a.File("/a/b/two", 0o644, nil))
	require.NoError(t, a.Device("/dev/console", 5, 1))
	assert.Equal(t, []string{"a", "a/b", "a/b/one", "a/b/two", "dev", "dev/console"}, names(t, a))
}

func TestArchiveRefusesSpecialFiles(t *testing.T) {
	assert.ErrorContains(t, New().Tree("/dev/null"), "/dev/null: want a file or a folder")
}
