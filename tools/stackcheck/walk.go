package main

import (
	"go/ast"
	"go/token"
	"go/types"
)

// walk follows the assignments of a function's body, or of a declaration. sig has the results.
func (f *flow) walk(body ast.Node, sig *types.Signature) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			f.lits = append(f.lits, n)
			f.walk(n.Body, f.info.TypeOf(n).(*types.Signature))
			return false
		case *ast.AssignStmt:
			if n.Tok == token.ASSIGN || n.Tok == token.DEFINE {
				f.assignAll(n.Lhs, n.Rhs)
			}
		case *ast.ValueSpec:
			var names []ast.Expr
			for _, name := range n.Names {
				names = append(names, name)
			}
			f.assignAll(names, n.Values)
		case *ast.ReturnStmt:
			f.returns(n, sig)
		case *ast.RangeStmt:
			f.ranges(n)
		case *ast.TypeSwitchStmt:
			f.typeSwitch(n)
		case *ast.SendStmt:
			f.assign(f.node(n.Chan), f.typeOf(n.Chan), n.Value)
		case *ast.CompositeLit:
			f.literal(n)
		case *ast.CallExpr:
			f.call(n)
		}
		return true
	})
}

func (f *flow) assignAll(left, right []ast.Expr) {
	if len(right) == 0 {
		return
	}
	tuple, ok := f.typeOf(right[0]).(*types.Tuple)
	call, isCall := ast.Unparen(right[0]).(*ast.CallExpr)
	if ok && isCall && len(left) > 1 {
		for i, l := range left {
			if t := f.typeOf(l); t != nil {
				f.flow(resultOf{call, i}, tuple.At(i).Type(), f.node(l), t)
			}
		}
		return
	}
	if ok { // v, ok := x.(T), m[k], <-c
		if t := f.typeOf(left[0]); t != nil {
			f.flow(f.node(right[0]), tuple.At(0).Type(), f.node(left[0]), t)
		}
		return
	}
	for i, r := range right {
		f.assign(f.node(left[i]), f.typeOf(left[i]), r)
	}
}

func (f *flow) returns(n *ast.ReturnStmt, sig *types.Signature) {
	results := sig.Results()
	if len(n.Results) == 1 && results.Len() > 1 { // return g()
		inner := ast.Unparen(n.Results[0]).(*ast.CallExpr)
		tuple := f.typeOf(inner).(*types.Tuple)
		for i := range results.Len() {
			f.flow(resultOf{inner, i}, tuple.At(i).Type(), results.At(i).Origin(), results.At(i).Type())
		}
		return
	}
	for i, e := range n.Results {
		f.assign(results.At(i).Origin(), results.At(i).Type(), e)
	}
}

func (f *flow) ranges(n *ast.RangeStmt) {
	if _, function := f.typeOf(n.X).Underlying().(*types.Signature); function {
		// The loop's body becomes a function that has no node.
		f.calls = append(f.calls, &dynamicCall{call: &ast.CallExpr{Fun: n.X, Lparen: n.X.Pos()}})
		return
	}
	if n.Value != nil {
		if t := f.typeOf(n.Value); t != nil {
			f.flow(f.node(n.X), t, f.node(n.Value), t)
		}
	}
}

// typeSwitch ties "switch v := x.(type)" to the v of each clause.
func (f *flow) typeSwitch(n *ast.TypeSwitchStmt) {
	define, ok := n.Assign.(*ast.AssignStmt)
	if !ok {
		return
	}
	for _, clause := range n.Body.List {
		if v := f.info.Implicits[clause]; v != nil {
			f.flow(f.node(define.Rhs[0]), v.Type(), variable(v), v.Type())
		}
	}
}

// literal ties what a composite literal lists to its fields or elements.
func (f *flow) literal(n *ast.CompositeLit) {
	t := f.typeOf(n)
	if p, ok := t.Underlying().(*types.Pointer); ok { // an element of []*T{{...}}
		t = p.Elem()
	}
	structure, _ := t.Underlying().(*types.Struct)
	for i, e := range n.Elts {
		pair, keyed := e.(*ast.KeyValueExpr)
		if keyed {
			e = pair.Value
		}
		switch {
		case structure == nil:
			if _, aggregate := t.Underlying().(interface{ Elem() types.Type }); aggregate {
				f.assign(n, t.Underlying().(interface{ Elem() types.Type }).Elem(), e)
			}
		case keyed:
			field := f.info.Uses[pair.Key.(*ast.Ident)].(*types.Var)
			f.assign(field.Origin(), field.Type(), e)
		default:
			f.assign(structure.Field(i).Origin(), structure.Field(i).Type(), e)
		}
	}
}

// call ties a call to its callee, now if it is known, else when it will be.
func (f *flow) call(n *ast.CallExpr) {
	fun := ast.Unparen(n.Fun)
	switch {
	case f.info.Types[n.Fun].IsType():
		f.assign(n, f.typeOf(n), n.Args[0])
		return
	case f.info.Types[n.Fun].IsBuiltin():
		f.callBuiltin(n)
		return
	}
	v, named := f.function(fun)
	switch {
	case !named:
		d := &dynamicCall{call: n, node: f.node(fun), sig: f.typeOf(fun).Underlying().(*types.Signature), linked: map[any]bool{}}
		if lit, ok := fun.(*ast.FuncLit); ok {
			d.node = lit
			f.add(lit, value{lit: lit})
		}
		f.calls = append(f.calls, d)
	case v.method != nil && types.IsInterface(v.method.Signature().Recv().Type()):
		f.calls = append(f.calls, f.interfaceCall(n, fun.(*ast.SelectorExpr), v.method))
	default:
		if s, ok := fun.(*ast.SelectorExpr); ok && v.method != nil {
			recv := v.method.Origin().Signature().Recv()
			f.assign(recv, recv.Type(), s.X)
		}
		fn := v.fn
		if fn == nil {
			fn = v.method
		}
		f.link(n, fn.Origin().Signature())
	}
}

// interfaceCall describes x.m(). If the interface is embedded in a structure, it is the field's.
func (f *flow) interfaceCall(n *ast.CallExpr, fun *ast.SelectorExpr, m *types.Func) *dynamicCall {
	s := f.info.Selections[fun]
	d := &dynamicCall{call: n, node: f.node(fun.X), iface: s.Recv(), method: m, sig: m.Signature(), linked: map[any]bool{}}
	for _, i := range s.Index()[:len(s.Index())-1] {
		t := d.iface
		if p, ok := t.Underlying().(*types.Pointer); ok {
			t = p.Elem()
		}
		if structure, ok := t.Underlying().(*types.Struct); ok {
			d.node, d.iface = structure.Field(i).Origin(), structure.Field(i).Type()
		}
	}
	if _, parameter := types.Unalias(d.iface).(*types.TypeParam); parameter {
		d.node, d.iface = nil, nil // not followed
	}
	return d
}

func (f *flow) callBuiltin(n *ast.CallExpr) {
	switch f.builtin(n) {
	case "append", "copy":
		slice, ok := f.typeOf(n.Args[0]).Underlying().(*types.Slice)
		for _, arg := range n.Args[1:] {
			switch {
			case !ok || !carries(slice):
			case n.Ellipsis.IsValid() || f.builtin(n) == "copy":
				f.edge(f.node(arg), f.node(n.Args[0]))
			default:
				f.assign(f.node(n.Args[0]), slice.Elem(), arg)
			}
		}
	}
}
