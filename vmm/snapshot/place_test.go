package snapshot

import (
	"io/fs"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlaceThatIsClosedMeanwhile: a command that a signal ends closes the place while it is saved to, and what it is to replace is whole, or the whole new one.
func TestPlaceThatIsClosedMeanwhile(t *testing.T) {
	onSampleHost(t)
	older, newer := sample(t, 64, 1), sample(t, 64, 2, 3)
	above := t.TempDir()
	dir := filepath.Join(above, "s")
	for i := range 80 {
		require.NoError(t, older.Save(dir))
		place, err := Prepare(dir)
		require.NoError(t, err)
		saved := make(chan error, 1)
		go func() { saved <- place.Save(newer) }()
		for len(saved) == 0 && made(place.aside) <= i%8 {
			runtime.Gosched()
		}
		require.NoError(t, place.Close())
		want := newer
		if err := <-saved; err != nil {
			require.ErrorContains(t, err, "it was given up")
			want = older
		}
		found, err := Load(dir)
		require.NoError(t, err)
		assertSame(t, want, found)
		found.Close()
		require.Len(t, entries(t, above), 1, "nothing is left beside")
	}
}

// made is how many files and directories there are in a directory, itself among them.
func made(dir string) (n int) {
	filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { // one that goes meanwhile is no matter
		n++
		return nil
	})
	return n
}

// TestPlaceWithoutName: what cannot be replaced is refused before a machine runs.
func TestPlaceWithoutName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{".", "./", "..", "../..", "/", ""} {
		_, err := Prepare(dir)
		require.ErrorContains(t, err, "want a path that ends with its name, as ../NAME", dir)
		checkWords(t, err)
	}
	require.Empty(t, entries(t, "."))
}
