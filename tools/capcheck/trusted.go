package main

import (
	"go/ast"
	"go/types"
	"slices"
)

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
