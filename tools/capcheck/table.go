package main

import (
	"fmt"
	"go/ast"
	"go/scanner"
	"go/token"
	"io"
	"strconv"
	"strings"
)

// A row is what one package of ring 0 adds to the trusted base. Lines that are blank or
// hold only comments do not count.
type row struct {
	dir   string
	kind  kind
	lines int // Go and assembly
	// unsafe lines are those that name package unsafe, those that link to what is not
	// exported, and all assembly.
	unsafe int
}

// A table measures ring 0.
type table []row

// measure counts the lines of every package in ring 0 that is in the kernel: of the files that
// are in its build.
func measure(m *module) table {
	linked := m.linked()
	var t table
	for _, p := range m.packages {
		if p.layer == nil || !p.layer.kind.ring0() || !linked[p] {
			continue
		}
		r := row{dir: p.dir, kind: p.layer.kind}
		for _, f := range p.files {
			if f.kernel {
				r.lines += len(codeLines(f.text))
				r.unsafe += unsafeLines(m.fset, f.syntax)
			}
		}
		for _, s := range p.other {
			if s.kernel {
				n := assemblyLines(string(s.text))
				r.lines += n
				r.unsafe += n
			}
		}
		t = append(t, r)
	}
	return t
}

// linked are the packages of the kernel: the boards, the runtime, and what they import.
func (m *module) linked() map[*pkg]bool {
	linked := map[*pkg]bool{}
	var add func(*pkg)
	add = func(p *pkg) {
		if p == nil || linked[p] {
			return
		}
		linked[p] = true
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				if name, err := strconv.Unquote(spec.Path.Value); err == nil && f.kernel {
					add(m.find(name))
				}
			}
		}
	}
	for _, p := range m.packages {
		if p.layer != nil && (p.layer.kind == runtime || within(p.dir, minter)) {
			add(p)
		}
	}
	return linked
}

// unsafeIn counts the unsafe lines of all packages of a kind.
func (t table) unsafeIn(k kind) int {
	n := 0
	for _, r := range t {
		if r.kind == k {
			n += r.unsafe
		}
	}
	return n
}

// codeLines returns the lines of a Go file with at least one token.
func codeLines(text []byte) map[int]bool {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue // put in by the scanner
		}
		first := file.Line(pos)
		for i := range strings.Count(literal, "\n") + 1 {
			lines[first+i] = true
		}
	}
}

// unsafeLines counts the lines of a file that touch unsafe.
func unsafeLines(fset *token.FileSet, file *ast.File) int {
	lines := map[int]bool{}
	mark := func(pos token.Pos) { lines[fset.PositionFor(pos, false).Line] = true }
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			if n.Path.Value == `"unsafe"` {
				mark(n.Pos())
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "unsafe" {
				mark(n.Pos())
			}
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname ") {
				mark(c.Pos())
			}
		}
	}
	return len(lines)
}

// assemblyLines counts the lines of an assembly file with something but comments.
func assemblyLines(text string) int {
	count, comment := 0, false
	for line := range strings.Lines(text) {
		var code string
		code, comment = uncomment(line, comment)
		if strings.TrimSpace(code) != "" {
			count++
		}
	}
	return count
}

// uncomment takes the comments out of a line. Whether it begins inside a block comment
// is passed in, whether it ends inside one is returned.
func uncomment(line string, inside bool) (code string, stillInside bool) {
	for {
		if inside {
			_, rest, ended := strings.Cut(line, "*/")
			if !ended {
				return code, true
			}
			line, inside = rest, false
		}
		at := strings.IndexByte(line, '/')
		switch {
		case at >= 0 && strings.HasPrefix(line[at:], "//"):
			return code + line[:at], false
		case at >= 0 && strings.HasPrefix(line[at:], "/*"):
			code, line, inside = code+line[:at], line[at+2:], true
		case at >= 0:
			code, line = code+line[:at+1], line[at+1:]
		default:
			return code + line, false
		}
	}
}

// cells are the table's rows as text: a head, the packages, a total.
func (t table) cells() [][]string {
	cells := [][]string{{"package", "kind", "lines", "unsafe", "share"}}
	total := row{dir: "total"}
	for _, r := range t {
		cells = append(cells, r.cells())
		total.lines += r.lines
		total.unsafe += r.unsafe
	}
	return append(cells, total.cells())
}

func (r row) cells() []string {
	share := 0.0
	if r.lines > 0 {
		share = 100 * float64(r.unsafe) / float64(r.lines)
	}
	return []string{r.dir, kindNames[r.kind], strconv.Itoa(r.lines), strconv.Itoa(r.unsafe), fmt.Sprintf("%.1f %%", share)}
}

const note = "Lines of code that run in ring 0, without blank lines, comments and tests. Unsafe: lines that\n" +
	"name package unsafe or carry go:linkname, and all assembly. Not counted: what Go links in itself."

// print prints the table in columns.
func (t table) print(w io.Writer) {
	cells := t.cells()
	var width [5]int
	for _, row := range cells {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range cells {
		fmt.Fprintf(w, "%-*s  %-*s  %*s  %*s  %*s\n",
			width[0], row[0], width[1], row[1], width[2], row[2], width[3], row[3], width[4], row[4])
	}
	fmt.Fprintf(w, "\n%s\n", note)
}

// printMarkdown prints the table in Markdown.
func (t table) printMarkdown(w io.Writer) {
	for i, row := range t.cells() {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintln(w, "|---|---|---:|---:|---:|")
		}
	}
	fmt.Fprintf(w, "\n%s\n", note)
}
