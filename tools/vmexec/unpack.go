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
