package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tools/initramfs"
)

// makeTree makes a folder with two files and a link in it.
func makeTree(t *testing.T) string {
	root := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "one"), []byte("first"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "sub", "two"), bytes.Repeat([]byte{0xa5}, 70001), 0o755))
	require.NoError(t, os.Symlink("one", filepath.Join(root, "link")))
	return root
}

func TestArchiveRoundTrip(t *testing.T) {
	root := makeTree(t)
	a := initramfs.New()
	require.NoError(t, a.Tree(root))
	content, err := a.Bytes()
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(root))

	require.NoError(t, unpack(content, []string{root}))

	for name, want := range map[string]string{"one": "first", "link": "first", "sub/two": string(bytes.Repeat([]byte{0xa5}, 70001))} {
		got, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(got), name)
	}
	info, err := os.Stat(filepath.Join(root, "sub/two"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode())
}

func TestUnpackRefuses(t *testing.T) {
	allowed := t.TempDir()
	for _, test := range []struct {
		name  string
		build func(a *initramfs.Archive) error
		want  string
	}{
		{"a path beside the allowed one", func(a *initramfs.Archive) error { return a.File(allowed+"x", 0o644, nil) }, "was not asked for"},
		{"a path that climbs out", func(a *initramfs.Archive) error { return a.File(allowed+"/../x", 0o644, nil) }, "was not asked for"},
		{"a device", func(a *initramfs.Archive) error { return a.Device(allowed+"/null", 1, 3) }, "no plain file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := initramfs.New()
			require.NoError(t, test.build(a))
			content, err := a.Bytes()
			require.NoError(t, err)
			assert.ErrorContains(t, unpack(content, []string{allowed}), test.want)
		})
	}
}
