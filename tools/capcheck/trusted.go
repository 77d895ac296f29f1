package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/types"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// trustedDoc is the document that lists what is trusted. Between two lines of it stands the table that this program makes.
const (
	trustedDoc   = "docs/trusted.md"
	trustedBegin = "<!-- made by capcheck -update -->\n"
	trustedEnd   = "<!-- end -->\n"
)

// mostTrusted is how many trusted lines there may be.
const mostTrusted = 3000

// A trustedRow is what a package has of trusted lines.
type trustedRow struct {
	dir            string
	trusted, lines int      // lines of code
	files          []string // those with trusted lines
}

// listTrusted lists the packages of the kernel with trusted lines. In a board those are the lines that make privileges, in
// the runtime all, in other packages those of trustedFiles and assembly.
func (m *module) listTrusted() ([]trustedRow, error) {
	all, err := m.typeCheck()
	if err != nil {
		return nil, err
	}
	files := m.trustedFiles(all)
	var rows []trustedRow
	for _, r := range measure(m) {
		p := m.find(m.path + "/" + r.dir)
		row := trustedRow{dir: r.dir, lines: r.lines}
		for _, f := range p.files {
			switch {
			case !f.kernel:
			case p.layer.kind == runtime || files[f.path]:
				row.add(f.path, len(codeLines(f.text)))
			case p.layer.kind == board:
				row.add(f.path, m.mintingLines(all, p, f))
			}
		}
		for _, s := range p.other {
			if s.kernel {
				row.add(s.path, assemblyLines(string(s.text)))
			}
		}
		if row.trusted > 0 {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (r *trustedRow) add(name string, lines int) {
	if lines > 0 {
		r.trusted += lines
		r.files = append(r.files, path.Base(name))
	}
}

// mintingLines counts the lines of a file that name functions that make privileges.
func (m *module) mintingLines(all []*typed, p *pkg, f *file) int {
	t := all[slices.IndexFunc(all, func(t *typed) bool { return t.pkg == p })]
	lines := map[int]bool{}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok && m.mintedBy(t, name) != "" {
			lines[m.fset.PositionFor(n.Pos(), false).Line] = true
		}
		return true
	})
	return len(lines)
}

// trustedTable is the table in Markdown.
func trustedTable(rows []trustedRow) string {
	var b strings.Builder
	b.WriteString("| package | trusted lines | of | files |\n|---|---:|---:|---|\n")
	total := trustedRow{dir: "total"}
	for _, r := range rows {
		total.trusted += r.trusted
		total.lines += r.lines
		fmt.Fprintf(&b, "| %s | %d | %d | %s |\n", r.dir, r.trusted, r.lines, strings.Join(r.files, ", "))
	}
	fmt.Fprintf(&b, "| %s | %d | %d | |\n", total.dir, total.trusted, total.lines)
	return b.String()
}

// checkTrusted compares the document with what is trusted, and says what is wrong. With update it gives it the document with
// the right table, instead of saying that the table is wrong.
func (m *module) checkTrusted(root fs.FS, update func([]byte) error) (problems []string, err error) {
	rows, err := m.listTrusted()
	if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(root, trustedDoc)
	if err != nil {
		return nil, fmt.Errorf("the list of trusted code: %w", err)
	}
	before, rest, begins := bytes.Cut(text, []byte(trustedBegin))
	_, after, ends := bytes.Cut(rest, []byte(trustedEnd))
	if !begins || !ends {
		return nil, fmt.Errorf("%s has no place for its table: the lines %q and %q", trustedDoc, trustedBegin, trustedEnd)
	}
	right := slices.Concat(before, []byte(trustedBegin), []byte(trustedTable(rows)), []byte(trustedEnd), after)
	switch {
	case bytes.Equal(text, right):
	case update == nil:
		problems = append(problems, trustedDoc+": its table is not what is trusted: see what changed by capcheck -update")
	default:
		if err := update(right); err != nil {
			return nil, err
		}
	}
	return append(problems, judgeTrusted(rows, string(text))...), nil
}

// judgeTrusted says what is wrong with the rows, and with what the document says of each.
func judgeTrusted(rows []trustedRow, text string) (problems []string) {
	sum := 0
	for _, r := range rows {
		sum += r.trusted
		if !strings.Contains(text, "\n### "+r.dir+"\n") {
			problems = append(problems, fmt.Sprintf("%s: a heading %q is missing, for its invariants and tests", trustedDoc, "### "+r.dir))
		}
	}
	if sum >= mostTrusted {
		problems = append(problems, fmt.Sprintf("%d trusted lines, want less than %d: take what needs no trust out of trusted files", sum, mostTrusted))
	}
	return problems
}

// trustedFiles are the files of trusted packages that the compiler does not hold to their types: those that name package
// unsafe, give the compiler directives, declare functions in assembly or make privileges; and those that use what such a
// file of their package declares, but for constants. Any other could be a package of its own, under the rules of the kernel's.
func (m *module) trustedFiles(all []*typed) map[string]bool {
	trusted := map[string]bool{}
	for _, t := range all {
		if t.layer.kind.safe() {
			for _, name := range t.layer.unsafe {
				trusted[name] = true
			}
			continue
		}
		uses := m.filesUsed(t)
		for _, f := range t.files {
			if f.kernel && m.isUnsafe(t, f) {
				m.trust(f.path, uses, trusted)
			}
		}
	}
	return trusted
}

// isUnsafe reports whether a file is trusted for what stands in itself.
func (m *module) isUnsafe(t *typed, f *file) bool {
	if unsafeLines(m.fset, f.syntax) > 0 {
		return true
	}
	for _, d := range f.syntax.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Body == nil {
			return true
		}
	}
	unsafe := false
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			unsafe = unsafe || m.mintedBy(t, name) != ""
		}
		return true
	})
	return unsafe
}

// filesUsed tells for each file of a package which others use what it declares.
func (m *module) filesUsed(t *typed) map[string][]string {
	users := map[string][]string{}
	for name, o := range t.info.Uses {
		if _, constant := o.(*types.Const); constant || o.Pkg() != t.types {
			continue
		}
		user, used := m.fileAt(name), m.fileOf(o)
		if user != used && !slices.Contains(users[used], user) {
			users[used] = append(users[used], user)
		}
	}
	return users
}

// trust notes that a file is trusted, and that who uses it is.
func (m *module) trust(path string, users map[string][]string, trusted map[string]bool) {
	for left := []string{path}; len(left) > 0; left = left[1:] {
		if !trusted[left[0]] {
			trusted[left[0]] = true
			left = append(left, users[left[0]]...)
		}
	}
}

func (m *module) fileAt(n ast.Node) string     { return m.fset.PositionFor(n.Pos(), false).Filename }
func (m *module) fileOf(o types.Object) string { return m.fset.PositionFor(o.Pos(), false).Filename }
