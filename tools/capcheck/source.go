package main

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
)

// checkSource checks what the files of a package in ring 0 contain.
func (m *module) checkSource(p *pkg) []breach {
	if p.layer == nil || !p.layer.kind.ring0() {
		return nil
	}
	found := checkOther(p)
	for _, f := range p.files {
		found = append(found, m.checkTypeSwitches(f)...)
	}
	if !p.layer.kind.safe() {
		return found
	}
	for _, f := range p.files {
		found = append(found, m.checkDirectives(p, f)...)
		found = append(found, m.checkVariables(p, f)...)
		if p.layer.kind == capsule {
			found = append(found, m.checkConstructs(f)...)
		}
	}
	return found
}

// checkOther checks the files that are not Go: trusted packages may have assembly and its
// headers, others nothing.
func checkOther(p *pkg) []breach {
	var found []breach
	for _, s := range p.other {
		ext := path.Ext(s.path)
		switch {
		case p.layer.kind.safe():
			found = append(found, breach{s.path, 1, "it is not Go", ruleUnsafe})
		case ext != ".s" && ext != ".h":
			found = append(found, breach{s.path, 1, "it is neither Go nor assembly", ruleSource})
		}
	}
	return found
}

// checkTypeSwitches finds type switches: they compare hashes that types' descriptors hold. An
// assertion to one concrete type compares addresses, and is allowed.
func (m *module) checkTypeSwitches(f *file) []breach {
	var found []breach
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if _, ok := n.(*ast.TypeSwitchStmt); ok {
			found = append(found, m.breach(n.Pos(), ruleTypes, "type switch"))
		}
		return true
	})
	return found
}

// directivePrefixes begin the comments that are not for people.
var directivePrefixes = []string{"//go:", "//line ", "/*line ", "//export ", "//extern "}

// harmless are the directives that packages of the kernel and boards may give, though capsules may not. A
// function without the check of the stack's end is safe: the linker proves that its stack fits.
var harmless = []string{"//go:build ", "//go:noinline", "//go:nosplit"}

// checkDirectives finds directives to the compiler, such as go:linkname, which reaches
// into any package.
func (m *module) checkDirectives(p *pkg, f *file) []breach {
	var found []breach
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			allowed := p.layer.kind != capsule && hasPrefix(c.Text, harmless)
			if hasPrefix(c.Text, directivePrefixes) && !allowed {
				found = append(found, m.breach(c.Pos(), ruleDirective, "directive %s", strings.Fields(c.Text)[0]))
			}
		}
	}
	return found
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// checkVariables finds package variables: any in a capsule, exported ones elsewhere.
// What a capsule knows is in the structure that the board makes.
func (m *module) checkVariables(p *pkg, f *file) []breach {
	var found []breach
	for _, d := range f.syntax.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			for _, name := range spec.Names {
				switch {
				case isAssertion(spec):
				case p.layer.kind == capsule:
					found = append(found, m.breach(name.Pos(), ruleCapsule, "package variable %s", name.Name))
				case name.IsExported():
					found = append(found, m.breach(name.Pos(), ruleShared, "exported variable %s", name.Name))
				}
			}
		}
	}
	return found
}

// isAssertion reports whether spec is "_ I = (*T)(nil)", which only makes the compiler
// check that *T implements I.
func isAssertion(spec *ast.ValueSpec) bool {
	if len(spec.Names) != 1 || spec.Names[0].Name != "_" || len(spec.Values) != 1 {
		return false
	}
	call, ok := spec.Values[0].(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return false
	}
	_, pointer := ast.Unparen(call.Fun).(*ast.StarExpr)
	argument, ok := call.Args[0].(*ast.Ident)
	return pointer && ok && argument.Name == "nil"
}

// checkConstructs finds what a capsule may not contain.
func (m *module) checkConstructs(f *file) []breach {
	var found []breach
	add := func(n ast.Node, what string) {
		found = append(found, m.breach(n.Pos(), ruleCapsule, "%s", what))
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n, "goroutine")
		case *ast.SelectStmt:
			add(n, "select")
		case *ast.SendStmt:
			add(n, "send on a channel")
		case *ast.ChanType:
			add(n, "channel type")
		case *ast.MapType:
			add(n, "map type")
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				add(n, "init function")
			}
		}
		return true
	})
	return found
}
