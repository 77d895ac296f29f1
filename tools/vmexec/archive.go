package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// An archive is a newc cpio archive in the making: the machine's first file system,
// or the files that come back from it. Names are absolute paths.
type archive struct {
	buf  bytes.Buffer
	w    cpio.RecordWriter
	dirs map[string]bool // folders written so far: Linux drops a file whose folder is missing
}

func newArchive() *archive {
	a := &archive{dirs: map[string]bool{"/": true}}
	a.w = cpio.Newc.Writer(&a.buf)
	return a
}

// dir adds a folder and those above it, once.
func (a *archive) dir(path string) error {
	if a.dirs[path] {
		return nil
	}
	if err := a.dir(filepath.Dir(path)); err != nil {
		return err
	}
	a.dirs[path] = true
	return a.w.WriteRecord(cpio.Directory(path[1:], 0o755))
}

// file adds a file with its content.
func (a *archive) file(path string, perm fs.FileMode, content []byte) error {
	if err := a.dir(filepath.Dir(path)); err != nil {
		return err
	}
	r := cpio.StaticFile(path[1:], string(content), uint64(perm.Perm()))
	return a.w.WriteRecord(r)
}

// device adds a character device.
func (a *archive) device(path string, major, minor uint64) error {
	if err := a.dir(filepath.Dir(path)); err != nil {
		return err
	}
	return a.w.WriteRecord(cpio.CharDev(path[1:], 0o600, major, minor))
}

// tree adds the file or folder at path on this machine, under the same path. Symbolic
// links are followed to files; links to folders and special files are an error.
func (a *archive) tree(path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return a.dir(p)
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: want a file or a folder, found %s", p, info.Mode().Type())
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return a.file(p, info.Mode(), content)
	})
}

// bytes ends the archive and returns it.
func (a *archive) bytes() ([]byte, error) {
	err := cpio.WriteTrailer(a.w)
	return a.buf.Bytes(), err
}

// unpack writes the archive's files to this machine, each to its path, if that lies in
// one of the allowed files or folders; anything else in the archive is an error.
func unpack(content []byte, allowed []string) error {
	r := cpio.Newc.Reader(bytes.NewReader(content))
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("files from the machine: %w", err)
		}
		if err := unpackRecord(rec, allowed); err != nil {
			return err
		}
	}
}

func unpackRecord(rec cpio.Record, allowed []string) error {
	path := filepath.Join("/", rec.Name)
	switch rec.Mode & cpio.S_IFMT {
	case cpio.S_IFDIR:
		return nil // made when a file in it comes
	case cpio.S_IFREG:
	default:
		return fmt.Errorf("files from the machine: %s is no plain file", path)
	}
	if !slices.ContainsFunc(allowed, func(root string) bool { return within(path, root) }) {
		return fmt.Errorf("files from the machine: %s was not asked for", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data, err := io.ReadAll(io.NewSectionReader(rec, 0, int64(rec.FileSize)))
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, fs.FileMode(rec.Mode).Perm())
}

// within says whether path is root or lies below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
