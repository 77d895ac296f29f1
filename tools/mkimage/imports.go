package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A place is where a program runs, and what it may import there. Whatever else of the standard
// library a program imports stands on Go's own runtime sooner or later; without this check the
// build would fail within that library, in words about its lines.
type place struct {
	name    string   // as a message calls it
	library []string // packages of the standard library that can be imported (docs/HACKING.md)
	instead []advice // for those that cannot, the first that fits
	foreign []advice // packages that are for another place
}

// advice is what to say of an import: of the package or, with a slash at the end, of those below.
type advice struct{ path, text string }

var inTask = &place{
	name: "a task",
	library: []string{"cmp", "container/list", "container/ring", "crypto/subtle", "encoding", "image/color", "image/color/palette",
		"math", "math/bits", "math/cmplx", "structs", "unicode/utf16", "unicode/utf8", "unsafe"},
	instead: []advice{
		{"errors", "return an abi.ErrorCode, or a type of your own with a method Error"},
		{"fmt", "print with task.Print, numbers by task.Decimal and task.Hex"},
		{"log", "print with task.Print, numbers by task.Decimal and task.Hex"},
		{"os", "end with task.Exit, print with task.Print"},
		{"runtime", "a task has no collector and no goroutines to control"},
		{"strconv", "write numbers by task.Decimal and task.Hex"},
		{"sync", "a task is one thread, which nothing interrupts: plain variables do"},
		{"sync/", "a task is one thread, which nothing interrupts: plain variables do"},
		{"syscall", "call the kernel with task.Command, task.Memop and their kin"},
		{"time", "wait with task.Sleep, read the clock with task.Ticks"},
	},
	foreign: []advice{
		{"kapsel/guest/arch/", ring0}, {"kapsel/guest/board/", ring0}, {"kapsel/guest/capsules/", ring0}, {"kapsel/guest/mmio", ring0},
	},
}

const ring0 = "it is part of the kernel: call the kernel with package kapsel/guest/task"

var inKernel = &place{
	name:    "ring 0",
	library: []string{"cmp", "math/bits", "structs", "unicode/utf8", "unsafe"},
	instead: []advice{
		{"errors", "return an abi.ErrorCode"},
		{"fmt", "write with package kapsel/guest/kernel/format"},
		{"log", "write with package kapsel/guest/kernel/format"},
		{"math", "floating point belongs to the task that runs"},
		{"strconv", "write numbers with package kapsel/guest/kernel/format"},
		{"sync", "the kernel is one thread, which nothing interrupts: plain variables do"},
		{"sync/", "the kernel is one thread, which nothing interrupts: plain variables do"},
		{"time", "use an alarm of package kapsel/guest/kernel/hil"},
	},
	foreign: []advice{{"kapsel/guest/task", "it is the tasks' own"}, {"kapsel/guest/tasks/", "it is the tasks' own"}},
}

// find returns what a list says of an import, "" if nothing.
func find(list []advice, path string) string {
	for _, a := range list {
		if a.path == path || strings.HasSuffix(a.path, "/") && strings.HasPrefix(path, a.path) {
			return a.text
		}
	}
	return ""
}

// objection says why an import has no place here, "" if it has one.
func (p *place) objection(path string, standard bool) string {
	switch {
	case !standard:
		return find(p.foreign, path)
	case slices.Contains(p.library, path):
		return ""
	}
	why := "it needs Go's own runtime"
	if instead := find(p.instead, path); instead != "" {
		why += "; " + instead
	}
	return why + " (docs/HACKING.md lists what can be imported)"
}

// checkImports refuses imports that have no place where a program runs: of its packages, which
// go list names behind those that they import, the program's own last. Those of the standard
// library are not looked into.
func (p *place) checkImports(packages []goPackage) error {
	standard := map[string]bool{}
	importer := map[string]string{} // of a package, the one that led to it
	for _, pkg := range slices.Backward(packages) {
		standard[pkg.ImportPath] = pkg.Standard
		for _, path := range pkg.Imports {
			if importer[path] == "" {
				importer[path] = pkg.ImportPath
			}
		}
	}
	var objections []error
	for _, pkg := range packages {
		if pkg.Standard {
			continue
		}
		for _, i := range pkg.fileImports() {
			if why := p.objection(i.path, standard[i.path]); why != "" {
				objections = append(objections, fmt.Errorf("%s: import %q cannot be used in %s%s: %s",
					i.position, i.path, p.name, chain(importer, pkg.ImportPath), why))
			}
		}
	}
	return errors.Join(objections...)
}

// chain tells how a program comes to a package, "" of its own.
func chain(importer map[string]string, path string) string {
	var links []string
	for from := importer[path]; from != ""; path, from = from, importer[from] {
		links = append(links, fmt.Sprintf("%q imports %q", from, path))
	}
	if len(links) == 0 {
		return ""
	}
	slices.Reverse(links)
	return " (" + strings.Join(links, ", ") + ")"
}

// A fileImport is an import as a file has it.
type fileImport struct{ path, position string }

// fileImports are the imports of a package's files, in order. What cannot be read is left to the
// compiler, which says so better.
func (p *goPackage) fileImports() []fileImport {
	var found []fileImport
	files := token.NewFileSet()
	for _, name := range p.paths() {
		file, err := parser.ParseFile(files, name, nil, parser.ImportsOnly)
		if err != nil {
			continue
		}
		for _, spec := range file.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err == nil {
				at := files.Position(spec.Pos())
				found = append(found, fileImport{path, fmt.Sprintf("%s:%d", fromHere(name), at.Line)})
			}
		}
	}
	return found
}

// fromHere is a file's path from the working folder, or the whole of it if it is elsewhere.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}
