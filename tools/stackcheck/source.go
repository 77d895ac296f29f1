package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

// sources are the type-checked packages of the module that a kernel is built of.
type sources struct {
	module   string // import path
	root     string
	fset     *token.FileSet
	info     *types.Info
	packages []*parsed

	context build.Context
	library types.Importer
	done    map[string]*types.Package // nil while a package is being checked
}

// A parsed package is one of the module.
type parsed struct {
	*types.Package
	files []*ast.File
}

// loadSources checks the package in the folder board of the module in root, and all that it imports.
func loadSources(root, board string) (*sources, error) {
	module, err := modulePath(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	s := &sources{
		module: module, root: root, fset: fset,
		info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{},
			Uses: map[*ast.Ident]types.Object{}, Implicits: map[ast.Node]types.Object{},
			Selections: map[*ast.SelectorExpr]*types.Selection{}, Instances: map[*ast.Ident]types.Instance{},
		},
		context: build.Default,
		library: importer.ForCompiler(fset, "source", nil),
		done:    map[string]*types.Package{},
	}
	s.context.GOOS, s.context.GOARCH, s.context.CgoEnabled = "linux", "amd64", false
	s.context.BuildTags = []string{"kapsel", "kapsel_kernel"} // as mkimage does
	_, err = s.Import(module + "/" + filepath.ToSlash(filepath.Clean(board)))
	return s, err
}

func modulePath(gomod string) (string, error) {
	f, err := os.Open(gomod)
	if err != nil {
		return "", fmt.Errorf("this is not the root of a module: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if path, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.Trim(strings.TrimSpace(path), `"`), nil
		}
	}
	return "", fmt.Errorf("%s has no module line", gomod)
}

// Import implements types.Importer.
func (s *sources) Import(path string) (*types.Package, error) {
	dir, own := strings.CutPrefix(path, s.module+"/")
	if !own {
		return s.library.Import(path)
	}
	if p, begun := s.done[path]; begun {
		if p == nil {
			return nil, fmt.Errorf("%s imports itself, perhaps by way of others", path)
		}
		return p, nil
	}
	s.done[path] = nil
	found, err := s.context.ImportDir(filepath.Join(s.root, dir), 0)
	if err != nil {
		return nil, err
	}
	p := &parsed{}
	for _, name := range found.GoFiles {
		// Positions carry the names that the image has: those of -trimpath.
		text, err := os.ReadFile(filepath.Join(s.root, dir, name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(s.fset, path+"/"+name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, file)
	}
	config := types.Config{Importer: s, Sizes: types.SizesFor("gc", "amd64")}
	if p.Package, err = config.Check(path, s.fset, p.files, s.info); err != nil {
		return nil, fmt.Errorf("it does not compile: %w", err)
	}
	s.done[path] = p.Package
	s.packages = append(s.packages, p)
	return p.Package, nil
}

// place is the file and line of a position.
func (s *sources) place(pos token.Pos) place {
	at := s.fset.PositionFor(pos, false)
	return place{at.Filename, at.Line}
}

// A place is a line of a source file, named as in the image.
type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }
