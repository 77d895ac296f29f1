package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// file makes a file with a text at its start and so many bytes in all.
func file(t *testing.T, text string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Truncate(path, size))
	return path
}

func open(t *testing.T, path string, readOnly bool) *Image {
	t.Helper()
	d, err := Open(path, readOnly)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// allocated is how many bytes a file takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var s unix.Stat_t
	require.NoError(t, unix.Stat(path, &s))
	return s.Blocks * 512
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	link := filepath.Join(folder, "link")
	require.NoError(t, os.Symlink("nowhere", link))
	for _, tt := range []struct {
		name, path string
		readOnly   bool
		want       string
	}{
		{"no such file", filepath.Join(folder, "none"), false, "no such file or directory: truncate -s 64M FILE makes an empty one"},
		{"a link to nothing", link, false, "no such file or directory"},
		{"a directory", folder, false, "found a directory"},
		{"a directory to read", folder, true, "found a directory"},
		{"a pipe, which would wait", pipe, true, "found a file of another kind (p"},
		{"a character device", "/dev/null", false, "found a file of another kind (Dc"},
		{"a path through a file", file(t, "", 512) + "/x", false, "not a directory"},
		{"an empty file", file(t, "", 0), false, "it is empty: truncate -s 64M"},
		{"half a sector", file(t, "", 256), false, "its size, 256 bytes, is no multiple of 512"},
		{"a sector and a byte", file(t, "", 513), true, "truncate -s %512 FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.path, tt.readOnly)
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, `disk "`+tt.path+`"`)
		})
	}
}

func TestWordsOfWhatOnlyAnotherUserMeets(t *testing.T) {
	denied := &os.PathError{Op: "open", Path: "x", Err: unix.EACCES}
	assert.EqualError(t, explain(denied, false), "permission denied: the guest would write to it: give it with ,ro if it should not")
	assert.EqualError(t, explain(denied, true), "permission denied")
	assert.ErrorContains(t, explain(&os.PathError{Err: unix.EROFS}, false), "give it with ,ro")
	assert.ErrorContains(t, explain(&os.PathError{Err: unix.EBUSY}, false), "the host has it mounted")
}

func TestOneWriterOrManyReaders(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second bool // read-only
		want          string
	}{
		{"two writers", false, false, "in use by another program, as a machine that runs: only with ,ro"},
		{"a reader beside a writer", false, true, "in use by another program, as a machine that runs"},
		{"a writer beside a reader", true, false, "in use by another program"},
		{"two readers", true, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := file(t, "", 4096)
			first := open(t, path, tt.first)
			second, err := Open(path, tt.second)
			if tt.want == "" {
				require.NoError(t, err)
				require.NoError(t, second.Close())
			} else {
				require.ErrorContains(t, err, tt.want)
			}
			require.NoError(t, first.Close())
			open(t, path, tt.second) // the lock ended with the first
		})
	}
}

func TestReadAndWriteInPieces(t *testing.T) {
	path := file(t, "", 1<<20)
	d := open(t, path, false)
	assert.EqualValues(t, 1<<20, d.Size())
	assert.False(t, d.ReadOnly())
	require.NoError(t, d.Write([][]byte{[]byte("one"), {}, []byte(" two"), nil}, 512))
	got := make([]byte, 9)
	require.NoError(t, d.Read([][]byte{got[:0], got[:1], got[1:5], got[5:]}, 511))
	assert.Equal(t, "\x00one two\x00", string(got))
	require.NoError(t, d.Flush())
	require.NoError(t, d.Read(nil, 0))
}

func TestMorePiecesThanOneCallTakes(t *testing.T) {
	d := open(t, file(t, "", 1<<20), false)
	want := make([]byte, 3*maxPieces)
	var pieces [][]byte
	for i := range want {
		want[i] = byte(i * 7)
		pieces = append(pieces, want[i:i+1])
	}
	require.NoError(t, d.Write(pieces, 4096))
	got := make([]byte, len(want))
	require.NoError(t, d.Read([][]byte{got}, 4096))
	assert.True(t, bytes.Equal(want, got))
}

func TestErrorsOfTheHost(t *testing.T) {
	path := file(t, "", 8192)
	require.Error(t, open(t, path, true).Write([][]byte{[]byte("x")}, 0))
	path = file(t, "", 8192)
	d := open(t, path, false)
	require.NoError(t, os.Truncate(path, 4096))
	require.ErrorContains(t, d.Read([][]byte{make([]byte, 512)}, 4096), "unexpected EOF")
}

