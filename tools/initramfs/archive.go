// Package initramfs makes the first file system of a Linux that has one program to run, and does in that
// Linux what the program, its init, needs first.
package initramfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"
)

// An Archive is a newc cpio archive in the making: a machine's first file system,
// or files that come back from it. Names are absolute paths.
type Archive struct {
	buf  bytes.Buffer
	w    cpio.RecordWriter
	dirs map[string]bool // folders written so far: Linux drops a file whose folder is missing
}

// New returns an empty archive.
func New() *Archive {
	a := &Archive{dirs: map[string]bool{"/": true}}
	a.w = cpio.Newc.Writer(&a.buf)
	return a
}

// Dir adds a folder and those above it, once.
func (a *Archive) Dir(path string) error {
	if a.dirs[path] {
		return nil
	}
	if err := a.Dir(filepath.Dir(path)); err != nil {
		return err
	}
	a.dirs[path] = true
	return a.w.WriteRecord(cpio.Directory(path[1:], 0o755))
}

// File adds a file with its content.
func (a *Archive) File(path string, perm fs.FileMode, content []byte) error {
	if err := a.Dir(filepath.Dir(path)); err != nil {
		return err
	}
	r := cpio.StaticFile(path[1:], string(content), uint64(perm.Perm()))
	return a.w.WriteRecord(r)
}

// Device adds a character device.
func (a *Archive) Device(path string, major, minor uint64) error {
	if err := a.Dir(filepath.Dir(path)); err != nil {
		return err
	}
	return a.w.WriteRecord(cpio.CharDev(path[1:], 0o600, major, minor))
}

// Tree adds the file or folder at path on this machine, under the same path. Symbolic
// links are followed to files; links to folders and special files are an error.
func (a *Archive) Tree(path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return a.Dir(p)
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
		return a.File(p, info.Mode(), content)
	})
}

// Empty reports whether nothing was added.
func (a *Archive) Empty() bool { return a.buf.Len() == 0 }

// Bytes ends the archive and returns it.
func (a *Archive) Bytes() ([]byte, error) {
	err := cpio.WriteTrailer(a.w)
	return a.buf.Bytes(), err
}
