// Package tabtest makes Tock Application Bundles for tests.
package tabtest

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Member is a file of an archive.
type Member struct {
	Name    string
	Content string
	Header  tar.Header // what else its header says
}

// Metadata is the first file of an archive, as elf2tab writes it.
var Metadata = Member{Name: "metadata.toml", Content: "tab-version = 1\nname = \"blink\"\nbuild-date = 2026-11-29T12:00:00Z\n"}

// File is a plain file.
func File(name, content string) Member { return Member{Name: name, Content: content} }

// Archive makes a tar archive.
func Archive(t testing.TB, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		h.Name, h.Mode, h.Size = m.Name, 0o644, int64(len(m.Content))
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(m.Content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
