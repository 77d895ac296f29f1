package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// A call is one function naming another: a call, or the function as a value.
type call struct {
	callee *types.Func
	pos    token.Pos
}

// checkRecursion finds cycles of functions that name one another. It does not follow
// calls through interfaces and function values: which method answers there is the
// board's wiring, not to be seen in the types.
func (m *module) checkRecursion(packages []*typed) []breach {
	w := walk{module: m, calls: map[*types.Func][]call{}, state: map[*types.Func]state{}}
	var functions []*types.Func
	for _, t := range packages {
		for _, file := range t.syntax {
			for _, d := range file.Decls {
				if decl, ok := d.(*ast.FuncDecl); ok && decl.Body != nil {
					f := t.info.Defs[decl.Name].(*types.Func)
					functions = append(functions, f)
					w.calls[f] = callsIn(decl.Body, &t.info)
				}
			}
		}
	}
	for _, f := range functions {
		w.visit(f)
	}
	return w.found
}

// callsIn lists the functions that a body names. Closures count as part of the body.
func callsIn(body *ast.BlockStmt, info *types.Info) []call {
	var calls []call
	ast.Inspect(body, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			if f, ok := info.Uses[name].(*types.Func); ok {
				calls = append(calls, call{f.Origin(), name.Pos()})
			}
		}
		return true
	})
	return calls
}

type state int

const (
	fresh state = iota
	open        // on the path that is being walked
	closed
)

// A walk goes through the graph of calls depth first.
type walk struct {
	*module
	calls map[*types.Func][]call
	state map[*types.Func]state
	path  []*types.Func
	found []breach
}

func (w *walk) visit(f *types.Func) {
	w.state[f] = open
	w.path = append(w.path, f)
	for _, c := range w.calls[f] {
		switch w.state[c.callee] {
		case fresh:
			w.visit(c.callee)
		case open:
			w.found = append(w.found, w.breach(c.pos, ruleRecursion, "%s", w.cycle(c.callee)))
		}
	}
	w.path = w.path[:len(w.path)-1]
	w.state[f] = closed
}

// cycle describes the path from f to its end and back to f.
func (w *walk) cycle(f *types.Func) string {
	var names []string
	for _, g := range w.path[slices.Index(w.path, f):] {
		names = append(names, g.FullName())
	}
	names = append(names, f.FullName())
	return strings.ReplaceAll(strings.Join(names, " calls "), w.module.path+"/", "")
}
