package main

import (
	"fmt"
	"go/token"
	"go/types"
	"regexp"
	"sort"
	"strings"
)

// A resolver tells where calls through interfaces and function values go: the machine code's
// line leads to the calls of the source, these to what can be in their nodes, and that to functions of
// the image.
type resolver struct {
	*image
	*flow
	dynamic  map[place][]*dynamicCall
	literals map[place][]*function // those that come from function literals
}

func newResolver(img *image, s *sources) *resolver {
	r := &resolver{image: img, flow: analyse(s), dynamic: map[place][]*dynamicCall{}, literals: map[place][]*function{}}
	for _, d := range r.flow.calls {
		// The compiler gives a call one of these lines.
		lines := map[place]bool{}
		for _, pos := range []token.Pos{d.call.Pos(), d.call.Fun.End(), d.call.Lparen} {
			lines[s.place(pos)] = true
		}
		for p := range lines {
			r.dynamic[p] = append(r.dynamic[p], d)
		}
	}
	for _, fn := range img.functions {
		if isLiteral(fn.Name) {
			for _, file := range fn.Files {
				p := place{file, fn.Line}
				r.literals[p] = append(r.literals[p], fn)
			}
		}
	}
	return r
}

// isLiteral reports whether the name is one that the compiler gives to a function literal: P.F.func1.
func isLiteral(name string) bool {
	base := name[strings.LastIndexByte(name, '.')+1:]
	return strings.HasPrefix(base, "func") || strings.HasPrefix(base, "gowrap") || strings.Trim(base, "0123456789") == ""
}

// targets returns the functions that an indirect call in fn can enter, sorted by address.
func (r *resolver) targets(fn *function, c call) ([]*function, error) {
	file, line := fn.At(c.at)
	at := place{file, line}
	if entry, ok := reviewedCalls[fn.Name]; ok {
		return r.matching(entry.targets), nil
	}
	found := map[*function]bool{}
	known := false
	for _, d := range r.dynamic[at] {
		list := r.callees(fn, d)
		for _, target := range list {
			found[target] = true
		}
		// Without a table no value is ever in the interface: the call cannot happen.
		known = known || len(list) > 0 || d.iface != nil || r.onlyDeclared(d)
	}
	if !known {
		return nil, fmt.Errorf("%v: %s: it is not known where this call goes: the source names no interface or function value "+
			"that could be followed here", at, fn.Name)
	}
	var list []*function
	for target := range found {
		list = append(list, target)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Addr < list[j].Addr })
	return list, nil
}

// matching returns the functions whose names a reviewed call lists.
func (r *resolver) matching(match func(name string) bool) []*function {
	var list []*function
	for _, fn := range r.functions {
		if match(fn.Name) {
			list = append(list, fn)
		}
	}
	return list
}

// callees returns the functions of the image that a call of the source can enter.
func (r *resolver) callees(fn *function, d *dynamicCall) []*function {
	var list []*function
	if d.iface != nil {
		for _, v := range r.values[d.node] {
			if target := r.method(v.typ, d.iface, d.method); target != nil {
				list = append(list, target)
			}
		}
		if len(list) == 0 { // what is in there is not known: any type that is ever in such an interface
			list = r.everyMethod(d.iface, d.method)
		}
		return list
	}
	for _, v := range r.values[d.node] {
		switch {
		case v.lit != nil && fits(fn.Name, d.sig, r.info.TypeOf(v.lit)):
			list = append(list, r.literals[r.place(v.lit.Pos())]...)
		case v.fn != nil:
			list = append(list, r.byName[symbolOf(v.fn)]...)
		case v.method != nil:
			list = append(list, r.byName[symbolOf(v.method)+"-fm"]...)
		}
	}
	return list
}

// onlyDeclared reports whether declared functions alone are ever in a function value. If none of them is in the image, nothing
// makes it one of them: the call cannot happen.
func (r *resolver) onlyDeclared(d *dynamicCall) bool {
	for _, v := range r.values[d.node] {
		if v.fn == nil {
			return false
		}
	}
	return len(r.values[d.node]) > 0
}

// method returns what an interface call enters for a value of type t, or nil if no such value is
// ever in the interface: then the linker has no table for the pair.
func (r *resolver) method(t, iface types.Type, m *types.Func) *function {
	if t == nil {
		return nil
	}
	return r.tableEntry("go:itab."+typeName(t)+","+typeName(iface), iface, m)
}

func (r *resolver) everyMethod(iface types.Type, m *types.Func) []*function {
	var list []*function
	for name := range r.symbols {
		if strings.HasPrefix(name, "go:itab.") && strings.HasSuffix(name, ","+typeName(iface)) {
			if fn := r.tableEntry(name, iface, m); fn != nil {
				list = append(list, fn)
			}
		}
	}
	return list
}

