package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	flat := Flat(code, 0)
	path := filepath.Join(t.TempDir(), "flat.elf")
	require.NoError(t, os.WriteFile(path, flat, 0o600))
	img, err := Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, flat, img.File())
}

// TestOpenQuotes: whatever a file is called and holds, the error is one line, which names it.
func TestOpenQuotes(t *testing.T) {
	dir := t.TempDir()
	content := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	large := content("large", nil)
	require.NoError(t, os.Truncate(large, MaxFileSize+1<<20))
	for _, test := range []struct{ name, path, want string }{
		{"text", content("a file", []byte("text")), "not an ELF file: mkimage makes Kapsel images; a task goes behind the image"},
		{"a name with an end of line and an escape", content("a\nb\x1b[2J", []byte("text")), "not an ELF file: mkimage makes Kapsel images; a task goes behind the image"},
		{"empty", content("empty", nil), "the file is empty: mkimage makes Kapsel images; a task goes behind the image"},
		{"too large", large, "a file of 257 MiB: at most 256 MiB are read"},
		{"missing", dir + "/not\nhere", "no such file or directory"},
		{"a folder", dir, "is a directory"},
		{"/dev/zero, which has no end", "/dev/zero", "a device: want a file or a pipe"},
		{"/dev/null", "/dev/null", "a device: want a file or a pipe"},
		{"a name that is none", "a\x00b", "invalid argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(t.Context(), test.path)
			assert.EqualError(t, err, strconv.Quote(test.path)+": "+test.want)
		})
	}
	_, err := Open(t.Context(), dir+"/missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// fifo makes a named pipe.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return path
}

// TestReadFileFromAPipe: once, and to its end, in whatever pieces it comes.
func TestReadFileFromAPipe(t *testing.T) {
	path := fifo(t)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if assert.NoError(t, err) {
			io.WriteString(f, "one ")
			io.WriteString(f, "two")
			f.Close()
		}
	}()
	data, err := ReadFile(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, "one two", string(data))
}

// TestReadFileEndsWithItsContext: neither a pipe that nobody opens nor one that nobody closes
// holds it.
func TestReadFileEndsWithItsContext(t *testing.T) {
	cause := errors.New("told to end")
	for _, writer := range []bool{false, true} {
		path := fifo(t)
		if writer {
			f, err := os.OpenFile(path, os.O_RDWR, 0) // without a reader O_WRONLY would wait
			require.NoError(t, err)
			defer f.Close()
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(cause)
		_, err := ReadFile(ctx, path)
		assert.ErrorIs(t, err, cause)
		assert.True(t, strings.HasPrefix(err.Error(), strconv.Quote(path)+": "))
		if !writer { // lets the reader that was abandoned go
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			f.Close()
		}
	}
}
