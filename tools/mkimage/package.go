package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// A goPackage is a Go package as go list describes it.
type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool     // of the standard library
	DepOnly    bool     // not named, but imported
	GoFiles    []string // that the build tags let in, without tests
	Imports    []string
}

// name is what the outputs of the package are called.
func (p *goPackage) name() string { return filepath.Base(p.Dir) }

// paths are those of the files that the package is built from.
func (p *goPackage) paths() []string {
	var paths []string
	for _, file := range p.GoFiles {
		paths = append(paths, filepath.Join(p.Dir, file))
	}
	return paths
}

// mainPackage finds the main package that pkg names, with the build tags that it is built with,
// and checks what it imports against the place where it is to run. role says what it is for.
func (tc *toolchain) mainPackage(role, pkg, tags string, in *place) (*goPackage, error) {
	said, err := output(tc.command("list", "-deps", "-tags", tc.withTags(tags), "-json=ImportPath,Name,Dir,Standard,DepOnly,GoFiles,Imports", "--", pkg))
	if err != nil && isFolder(pkg) && !filepath.IsAbs(pkg) && !strings.HasPrefix(pkg, ".") {
		return nil, fmt.Errorf("%s %q is no package, but a folder: write %q", role, pkg, "./"+filepath.ToSlash(filepath.Clean(pkg)))
	}
	if err != nil && isFolder(pkg) && !tc.holds(pkg) {
		return nil, fmt.Errorf("%s %q is a folder outside of the repository, want one below %q", role, pkg, tc.module)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", role, pkg, err)
	}
	packages, err := decodePackages(said)
	if err != nil {
		return nil, fmt.Errorf("%s %q: go list: %w", role, pkg, err)
	}
	named := slices.DeleteFunc(slices.Clone(packages), func(p goPackage) bool { return p.DepOnly })
	switch {
	case len(named) != 1:
		return nil, fmt.Errorf("%s %q names %d packages, want one", role, pkg, len(named))
	case named[0].Name != "main":
		return nil, fmt.Errorf("%s %q is package %s, want a main package", role, pkg, named[0].Name)
	}
	return &named[0], in.checkImports(packages)
}

// holds reports whether a folder lies in the module's.
func (tc *toolchain) holds(folder string) bool {
	path, err := filepath.Abs(folder)
	if err != nil {
		return false
	}
	path, err = filepath.Rel(tc.module, path)
	return err == nil && filepath.IsLocal(path)
}

// decodePackages reads what go list says.
func decodePackages(said string) ([]goPackage, error) {
	var packages []goPackage
	for from := json.NewDecoder(strings.NewReader(said)); ; {
		var p goPackage
		switch err := from.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, p)
	}
}
