package main

import (
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// declarations are what the programs below use.
const declarations = `package main

type I interface{ M(f func()) I }
type A struct{ next I }
type B struct{ next I }
type C struct{ done func(); all [2]I }

func (a *A) M(f func()) I { return a }
func (b *B) M(f func()) I { f(); return b }
func x()                   {}
func y()                   {}
func (c *C) z()            {}

var a A
var b B
var c C

`

// follow type-checks a program and returns what can be in the node of the call on the line that ends
// with "// here".
func follow(t *testing.T, body string) []string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "p"), 0o755))
	text := declarations + body
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p", "p.go"), []byte(text), 0o644))
	s, err := loadSources(dir, "p")
	require.NoError(t, err)
	f := analyse(s)
	before, _, found := strings.Cut(text, "// here")
	require.True(t, found)
	line := strings.Count(before, "\n") + 1
	var names []string
	for _, d := range f.calls {
		if s.place(d.call.Pos()) != (place{"m/p/p.go", line}) {
			continue
		}
		for _, v := range f.values[d.node] {
			switch {
			case v.typ != nil:
				names = append(names, types.TypeString(v.typ, func(*types.Package) string { return "" }))
			case v.lit != nil:
				names = append(names, "literal")
			case v.fn != nil:
				names = append(names, v.fn.Name())
			default:
				names = append(names, v.method.Name()+" bound")
			}
		}
	}
	sort.Strings(names)
	return names
}

func TestFlow(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"variable", "func main() { var i I = &a\n i.M(nil) // here\n}", "*A"},
		{"two values", "func main() { var i I = &a\n i = &b\n i.M(nil) // here\n}", "*A *B"},
		{"never set", "func main() { var i I\n i.M(nil) // here\n}", ""},
		{"field", "func main() { a.next = &b\n use(&a) }\nfunc use(p *A) {\n p.next.M(nil) // here\n}", "*B"},
		{"another type's field", "func main() { a.next = &b\n b.next = &a\n b.next.M(nil) // here\n}", "*A"},
		{"composite literal", "func main() { p := A{next: &b}\n p.next.M(nil) // here\n}", "*B"},
		{"literal without keys", "func main() { p := A{&b}\n p.next.M(nil) // here\n}", "*B"},
		{"element", "func main() { c.all[1] = &b\n for _, i := range c.all {\n i.M(nil) // here\n}}", "*B"},
		{"slice of an array", "func main() { s := c.all[:]\n s[0] = &a\n c.all[0].M(nil) // here\n}", "*A"},
		{"elements of a literal", "func main() { for _, i := range []I{&a, &b} {\n i.M(nil) // here\n}}", "*A *B"},
		{"pointer to an interface", "func main() { p := &a.next\n *p = &b\n a.next.M(nil) // here\n}", "*B"},
		{"parameter", "func main() { use(&a) }\nfunc use(i I) {\n i.M(nil) // here\n}", "*A"},
		{"variadic", "func main() { use(&a, &b) }\nfunc use(l ...I) {\n l[0].M(nil) // here\n}", "*A *B"},
		{"result", "func get() I { return &b }\nfunc main() {\n get().M(nil) // here\n}", "*B"},
		{"named result", "func get() (i I) { i = &b; return }\nfunc main() {\n get().M(nil) // here\n}", "*B"},
		{"two results", "func get() (I, I) { return &a, &b }\nfunc main() { _, i := get()\n i.M(nil) // here\n}", "*B"},
		{"results passed on", "func get() (I, func()) { return &a, x }\nfunc main() { use(get()) }\nfunc use(i I, f func()) {\n i.M(f) // here\n}", "*A"},
		{"result of an interface call", "func main() { var i I = &a\n j := i.M(nil)\n j.M(nil) // here\n}", "*A"},
		{"argument of an interface call", "func main() { var i I = &c2\n i.M(y) }\ntype D struct{}\nvar c2 D\nfunc (*D) M(f func()) I {\n f() // here\n return nil }", "y"},
		{"conversion", "func main() { i := I(&a)\n i.M(nil) // here\n}", "*A"},
		{"type switch", "func main() { use(&a) }\nfunc use(e any) { switch i := e.(type) { case I:\n i.M(nil) // here\n}}", "*A"},
		{"assertion", "func main() { use(&a) }\nfunc use(e any) { i, ok := e.(I)\n_ = ok\n i.M(nil) // here\n}", "*A"},
		{"function", "func main() { f := x\n f() // here\n}", "x"},
		{"literal", "func main() { use(func() {}) }\nfunc use(f func()) {\n f() // here\n}", "literal"},
		{"method value", "func main() { c.done = c.z\n c.done() // here\n}", "z bound"},
		{"table of functions", "var table = [...]func(){x, y}\nfunc main() {\n table[1]() // here\n}", "x y"},
		{"function through a dynamic call", "func main() { pass(use, x) }\nfunc pass(g func(func()), f func()) { g(f) }\nfunc use(f func()) {\n f() // here\n}", "x"},
		{"generic type's field", "type G[T any] struct{ i I; v T }\nfunc (g *G[T]) call() {\n g.i.M(nil) // here\n}\nfunc main() { var g G[int]\n g.i = &b\n g.call() }", "*B"},
		{"append", "func main() { var l []I\n l = append(l, &a)\n l[0].M(nil) // here\n}", "*A"},
		{"boxed function", "func main() { g := x\n var e any = g\n f := y\n f = e.(func())\n f() // here\n}", "func() x y"},
		{"converted structure", "type D struct{ done func(); all [2]I }\nfunc main() { c.done = x\n d := D(c)\n d.done() // here\n}", "x"},
		{"structure without a name", "func main() { c.done = x\n var d struct{ done func(); all [2]I } = c\n d.done() // here\n}", "x"},
		{"type of itself", "type D []D\nfunc main() { var d D\n d = D(d)\n f := x\n f() // here\n}", "x"},
		{"loop over pointers", "func main() { f := x\n for _, p := range []*func(){&f} { *p = y }\n f() // here\n}", "x y"},
		{"pointer from a call", "var f = x\nfunc get() *func() { return &f }\nfunc main() { *get() = y\n f() // here\n}", "x y"},
		{"pointer in a type switch", "var f = x\nfunc main() { var e any = &f\n switch p := e.(type) { case *func(): *p = y }\n f() // here\n}", "*func() x y"},
		{"embedded interface", "type E struct{ I }\nfunc main() { e := E{&b}\n e.M(nil) // here\n}", "*B"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, strings.Join(follow(t, tt.body), " "))
		})
	}
}

