package main

import (
	"fmt"
	"strings"
)

// A graph is the calls of the image, as far as they were followed, and how deep they go.
type graph struct {
	*image
	resolver *resolver
	problems []string
	depths   map[*function]*depth
	path     []*function // that is being walked
}

// A depth is the most that a function and all it calls need of the stack, in bytes below its
// return address.
type depth struct {
	open  bool // it is on the path
	bytes int
	next  *edge // the call on the deepest chain, nil if there is none
	edges []edge
}

// An edge is a call, resolved.
type edge struct {
	call
	to *function
}

// cost is what lies on the stack between the return addresses of caller and callee.
func (e edge) cost() int { return e.depth + e.pushes }

// measure follows the calls of f and returns how deep they go. Recursion, and calls that it
// cannot follow, become problems.
func (g *graph) measure(f *function) *depth {
	if d := g.depths[f]; d != nil {
		if d.open {
			g.recursion(f)
		}
		return d
	}
	if g.depths == nil {
		g.depths = map[*function]*depth{}
	}
	d := &depth{open: true, bytes: f.Frame}
	g.depths[f] = d
	if isThunk(f) {
		d.open, d.bytes = false, thunkStack
		return d
	}
	g.path = append(g.path, f)
	extra := stackSwitches[f.Name]
	d.bytes += extra
	for _, e := range g.edges(f) {
		e.depth += extra
		if panics[e.to.Name] && !panics[f.Name] {
			continue
		}
		d.edges = append(d.edges, e)
		if deeper := e.cost() + g.measure(e.to).bytes; deeper > d.bytes || d.next == nil && deeper == d.bytes {
			d.bytes, d.next = deeper, &e
		}
	}
	g.path = g.path[:len(g.path)-1]
	d.open = false
	return d
}

// edges scans a function and resolves its calls.
func (g *graph) edges(f *function) []edge {
	calls, err := g.scan(f)
	if err != nil {
		g.problem("%v", err)
	}
	var list []edge
	for _, c := range calls {
		var targets []*function
		if c.target != nil {
			targets = append(targets, c.target)
		}
		if c.target == nil || isThunk(c.target) {
			behind, err := g.resolver.targets(f, c)
			if err != nil {
				g.problem("%v", err)
			}
			targets = append(targets, behind...)
		}
		for _, to := range targets {
			list = append(list, edge{c, to})
		}
	}
	for _, name := range entersFrom[f.Name] {
		for _, to := range g.byName[name] {
			list = append(list, edge{call{depth: f.Frame, pushes: 8}, to})
		}
	}
	return list
}

func (g *graph) problem(format string, args ...any) {
	g.problems = append(g.problems, fmt.Sprintf(format, args...))
}

// recursion reports the part of the path that leads from f back to f.
func (g *graph) recursion(f *function) {
	var names []string
	for _, on := range g.path {
		if on == f || names != nil {
			names = append(names, g.short(on))
		}
	}
	names = append(names, g.short(f))
	g.problem("%s: recursion, and the stack is of fixed size: %s", g.where(f), strings.Join(names, " calls "))
}

// where is the place at which a function begins.
func (g *graph) where(f *function) place {
	file, line := f.At(f.Addr)
	if f.Line > 0 {
		line = f.Line
	}
	return place{file, line}
}

// short is a function's name without the module's path, and with a generic one's type left out.
func (g *graph) short(f *function) string {
	name := f.Name
	if before, rest, ok := strings.Cut(name, "[go.shape."); ok {
		name = before + "[...]" + rest[strings.LastIndexByte(rest, ']')+1:]
	}
	module := ""
	if g.resolver != nil {
		module = g.resolver.module
	}
	return strings.ReplaceAll(strings.TrimPrefix(name, module+"/"), module+"/", "")
}

// above returns how deep SP can be below the top of the stack when a function is entered,
// its return address included, for all that root reaches.
func (g *graph) above(root *function) map[*function]int {
	var order []*function // callers before callees, backwards
	seen := map[*function]bool{}
	var visit func(f *function)
	visit = func(f *function) {
		seen[f] = true
		for _, e := range g.depths[f].edges {
			if !seen[e.to] {
				visit(e.to)
			}
		}
		order = append(order, f)
	}
	visit(root)
	most := map[*function]int{root: 0}
	for i := len(order) - 1; i >= 0; i-- {
		f := order[i]
		for _, e := range g.depths[f].edges {
			most[e.to] = max(most[e.to], most[f]+e.cost())
		}
	}
	return most
}

// A link is a function of a chain, and what it takes of the stack: its frame at the call and
// the return address, or, at the end of the chain, all that it needs.
type link struct {
	function *function
	bytes    int
}

// chain returns the deepest chain from f.
func (g *graph) chain(f *function) []link {
	d := g.depths[f]
	if d.next == nil {
		return []link{{f, d.bytes}}
	}
	return append([]link{{f, d.next.cost()}}, g.chain(d.next.to)...)
}

// unreached returns the functions of the image that no measured chain reaches, and that nothing
// in reviewed.go explains. The linker keeps only what is referred to, so each is a call
// that was overlooked. Methods are another matter: the linker keeps one if a method of its
// name is called through any interface. Such are measured here, as what they call does not recurse either.
func (g *graph) unreached() []*function {
	for _, f := range g.functions {
		if strings.Contains(f.Name, ").") && !isLiteral(f.Name) {
			g.measure(f)
		}
	}
	var list []*function
	for _, f := range g.functions {
		if g.depths[f] == nil && entered[f.Name] == "" && !panics[f.Name] && !inTypes(f.Name) {
			list = append(list, f)
		}
	}
	return list
}

// unseen returns the pairs of type and interface that the image has a table for, though nowhere
// in the sources such a value was seen to be put into such an interface.
func (g *graph) unseen() []string {
	var list []string
	for name := range g.symbols {
		if pair, ok := strings.CutPrefix(name, "go:itab."); ok && !g.resolver.boxed[pair] {
			list = append(list, pair)
		}
	}
	return list
}