func TestSparseStaysSparse(t *testing.T) {
	path := file(t, "", 64<<20)
	d := open(t, path, false)
	assert.Zero(t, allocated(t, path), "opening took memory")
	require.NoError(t, d.Read([][]byte{make([]byte, 1<<20)}, 0))
	assert.Zero(t, allocated(t, path), "reading took memory")
	require.NoError(t, d.Write([][]byte{make([]byte, 4096)}, 32<<20))
	assert.LessOrEqual(t, allocated(t, path), int64(1<<20))
}

// A file system that can zero a range in one step, as ext4, and one that cannot, as tmpfs.
func TestDiscardAndZero(t *testing.T) {
	folders := []string{t.TempDir()}
	if shm, err := os.MkdirTemp("/dev/shm", "kapsel"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		folders = append(folders, shm)
	}
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) { discardAndZero(t, filepath.Join(folder, "image")) })
	}
}

func discardAndZero(t *testing.T, path string) {
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 8<<20))
	d := open(t, path, false)
	if !d.CanDiscard() {
		t.Skip("the file system of " + path + " takes nothing back")
	}
	ones := bytes.Repeat([]byte{1}, 4<<20)
	require.NoError(t, d.Write([][]byte{ones}, 0))
	require.NoError(t, d.Flush())
	full := allocated(t, path)
	require.GreaterOrEqual(t, full, int64(len(ones)))

	require.NoError(t, d.Zero(1<<20, 1<<20))
	require.NoError(t, d.Flush())
	assert.GreaterOrEqual(t, allocated(t, path), int64(len(ones)), "zeroes keep their memory")
	require.NoError(t, d.Discard(2<<20, 2<<20))
	assert.Less(t, allocated(t, path), full, "a discard gives memory back")
	assert.EqualValues(t, 8<<20, d.Size())

	got := make([]byte, 4<<20)
	require.NoError(t, d.Read([][]byte{got}, 0))
	clear(ones[1<<20:])
	assert.True(t, bytes.Equal(ones, got))
}

func TestReadOnlyOffersNoDiscard(t *testing.T) {
	assert.False(t, open(t, file(t, "", 4096), true).CanDiscard())
}

func TestExamineAndCreateTakeAnySize(t *testing.T) {
	path := file(t, "text", 5)
	d, err := Examine(path)
	require.NoError(t, err)
	assert.EqualValues(t, 5, d.Size())
	assert.True(t, d.ReadOnly())
	assert.True(t, d.Regular())
	_, err = Create(path)
	require.ErrorIs(t, err, ErrInUse)
	assert.EqualError(t, err, `disk "`+path+`": it is in use by another program, as a machine that runs`)
	require.NoError(t, d.Close())

	d, err = Create(path)
	require.NoError(t, err)
	assert.False(t, d.Created())
	_, err = Examine(path)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, d.Resize(8192))
	assert.EqualValues(t, 8192, d.Size())
	require.NoError(t, d.Close())

	path = filepath.Join(t.TempDir(), "new")
	_, err = Examine(path)
	require.EqualError(t, err, `disk "`+path+`": no such file or directory`)
	d, err = Create(path)
	require.NoError(t, err)
	defer d.Close()
	assert.True(t, d.Created())
	assert.Zero(t, d.Size())
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink("nowhere", link))
	_, err = Create(link)
	assert.EqualError(t, err, `disk "`+link+`": no such file or directory`)
	_, err = Create(filepath.Join(path, "x"))
	assert.ErrorContains(t, err, "not a directory")
	_, err = Create(filepath.Dir(path))
	assert.ErrorContains(t, err, "found a directory")
}

func TestNextData(t *testing.T) {
	d := open(t, file(t, "", 64<<20), false)
	from, to, err := d.NextData(0)
	require.NoError(t, err)
	assert.Equal(t, from, to, "nothing was written")
	require.NoError(t, d.Write([][]byte{{1}}, 32<<20))
	from, to, err = d.NextData(0)
	require.NoError(t, err)
	assert.LessOrEqual(t, from, uint64(32<<20))
	assert.Greater(t, to, uint64(32<<20))
	from, to, err = d.NextData(to)
	require.NoError(t, err)
	assert.Equal(t, from, to, "nothing behind it")
}
