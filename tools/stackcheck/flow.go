package main

import (
	"go/ast"
	"go/token"
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
		if carries(r.Type()) {
			f.edge(r.Origin(), resultOf{call, i})
		}
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
	switch {
	case !carries(to):
	case types.IsInterface(to) && !types.IsInterface(from):
		f.boxed[typeName(from)+","+typeName(to)] = true
		f.add(dst, value{typ: from})
	default:
		f.edge(src, dst)
		if _, function := to.Underlying().(*types.Signature); !function && !types.IsInterface(to) {
			f.edge(dst, src) // slices and pointers share what they refer to
		}
	}
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
		if t := f.typeOf(n.Value); t != nil && carries(t) {
			f.edge(f.node(n.X), f.node(n.Value))
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
		if v := f.info.Implicits[clause]; v != nil && carries(v.Type()) {
			f.edge(f.node(define.Rhs[0]), variable(v))
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
