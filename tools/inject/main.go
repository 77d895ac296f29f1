// Command inject copies this module to a folder and puts points into the capsules there at which they can be made to fail:
//
//	inject -o DIR
//
// A point is where a capsule is entered (a method that others call, a function that it hands to the kernel), where it tells a client that
// an operation is done, and where it hands a buffer to another capsule. The copy's kernel, built with the tag kapsel_inject,
// fails as its command line says: inject=POINT:KIND:HIT (guest/kernel/inject). DIR/points has a line for each point:
//
//	number kind package function file:line
//
// and DIR/wiring one for each capsule of the board, with those that it uses behind its name.
//
// Lines of the sources stay where they are, so reports name the right ones.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kapsel/files"
)

func main() {
	out := flag.String("o", "", "the folder `DIR` for the copy; it is not there yet, or empty")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "inject: want -o DIR and nothing else")
		os.Exit(2)
	}
	if err := run(".", *out); err != nil {
		fmt.Fprintln(os.Stderr, "inject:", files.Words(err))
		os.Exit(1)
	}
}

// run copies the module whose root is given, and injects points into the copy.
func run(root, out string) error {
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%q is not empty: name a folder that is, or is not there", out)
	}
	in, err := newInjector(root)
	if err != nil {
		return err
	}
	if err := in.injectAll(); err != nil {
		return err
	}
	if err := copyModule(root, out); err != nil {
		return err
	}
	for name, text := range in.texts() {
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			return err
		}
	}
	wiring, err := wiring(root)
	return errors.Join(err, os.WriteFile(filepath.Join(out, "wiring"), []byte(wiring), 0o644),
		os.WriteFile(filepath.Join(out, "points"), []byte(in.list()), 0o644))
}

// copyModule copies what the kernel and mkimage are built of.
func copyModule(root, out string) error {
	for _, top := range []string{"go.mod", "go.sum", "files", "guest", "tools"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			to := filepath.Join(out, relative)
			if entry.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			if strings.HasSuffix(name, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(name)
			return errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
