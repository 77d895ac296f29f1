package main

import (
	"go/ast"
	"go/types"
)

// What may be in an interface or a function variable is found by following every
// assignment of the program: of values to variables, arguments to parameters, results to
// calls. A field is one node for all structures of its type, an element one for its array, and
// the order of statements does not count: the answer may hold too much, and lacks nothing.

// A node is a place for interface or function values: a types.Object (variable, field,
// parameter, result), an ast.Expr (an expression's own value) or a resultOf.
type node any

// A resultOf is the n-th result of a call.
type resultOf struct {
	call *ast.CallExpr
	n    int
}

// A value is what may be in a node: exactly one of its fields is set.
type value struct {
	typ    types.Type   // a value of this type, in an interface
	fn     *types.Func  // a declared function
	method *types.Func  // a method bound to its receiver
	lit    *ast.FuncLit // a function literal
}

// A dynamicCall is a call in the source whose callee is only known by what is in a node.
type dynamicCall struct {
	call   *ast.CallExpr
	node   node             // nil: not followed
	iface  types.Type       // type of the interface, nil for a function value
	method *types.Func      // of the interface
	sig    *types.Signature // of the callee, as the call sees it
	linked map[any]bool
}

// A flow is the graph of assignments.
type flow struct {
	*sources
	values map[node]map[any]value // by what tells values apart
	boxed  map[string]bool        // "T,I": a T is put into an I somewhere, by the linker's names
	next   map[node][]node
	calls  []*dynamicCall
	lits   []*ast.FuncLit
	work   []node
}

// analyse follows the assignments of all packages.
func analyse(s *sources) *flow {
	f := &flow{sources: s, values: map[node]map[any]value{}, boxed: map[string]bool{}, next: map[node][]node{}}
	for _, p := range s.packages {
		for _, file := range p.files {
			for _, d := range file.Decls {
				fn, ok := d.(*ast.FuncDecl)
				switch {
				case !ok:
					f.walk(d, nil)
				case fn.Body != nil:
					f.walk(fn.Body, f.info.Defs[fn.Name].(*types.Func).Signature())
				}
			}
		}
	}
	for again := true; again; {
		f.propagate()
		again = f.linkDynamic()
	}
	return f
}

// propagate moves values along the edges until nothing changes.
func (f *flow) propagate() {
	for len(f.work) > 0 {
		n := f.work[len(f.work)-1]
		f.work = f.work[:len(f.work)-1]
		for _, to := range f.next[n] {
			for _, v := range f.values[n] {
				f.add(to, v)
			}
		}
	}
}

// add puts a value into a node.
func (f *flow) add(n node, v value) {
	if n == nil {
		return
	}
	if f.values[n] == nil {
		f.values[n] = map[any]value{}
	}
	if _, known := f.values[n][v.key()]; !known {
		f.values[n][v.key()] = v
		f.work = append(f.work, n)
	}
}

// key tells values apart. Types are compared by their full names: there may be several of one.
func (v value) key() any {
	if v.typ != nil {
		return types.TypeString(v.typ, nil)
	}
	return v
}

func (f *flow) edge(from, to node) {
	if from != nil && to != nil && from != to {
		f.next[from] = append(f.next[from], to)
		f.work = append(f.work, from)
	}
}

// linkDynamic ties arguments and results of dynamic calls to the functions that turned out to
// be called. It reports whether there were new ones.
func (f *flow) linkDynamic() bool {
	found := false
	for _, d := range f.calls {
		for key, v := range f.values[d.node] {
			if d.linked[key] {
				continue
			}
			d.linked[key] = true
			found = true
			if sig := f.signature(d, v); sig != nil {
				f.link(d.call, sig)
			}
		}
	}
	return found
}

// signature is that of the function which a value stands for in a dynamic call, with the
// parameters that its body knows.
func (f *flow) signature(d *dynamicCall, v value) *types.Signature {
	switch {
	case v.lit != nil:
		return f.info.TypeOf(v.lit).(*types.Signature)
	case v.fn != nil:
		return v.fn.Origin().Signature()
	case v.method != nil:
		return v.method.Origin().Signature()
	}
	if d.method == nil { // a function within an interface, which was put there too
		return nil
	}
	o, _, _ := types.LookupFieldOrMethod(v.typ, true, d.method.Pkg(), d.method.Name())
	if fn, ok := o.(*types.Func); ok {
		return fn.Origin().Signature()
	}
	return nil
}

// link ties the arguments of a call to the parameters of sig, and its results to the call's.
func (f *flow) link(call *ast.CallExpr, sig *types.Signature) {
	params := sig.Params()
	parameter := func(i int) *types.Var {
		if i >= params.Len() {
			i = params.Len() - 1 // variadic: the elements share the node of the slice
		}
		return params.At(i)
	}
	if tuple, ok := f.typeOf(firstOf(call.Args)).(*types.Tuple); ok { // f(g())
		inner := ast.Unparen(call.Args[0]).(*ast.CallExpr)
		for i := range tuple.Len() {
			f.flow(resultOf{inner, i}, tuple.At(i).Type(), parameter(i).Origin(), element(parameter(i), i, sig, call))
		}
	} else if params.Len() > 0 {
		for i, arg := range call.Args {
			f.assign(parameter(i).Origin(), element(parameter(i), i, sig, call), arg)
		}
	}
	for i := range sig.Results().Len() {
		r := sig.Results().At(i)
		f.flow(r.Origin(), r.Type(), resultOf{call, i}, r.Type())
	}
}

