package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/types"
	"strings"
)

// A typed package is one of ring 0, type-checked as the kernel's build sees it.
type typed struct {
	*pkg
	syntax []*ast.File
	types  *types.Package
	info   types.Info
}

// checkTypes checks the rules that need types, on every package of the kernel's build
// but the runtime, which only compiles in the place of Go's own.
func (m *module) checkTypes() ([]breach, error) {
	all, err := m.typeCheck()
	if err != nil {
		return nil, err
	}
	var found []breach
	for _, t := range all {
		found = append(found, m.checkPrivileges(t)...)
		found = append(found, m.checkGrants(t)...)
		if t.layer.kind == capsule {
			found = append(found, m.checkEnds(t)...)
			found = append(found, m.checkCopies(t)...)
		}
		if t.layer.kind == board {
			found = append(found, m.checkWiring(t)...)
		}
		if t.layer.packages == "guest/kernel/hil/..." {
			found = append(found, m.checkClients(t)...)
		}
	}
	return append(found, m.checkRecursion(all)...), nil
}

// typeCheck type-checks all of ring 0 but the runtime.
func (m *module) typeCheck() ([]*typed, error) {
	c := &typeChecker{
		module:  m,
		library: importer.ForCompiler(m.fset, "source", nil),
		done:    map[*pkg]*typed{},
	}
	var all []*typed
	for _, p := range m.packages {
		if p.layer == nil || !p.layer.kind.ring0() || p.layer.kind == runtime {
			continue
		}
		t, err := c.check(p)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// A typeChecker type-checks packages in the order of their imports.
type typeChecker struct {
	*module
	library types.Importer
	done    map[*pkg]*typed // nil while a package is being checked
}

// Import implements types.Importer.
func (c *typeChecker) Import(name string) (*types.Package, error) {
	if !c.own(name) {
		return c.library.Import(name)
	}
	p := c.find(name)
	if p == nil {
		return nil, fmt.Errorf("there is no package %s", name)
	}
	t, err := c.check(p)
	if err != nil {
		return nil, err
	}
	return t.types, nil
}

// check type-checks a package and what it imports.
func (c *typeChecker) check(p *pkg) (*typed, error) {
	if t, begun := c.done[p]; begun {
		if t == nil {
			return nil, fmt.Errorf("%s imports itself, perhaps by way of others", p.dir)
		}
		return t, nil
	}
	c.done[p] = nil
	t := &typed{pkg: p, info: types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Defs:       map[*ast.Ident]types.Object{},
		Uses:       map[*ast.Ident]types.Object{},
		Instances:  map[*ast.Ident]types.Instance{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}}
	for _, f := range p.files {
		if f.kernel {
			t.syntax = append(t.syntax, f.syntax)
		}
	}
	config := types.Config{Importer: c, Sizes: types.SizesFor("gc", "amd64")}
	var err error
	if t.types, err = config.Check(c.path+"/"+p.dir, c.fset, t.syntax, &t.info); err != nil {
		return nil, fmt.Errorf("it does not compile: %w", err)
	}
	c.done[p] = t
	return t, nil
}

// dirOf is the directory of the package that declares an object, "" if that is not in
// the module.
func (m *module) dirOf(o types.Object) string {
	if o == nil || o.Pkg() == nil {
		return ""
	}
	dir, ok := strings.CutPrefix(o.Pkg().Path(), m.path+"/")
	if !ok {
		return ""
	}
	return dir
}

// checkPrivileges finds uses of functions that make privileges outside the board, and of the one that
// acts for tasks outside the machine layer.
func (m *module) checkPrivileges(t *typed) []breach {
	var found []breach
	for name := range t.info.Uses {
		if used := m.mintedBy(t, name); used != "" && !within(t.dir, minter) {
			found = append(found, m.breach(name.Pos(), ruleMint, "%s uses %s", t.dir, used))
		}
		if used := m.functionOf(t, name); used == serves && t.dir != "guest/kernel" && !within(t.dir, server) {
			found = append(found, m.breach(name.Pos(), ruleServe, "%s uses %s", t.dir, used))
		}
	}
	return found
}

// mintedBy is the function that a name means if that makes privileges and is of another package, or "".
func (m *module) mintedBy(t *typed, name *ast.Ident) string {
	used := m.functionOf(t, name)
	if used != "" && m.dirOf(t.info.Uses[name]) != t.dir && withinAny(m.dirOf(t.info.Uses[name]), mints) {
		return used
	}
	return ""
}

// functionOf is the function of this module that a name means, a package's directory in front, or "". Methods are none.
func (m *module) functionOf(t *typed, name *ast.Ident) string {
	f, ok := t.info.Uses[name].(*types.Func)
	if !ok || f.Signature().Recv() != nil || m.dirOf(f) == "" {
		return ""
	}
	return m.dirOf(f) + "." + f.Name()
}

// checkGrants finds grants of types with pointers: such a value would be read back from
// a task's memory. In package kernel itself T is a parameter; everywhere else it has to
// be a type.
func (m *module) checkGrants(t *typed) []breach {
	var found []breach
	for name, instance := range t.info.Instances {
		o := t.info.Uses[name]
		if o == nil || o.Name() != "Grant" || m.dirOf(o) != "guest/kernel" || t.dir == "guest/kernel" {
			continue
		}
		held := instance.TypeArgs.At(0)
		if what := pointerIn(held); what != "" {
			shown := types.TypeString(held, types.RelativeTo(t.types))
			found = append(found, m.breach(name.Pos(), ruleGrant, "Grant[%s] holds %s", shown, what))
		}
	}
	return found
}

// pointerIn describes the first thing in a type that is or may be a pointer, or returns "".
func pointerIn(t types.Type) string {
	if _, ok := t.(*types.TypeParam); ok {
		return "a type parameter"
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if u.Info()&types.IsString != 0 || u.Kind() == types.UnsafePointer {
			return "a " + u.Name()
		}
		return ""
	case *types.Array:
		return pointerIn(u.Elem())
	case *types.Struct:
		for i := range u.NumFields() {
			if what := pointerIn(u.Field(i).Type()); what != "" {
				return what + " in field " + u.Field(i).Name()
			}
		}
		return ""
	case *types.Pointer:
		return "a pointer"
	case *types.Slice:
		return "a slice"
	case *types.Interface:
		return "an interface"
	case *types.Signature:
		return "a function"
	}
	return "a " + t.Underlying().String()
}
