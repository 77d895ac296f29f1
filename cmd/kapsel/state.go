package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"kapsel/vmm/control"
)

// A file with a task's state is stateHeading, the state as the kernel hands it out, and the SHA-256 of both.
const stateHeading = "kapsel task state 1\n"

// saveTask writes a task's state to a file, which is there whole or not at all.
func saveTask(client *control.Client, name, path string) error {
	state, err := client.Save(name)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	b := append([]byte(stateHeading), state...)
	digest := sha256.Sum256(b)
	return renameio.WriteFile(path, append(b, digest[:]...), 0o600, renameio.WithTempDir(filepath.Dir(path))) // not in TMPDIR, where nobody would look for it
}

// restoreTask makes a task what it was by its state.
func restoreTask(client *control.Client, name string, state []byte, out io.Writer) error {
	pid, err := client.Restore(name, state)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	fmt.Fprintf(out, "PID %d: %q\n", pid, name)
	return nil
}

// readState reads the state of a task that saveTask wrote.
func readState(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state, err := parseState(b)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return state, nil
}

func parseState(b []byte) ([]byte, error) {
	state, found := bytes.CutPrefix(b, []byte(stateHeading))
	if !found {
		return nil, errors.New("not what kapsel save writes, or of another version of it")
	}
	end := len(state) - sha256.Size
	if end < 0 {
		return nil, fmt.Errorf("it is damaged: it ends behind %d bytes", len(b))
	}
	if digest := sha256.Sum256(b[:len(b)-sha256.Size]); !bytes.Equal(digest[:], state[end:]) {
		return nil, errors.New("it is damaged: its digest is not that of its contents")
	}
	return state[:end], nil
}
