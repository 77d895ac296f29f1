package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxFileSize is the largest file that Open and ReadFile read, in bytes.
const MaxFileSize = 256 << 20

// Open reads and checks the image in the file at path, as ReadFile does.
func Open(ctx context.Context, path string) (*Image, error) {
	data, err := ReadFile(ctx, path)
	if err != nil {
		return nil, err
	}
	img, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return img, nil
}

// ReadFile reads a file or a pipe, once, from its start to its end: at most MaxFileSize bytes,
// and no device. Errors name the file, quoted. If ctx ends before, the error is its cause, and
// a call that hangs, as on a pipe that nobody writes to, is abandoned with a goroutine.
func ReadFile(ctx context.Context, path string) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		data, err := readFile(path)
		read <- result{data, err}
	}()
	var r result
	select {
	case r = <-read:
	case <-ctx.Done():
		r.err = context.Cause(ctx)
	}
	if r.err != nil {
		return nil, fmt.Errorf("%q: %w", path, withoutPath(r.err))
	}
	return r.data, nil
}

// readFile looks what the file is before it opens it, which a device may answer by doing
// something, and how large it says that it is before it reads it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeDevice != 0:
		return nil, errors.New("a device: want a file or a pipe")
	case info.Size() > MaxFileSize && info.Mode().IsRegular():
		return nil, fmt.Errorf("a file of %d MiB: at most %d MiB are read", info.Size()>>20, MaxFileSize>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err == nil && len(data) > MaxFileSize {
		err = fmt.Errorf("more than %d MiB, which is the most that is read", MaxFileSize>>20)
	}
	return data, err
}

// withoutPath is what the operating system said of a file, whose name stands in front of it.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
