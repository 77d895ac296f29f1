package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// A module is the source of a Go module. Its packages are those that the layers speak
// of: below roots.
type module struct {
	path     string   // import path, from go.mod
	tags     []string // further build tags of the kernel
	fset     *token.FileSet
	packages []*pkg // sorted by dir
}

// A pkg is a directory with source, no matter which build tags its files carry: nothing
// hides behind a tag. Tests are left out; they run on the host.
type pkg struct {
	dir   string // relative to the module's root
	layer *layer // nil if no layer claims it
	files []*file
	other []*source // what is neither Go nor a document: assembly, C, objects
}

// A source is a file: its path, relative to the module's root, and its contents.
type source struct {
	path   string
	text   []byte
	kernel bool // it belongs to the kernel's build
}

// A file is a parsed Go file.
type file struct {
	source
	syntax *ast.File
}

// roots are the directories in which packages are looked for.
var roots = []string{"bench", "cmd", "examples", "files", "guest", "sandbox", "tools", "vmm"}

// kernels are the further build tags of the kernels that there are: the one that ships, the one that is measured, and those
// whose capsules fail for tests.
var kernels = [][]string{nil, {"kapsel_benchmark"}, {"kapsel_faulty"}, {"kapsel_inject"}}

// load reads and parses the module as the build of a kernel with further tags sees it.
func load(root fs.FS, tags []string) (*module, error) {
	gomod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("this is not the root of a module: %w", err)
	}
	m := &module{path: modulePath(gomod), tags: tags, fset: token.NewFileSet()}
	if m.path == "" {
		return nil, errors.New("go.mod has no module line")
	}
	for _, dir := range roots {
		if err := m.loadTree(root, dir); err != nil {
			return nil, err
		}
	}
	sort.Slice(m.packages, func(i, j int) bool { return m.packages[i].dir < m.packages[j].dir })
	return m, nil
}

// modulePath finds the module line.
func modulePath(gomod []byte) string {
	for lines := bufio.NewScanner(bytes.NewReader(gomod)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "module" {
			return strings.Trim(fields[1], `"`)
		}
	}
	return ""
}

// loadTree loads every package in a directory and below it. Directories that the go
// command leaves out of ./... are left out; imports of such are breaches.
func (m *module) loadTree(root fs.FS, dir string) error {
	packages := map[string]*pkg{}
	err := fs.WalkDir(root, dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == dir:
			return fs.SkipDir
		case err != nil:
			return err
		case entry.IsDir():
			if base := entry.Name(); base == "testdata" || strings.HasPrefix(base, "_") || strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		}
		p := packages[path.Dir(name)]
		if p == nil {
			p = &pkg{dir: path.Dir(name), layer: layerOf(path.Dir(name))}
			packages[p.dir] = p
		}
		return m.loadFile(root, p, name)
	})
	for _, p := range packages {
		if len(p.files)+len(p.other) > 0 {
			m.packages = append(m.packages, p)
		}
	}
	return err
}

func (m *module) loadFile(root fs.FS, p *pkg, name string) error {
	if strings.HasSuffix(name, "_test.go") || path.Ext(name) == ".md" {
		return nil
	}
	if path.Base(name) == "go.mod" { // go.mod of the root can say that it is elsewhere
		return fmt.Errorf("%s: a module within the module: what is built may not be what is checked", name)
	}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	kernel, err := m.inKernelBuild(root, name)
	if err != nil {
		return err
	}
	s := source{path: name, text: text, kernel: kernel}
	if path.Ext(name) != ".go" {
		p.other = append(p.other, &s)
		return nil
	}
	syntax, err := parser.ParseFile(m.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.files = append(p.files, &file{source: s, syntax: syntax})
	return nil
}

// inKernelBuild reports whether mkimage compiles a file when it builds the kernel.
func (m *module) inKernelBuild(root fs.FS, name string) (bool, error) {
	context := build.Context{
		GOARCH:    "amd64",
		GOOS:      "linux",
		Compiler:  "gc",
		BuildTags: append([]string{"kapsel", "kapsel_kernel"}, m.tags...),
		OpenFile: func(name string) (io.ReadCloser, error) {
			return root.Open(name)
		},
		JoinPath: path.Join,
	}
	return context.MatchFile(path.Dir(name), path.Base(name))
}

// find returns the package with an import path, or nil.
func (m *module) find(importPath string) *pkg {
	dir, ok := strings.CutPrefix(importPath, m.path+"/")
	if !ok {
		return nil
	}
	for _, p := range m.packages {
		if p.dir == dir {
			return p
		}
	}
	return nil
}

// own reports whether an import path lies in the module.
func (m *module) own(importPath string) bool {
	return importPath == m.path || strings.HasPrefix(importPath, m.path+"/")
}