// element is the type that the i-th argument becomes: that of a variadic parameter's elements.
func element(p *types.Var, i int, sig *types.Signature, call *ast.CallExpr) types.Type {
	if slice, ok := p.Type().(*types.Slice); ok && sig.Variadic() && !call.Ellipsis.IsValid() && i >= sig.Params().Len()-1 {
		return slice.Elem()
	}
	return p.Type()
}

func firstOf(list []ast.Expr) ast.Expr {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func (f *flow) typeOf(e ast.Expr) types.Type {
	if e == nil {
		return nil
	}
	return f.info.TypeOf(e)
}

// assign is an assignment of an expression to a node of type to.
func (f *flow) assign(dst node, to types.Type, src ast.Expr) {
	src = ast.Unparen(src)
	from := f.typeOf(src)
	if from != nil && to != nil {
		f.fields(from, to)
	}
	if dst == nil || to == nil || from == nil || !carries(to) || from == types.Typ[types.UntypedNil] {
		return
	}
	if lit, ok := src.(*ast.FuncLit); ok {
		f.add(dst, value{lit: lit})
		return
	}
	if v, ok := f.function(src); ok {
		f.add(dst, v)
		return
	}
	f.flow(f.node(src), from, dst, to)
}

// flow is an assignment from one node to another.
func (f *flow) flow(src node, from types.Type, dst node, to types.Type) {
	f.fields(from, to)
	if !carries(to) {
		return
	}
	if types.IsInterface(to) && !types.IsInterface(from) {
		f.boxed[typeName(from)+","+typeName(to)] = true
		f.add(dst, value{typ: from})
	}
	if !carries(from) {
		return
	}
	f.edge(src, dst)
	if _, function := from.Underlying().(*types.Signature); !function && !types.IsInterface(from) {
		f.edge(dst, src) // slices and pointers share what they refer to
	}
}

// fields ties the fields of two structures, or of what refers to them, where one becomes the other:
// by a conversion, or because one of the types has no name.
func (f *flow) fields(from, to types.Type) {
	a, b := structureOf(from), structureOf(to)
	if a == nil || b == nil || a == b || a.NumFields() != b.NumFields() {
		return
	}
	for i := range a.NumFields() {
		if x, y := a.Field(i).Origin(), b.Field(i).Origin(); x != y {
			f.edge(x, y)
			f.edge(y, x)
			f.fields(x.Type(), y.Type())
		}
	}
}

// structureOf is the structure that a type is or refers to, or nil.
func structureOf(t types.Type) *types.Struct {
	for range 16 { // deeper ones refer to themselves
		switch u := t.Underlying().(type) {
		case *types.Struct:
			return u
		case interface{ Elem() types.Type }:
			t = u.Elem()
		default:
			return nil
		}
	}
	return nil
}

// function returns the value of an expression that names a function or a method.
func (f *flow) function(e ast.Expr) (value, bool) {
	switch e := e.(type) {
	case *ast.IndexExpr:
		return f.function(ast.Unparen(e.X))
	case *ast.IndexListExpr:
		return f.function(ast.Unparen(e.X))
	case *ast.Ident:
		fn, ok := f.info.Uses[e].(*types.Func)
		return value{fn: fn}, ok
	case *ast.SelectorExpr:
		fn, ok := f.info.Uses[e.Sel].(*types.Func)
		if s := f.info.Selections[e]; ok && s != nil && s.Kind() == types.MethodVal {
			return value{method: fn}, true
		}
		return value{fn: fn}, ok
	}
	return value{}, false
}

// node is where the value of an expression is kept, or nil. Pointers, slices and arrays are one
// node with what they hold.
func (f *flow) node(e ast.Expr) node {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return variable(f.info.ObjectOf(e))
	case *ast.SelectorExpr:
		if s := f.info.Selections[e]; s != nil {
			return variable(s.Obj())
		}
		return variable(f.info.Uses[e.Sel])
	case *ast.IndexExpr:
		return f.node(e.X)
	case *ast.SliceExpr:
		return f.node(e.X)
	case *ast.StarExpr:
		return f.node(e.X)
	case *ast.UnaryExpr:
		return f.node(e.X)
	case *ast.TypeAssertExpr:
		return f.node(e.X)
	case *ast.CompositeLit:
		return e
	case *ast.CallExpr:
		switch {
		case f.info.Types[e.Fun].IsType():
			return e
		case f.builtin(e) == "append":
			return f.node(e.Args[0])
		}
		return resultOf{e, 0}
	}
	return nil
}

// variable is the node of a variable, nil for any other object.
func variable(o types.Object) node {
	if v, ok := o.(*types.Var); ok {
		return v.Origin()
	}
	return nil
}

func (f *flow) builtin(call *ast.CallExpr) string {
	if name, ok := ast.Unparen(call.Fun).(*ast.Ident); ok {
		if b, ok := f.info.Uses[name].(*types.Builtin); ok {
			return b.Name()
		}
	}
	return ""
}

// carries reports whether a variable of a type is a node: an interface, a function, or what
// holds or refers to such. Fields are nodes of their own, so structures are none.
func carries(t types.Type) bool {
	for range 16 { // deeper ones refer to themselves
		switch u := t.Underlying().(type) {
		case *types.Interface:
			return true
		case *types.Signature:
			return true
		case *types.Pointer:
			t = u.Elem()
		case *types.Slice:
			t = u.Elem()
		case *types.Array:
			t = u.Elem()
		case *types.Map:
			t = u.Elem()
		case *types.Chan:
			t = u.Elem()
		default:
			return false
		}
	}
	return false
}
