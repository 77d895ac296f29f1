package main

import (
	"slices"
	"strconv"
	"strings"
)

// checkImports checks what a package imports against its layer.
func (m *module) checkImports(p *pkg) []breach {
	if p.layer == nil {
		if strings.HasPrefix(p.dir, "guest/") {
			return []breach{{p.path(), 1, "package " + p.dir + " has no layer", ruleLayers}}
		}
		return nil
	}
	var found []breach
	for _, f := range p.files {
		for _, spec := range f.syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has checked it
			}
			if r, ok := m.mayImport(p, f, name); !ok {
				found = append(found, m.breach(spec.Pos(), r, "%s imports %s", p.dir, name))
			}
		}
	}
	return found
}

// mayImport reports whether a file of a package may import name, and by which rule not.
// What trusted packages have for the host alone may import anything of the library.
func (m *module) mayImport(p *pkg, f *file, name string) (rule, bool) {
	if m.own(name) {
		dir := strings.TrimPrefix(name, m.path+"/")
		return ruleImports, m.find(name) != nil && withinAny(dir, p.layer.imports)
	}
	switch {
	case !p.layer.kind.ring0():
		return "", true
	case name == "unsafe":
		return ruleUnsafe, !p.layer.kind.safe() || slices.Contains(p.layer.unsafe, f.path)
	case name == "C":
		return ruleUnsafe, false
	case !p.layer.kind.safe() && !f.kernel:
		return "", true
	}
	return ruleLibrary, withinAny(name, p.layer.library)
}

// path is the path of the package's first file.
func (p *pkg) path() string {
	if len(p.files) > 0 {
		return p.files[0].path
	}
	return p.other[0].path
}
