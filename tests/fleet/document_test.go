package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// document is a file that docs/kubernetes.md shows: the block whose first line has its name.
func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "kubernetes.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(b), " "+name+"\n")
	require.True(t, found, "docs/kubernetes.md has no block %s", name)
	text, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	return text
}