// tableEntry reads a method's address from the table of an interface (internal/abi.ITab): the
// addresses follow three words, sorted by the methods' names.
func (r *resolver) tableEntry(table string, iface types.Type, m *types.Func) *function {
	const methods = 24
	s, ok := r.symbols[table]
	if !ok {
		return nil
	}
	set := types.NewMethodSet(iface)
	var ids []string
	for i := range set.Len() {
		o := set.At(i).Obj()
		if o.Exported() {
			ids = append(ids, o.Name())
		} else {
			ids = append(ids, o.Name()+" "+o.Pkg().Path())
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		a, b := token.IsExported(ids[i]), token.IsExported(ids[j])
		return a && !b || a == b && ids[i] < ids[j]
	})
	for i, id := range ids {
		if name, _, _ := strings.Cut(id, " "); name == m.Name() {
			addr, _ := r.word(s.Value + methods + 8*uint64(i))
			return r.holding(addr)
		}
	}
	return nil
}

// typeName is the linker's name of a type.
func typeName(t types.Type) string {
	name := types.TypeString(types.Unalias(t), packageName)
	return aliases.ReplaceAllStringFunc(name, func(alias string) string {
		return strings.NewReplacer("byte", "uint8", "rune", "int32").Replace(alias)
	})
}

// aliases are the predeclared names that stand for other types, wherever they are no part of a path.
var aliases = regexp.MustCompile(`(^|[^/.\w])(byte|rune)($|[^/.\w])`)

// packageName is the linker's name of a package.
func packageName(p *types.Package) string {
	if p.Name() == "main" {
		return "main"
	}
	return p.Path()
}

// symbolOf is the linker's name of a declared function or method that is not generic.
func symbolOf(fn *types.Func) string {
	recv := fn.Signature().Recv()
	if recv == nil {
		return packageName(fn.Pkg()) + "." + fn.Name()
	}
	if p, ok := recv.Type().(*types.Pointer); ok {
		return packageName(fn.Pkg()) + ".(*" + p.Elem().(*types.Named).Obj().Name() + ")." + fn.Name()
	}
	return typeName(recv.Type()) + "." + fn.Name()
}

// fits reports whether a function literal can be what a generic function calls by sig, as far as
// its instance shows: the compiler makes one for each shape of the type argument, and names the shape
// in brackets.
func fits(instance string, sig *types.Signature, lit types.Type) bool {
	_, shape, ok := strings.Cut(instance, "[go.shape.")
	if !ok {
		return true
	}
	shape = shape[:strings.LastIndexByte(shape, ']')]
	argument := match(sig, lit)
	if argument == nil || strings.Contains(shape, ",go.shape.") {
		return true
	}
	name := shapeName(argument)
	return shape == name || len(name) > longestShape && hashed.MatchString(shape)
}

// longestShape is how long a shape's name may be for the compiler to use it. Of others it uses a hash (MaxShapeLen in
// cmd/compile/internal/noder): any two of them fit.
const longestShape = 500

var hashed = regexp.MustCompile("^[0-9a-f]{64}$")

// match returns the type that stands in t where pattern has a type parameter, or nil.
func match(pattern, t types.Type) types.Type {
	switch p := pattern.(type) {
	case *types.TypeParam:
		return t
	case *types.Pointer:
		if t, ok := t.(*types.Pointer); ok {
			return match(p.Elem(), t.Elem())
		}
	case *types.Slice:
		if t, ok := t.(*types.Slice); ok {
			return match(p.Elem(), t.Elem())
		}
	case *types.Signature:
		if t, ok := t.(*types.Signature); ok && p.Params().Len() == t.Params().Len() {
			for i := range p.Params().Len() {
				if found := match(p.Params().At(i).Type(), t.Params().At(i).Type()); found != nil {
					return found
				}
			}
		}
	}
	return nil
}

// shapeName is the linker's name of a type's shape: of what lies under it.
func shapeName(t types.Type) string {
	s, ok := t.Underlying().(*types.Struct)
	if !ok {
		return typeName(t.Underlying())
	}
	if s.NumFields() == 0 {
		return "struct {}"
	}
	var fields []string
	for i := range s.NumFields() {
		v := s.Field(i)
		name := v.Name() + " "
		switch {
		case v.Embedded():
			name = ""
		case !v.Exported():
			name = packageName(v.Pkg()) + "." + name
		}
		field := typeName(v.Type())
		if _, anonymous := v.Type().(*types.Struct); anonymous {
			field = shapeName(v.Type())
		}
		fields = append(fields, name+field)
	}
	return "struct { " + strings.Join(fields, "; ") + " }"
}

// methodOf returns a method of an interface, or nil.
func methodOf(iface types.Type, name string) *types.Func {
	o, _, _ := types.LookupFieldOrMethod(iface, false, nil, name)
	m, _ := o.(*types.Func)
	return m
}
