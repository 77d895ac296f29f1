package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// A walker puts points into one file of a capsule.
type walker struct {
	*injector
	info    *types.Info
	capsule string
	inside  string // the function that it is in
	found   bool
}

// add makes a point and returns its number, from 1.
func (w *walker) add(kind string, at token.Pos) int {
	w.found = true
	w.points = append(w.points, point{kind: kind, capsule: w.capsule, function: w.inside, at: w.fset.Position(at)})
	return len(w.points)
}

// function puts points into a function.
func (w *walker) function(fn *ast.FuncDecl) {
	w.inside = nameOf(fn)
	if w.isEntry(fn) {
		w.enter(fn.Body)
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			w.enter(n.Body)
		case *ast.ExprStmt:
			w.done(n)
		case *ast.CallExpr:
			w.buffers(n)
		}
		return true
	})
}

// enter makes a point at the start of a body.
func (w *walker) enter(body *ast.BlockStmt) {
	w.insert(body.Lbrace+1, fmt.Sprintf("if k := inject.At(%d); k != 0 { injected(k) };", w.add("entry", body.Lbrace)))
}

// isEntry reports whether others enter the capsule by a function: an exported method, but for wiring, which is done before there is
// anything to contain; or a method that it hands to the kernel for a grant's entry.
func (w *walker) isEntry(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return false
	}
	name := fn.Name.Name
	if ast.IsExported(name) {
		return name != "Init" && name != "Slots" && !(strings.HasPrefix(name, "Set") && strings.HasSuffix(name, "Client"))
	}
	f, ok := w.info.Defs[fn.Name].(*types.Func)
	if !ok {
		return false
	}
	params := f.Signature().Params()
	return params.Len() == 2 && params.At(1).Type().String() == "*"+module+"/guest/kernel.TaskData"
}

// done makes a point where a client is told that an operation is done.
func (w *walker) done(s *ast.ExprStmt) {
	call, ok := s.X.(*ast.CallExpr)
	if !ok || !strings.HasSuffix(w.interfaceOf(call), "Client") {
		return
	}
	file := w.fset.Position(call.Pos())
	text := w.sources[file.Filename][file.Offset:w.fset.Position(call.End()).Offset]
	if strings.Contains(string(text), "\n") {
		return
	}
	w.insert(s.Pos(), fmt.Sprintf("if inject.At(%d) == inject.Twice { %s };", w.add("done", s.Pos()), text))
}

// buffers makes a point where a buffer is handed to another capsule.
func (w *walker) buffers(call *ast.CallExpr) {
	if w.interfaceOf(call) == "" {
		return
	}
	for _, argument := range call.Args {
		if t := w.info.Types[argument].Type; t == nil || t.String() != "[]byte" {
			continue
		}
		w.insert(argument.Pos(), fmt.Sprintf("inject.Buffer(%d, ", w.add("buffer", argument.Pos())))
		w.insert(argument.End(), ")")
	}
}

// interfaceOf is the name of the interface of package hil by which a call goes to another capsule, or "".
func (w *walker) interfaceOf(call *ast.CallExpr) string {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	s := w.info.Selections[method]
	if s == nil {
		return ""
	}
	named, ok := s.Recv().(*types.Named)
	if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != hilPackage || !types.IsInterface(named) {
		return ""
	}
	return named.Obj().Name()
}

// nameOf is a function's name with its receiver's type.
func nameOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}