// The call of a type parameter's method goes through a table that only the compiler knows, and the
// loop over a function calls a body that is none in the source. Neither is followed.
func TestNotFollowed(t *testing.T) {
	for name, body := range map[string]string{
		"type parameter":        "func call[T I](v T) {\n v.M(nil) // here\n}\nfunc main() { call(&a) }",
		"range over a function": "func main() { f := func(yield func() bool) {}\n for range f { // here\n}}",
	} {
		t.Run(name, func(t *testing.T) { assert.Empty(t, follow(t, body)) })
	}
}

func TestShapes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "p"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p", "p.go"), []byte(`package p
type One struct{ a bool; B uint32 }
type Two struct{ c [4]byte }
type G[T any] struct{}
func (g *G[T]) call(f func(value *T, n int)) { f(nil, 1) }
func use() { var g G[One]; g.call(func(*One, int) {}) }
`), 0o644))
	s, err := loadSources(dir, "p")
	require.NoError(t, err)
	f := analyse(s)
	require.Len(t, f.calls, 1)
	require.Len(t, f.lits, 1)
	lit := f.info.TypeOf(ast.Expr(f.lits[0]))
	for instance, want := range map[string]bool{
		"m/p.(*G[go.shape.struct { m/p.a bool; B uint32 }]).call": true,
		"m/p.(*G[go.shape.struct { m/p.c [4]uint8 }]).call":       false,
		"m/p.use": true,
	} {
		assert.Equal(t, want, fits(instance, f.calls[0].sig, lit), instance)
	}
	two := s.done["m/p"].Scope().Lookup("Two").Type()
	assert.Equal(t, "struct { m/p.c [4]uint8 }", shapeName(two))
}
