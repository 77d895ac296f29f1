package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module     = "kapsel"
	capsules   = "guest/capsules"
	hilPackage = module + "/guest/kernel/hil"
	injectPkg  = module + "/guest/kernel/inject"
)

// A point is where a capsule can be made to fail.
type point struct {
	kind     string // entry, done or buffer
	capsule  string
	function string
	at       token.Position
}

// An edit puts text into a file.
type edit struct {
	offset int
	text   string
}

// An injector has the capsules of a module, and what is to be put into their files.
type injector struct {
	root     string
	fset     *token.FileSet
	imports  types.Importer
	points   []point
	edits    map[string][]edit // by file, relative to root
	added    map[string][]byte // further files
	sources  map[string][]byte
	packages []string
}

func newInjector(root string) (*injector, error) {
	in := &injector{root: root, fset: token.NewFileSet(), edits: map[string][]edit{}, added: map[string][]byte{}, sources: map[string][]byte{}}
	build.Default.BuildTags = []string{"kapsel_kernel"} // what the importer's own context has
	build.Default.CgoEnabled = false
	in.imports = importer.ForCompiler(in.fset, "source", nil)
	entries, err := os.ReadDir(filepath.Join(root, capsules))
	if err != nil {
		return nil, fmt.Errorf("this is not the root of module kapsel: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			in.packages = append(in.packages, e.Name())
		}
	}
	return in, nil
}

func (in *injector) injectAll() error {
	for _, name := range in.packages {
		if err := in.inject(name); err != nil {
			return fmt.Errorf("%s/%s: %w", capsules, name, err)
		}
	}
	return nil
}

// inject puts points into one capsule.
func (in *injector) inject(name string) error {
	dir := path.Join(capsules, name)
	parsed, err := in.parse(dir)
	if err != nil || len(parsed) == 0 {
		return err
	}
	info := types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Defs:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	config := types.Config{Importer: in.imports, Sizes: types.SizesFor("gc", "amd64")}
	if _, err := config.Check(module+"/"+dir, in.fset, parsed, &info); err != nil {
		return err
	}
	used := false
	for _, f := range parsed {
		w := walker{injector: in, info: &info, capsule: name}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				w.function(fn)
			}
		}
		if w.found {
			in.insert(f.Name.End(), fmt.Sprintf("; import %q", injectPkg))
			used = true
		}
	}
	if used {
		in.added[path.Join(dir, "injected.go")] = []byte(fmt.Sprintf(failing, parsed[0].Name.Name, injectPkg))
	}
	return nil
}

// parse reads the files of a package that are in the kernel's build.
func (in *injector) parse(dir string) ([]*ast.File, error) {
	context := build.Default
	context.GOOS, context.GOARCH = "linux", "amd64"
	context.BuildTags = []string{"kapsel", "kapsel_kernel"}
	entries, err := os.ReadDir(filepath.Join(in.root, dir))
	if err != nil {
		return nil, err
	}
	var parsed []*ast.File
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if match, err := context.MatchFile(filepath.Join(in.root, dir), e.Name()); err != nil || !match {
			if err != nil {
				return nil, err
			}
			continue
		}
		text, err := os.ReadFile(filepath.Join(in.root, name))
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(in.fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		in.sources[name] = text
		parsed = append(parsed, f)
	}
	return parsed, nil
}

// insert puts text at a place.
func (in *injector) insert(at token.Pos, text string) {
	p := in.fset.Position(at)
	in.edits[p.Filename] = append(in.edits[p.Filename], edit{p.Offset, text})
}

// texts are the files that change, and those that come in addition.
func (in *injector) texts() map[string][]byte {
	texts := map[string][]byte{}
	for name, text := range in.added {
		texts[name] = text
	}
	for name, edits := range in.edits {
		// Those at one place stay in the order in which they came.
		slices.SortStableFunc(edits, func(a, b edit) int { return a.offset - b.offset })
		source := in.sources[name]
		var text []byte
		from := 0
		for _, e := range edits {
			text = append(append(text, source[from:e.offset]...), e.text...)
			from = e.offset
		}
		texts[name] = append(text, source[from:]...)
	}
	return texts
}

// list is the text of the file points.
func (in *injector) list() string {
	var b strings.Builder
	for i, p := range in.points {
		fmt.Fprintf(&b, "%d %s %s %s %s:%d\n", i+1, p.kind, p.capsule, p.function, p.at.Filename, p.at.Line)
	}
	return b.String()
}

// failing is a file that each capsule gets: the instruction that fails is to be its own.
const failing = `package %s

import %q

// injected fails.
//
//go:noinline
func injected(k inject.Kind) {
	var numbers [4]uint32
	switch k {
	case inject.Panic:
		panic("injected")
	case inject.Index:
		numbers[k-1+inject.Kind(len(numbers))-1]++
	case inject.Nil:
		var p *[4]uint32
		p[2]++
	case inject.Divide:
		numbers[0] = 1 / numbers[k&1]
	case inject.Loop:
		for {
			numbers[k&3]++
		}
	}
}
`
