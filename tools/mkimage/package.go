package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// A mainPackage is the Go package of a task or of the kernel, as go list describes it.
type mainPackage struct {
	Name    string
	Dir     string
	GoFiles []string // that the build tags let in, without tests
}

// name is what the outputs of the package are called.
func (p *mainPackage) name() string { return filepath.Base(p.Dir) }

// paths are those of the files that the package is built from.
func (p *mainPackage) paths() []string {
	var paths []string
	for _, file := range p.GoFiles {
		paths = append(paths, filepath.Join(p.Dir, file))
	}
	return paths
}

// mainPackage finds the main package that pkg names, with the build tags that it is built with.
// role says what it is for.
func (tc *toolchain) mainPackage(role, pkg, tags string) (*mainPackage, error) {
	said, err := output(tc.command("list", "-tags", tc.withTags(tags), "-json=Name,Dir,GoFiles", "--", pkg))
	if err != nil && isFolder(pkg) && !filepath.IsAbs(pkg) && !strings.HasPrefix(pkg, ".") {
		return nil, fmt.Errorf("%s %s is no package, but a folder: write ./%s", role, pkg, filepath.ToSlash(filepath.Clean(pkg)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", role, pkg, err)
	}
	packages := json.NewDecoder(strings.NewReader(said))
	p, n := new(mainPackage), 0
	for {
		var next mainPackage
		if err := packages.Decode(&next); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s %s: go list: %w", role, pkg, err)
		}
		*p = next
		n++
	}
	switch {
	case n != 1:
		return nil, fmt.Errorf("%s %s names %d packages, want one", role, pkg, n)
	case p.Name != "main":
		return nil, fmt.Errorf("%s %s is package %s, want a main package", role, pkg, p.Name)
	}
	return p, nil
}
