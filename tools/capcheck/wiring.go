package main

import (
	"fmt"
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"kapsel/tools/boardlist"
)

// A board lists its capsules, and of each what it uses (kernel.Component). What falls with a capsule that fails follows from that, so
// it has to be true: what the function of a line reads of the board belongs to capsules that the line names.

// A component is a line of a board's list.
type component struct {
	boardlist.Line
	found []string // what it uses, as the function that makes it does
	init  *types.Func
	owns  map[*types.Var]bool // the board's fields that Clear clears
	gives map[*types.Var]bool // the board's fields that Init sets, and others read
}

// A wiring is a board's list and its functions.
type wiring struct {
	*typed
	bodies     map[*types.Func]*ast.BlockStmt
	components []*component
}

// wiringOf reads the list of a board, which has no lines if it has no list.
func wiringOf(t *typed) *wiring {
	w := &wiring{typed: t, bodies: map[*types.Func]*ast.BlockStmt{}}
	for _, file := range t.syntax {
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				w.bodies[t.info.Defs[fn.Name].(*types.Func)] = fn.Body
			}
		}
	}
	for _, file := range t.syntax {
		for _, line := range boardlist.Lines(file) {
			w.line(line)
		}
	}
	for _, c := range w.components {
		w.findUses(c)
	}
	return w
}

// line adds a line of the list. A capsule that is Plain is made of nothing of the board but what the line names.
func (w *wiring) line(l boardlist.Line) {
	c := &component{Line: l, owns: map[*types.Var]bool{}, gives: map[*types.Var]bool{}}
	w.components = append(w.components, c)
	if l.Plain != nil {
		ast.Inspect(l.Plain, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if path := w.path(e); len(path) > 0 {
					c.owns[path[len(path)-1]] = true
					return false
				}
			}
			return true
		})
	}
	if name, ok := l.Init.(*ast.Ident); ok {
		c.init, _ = w.info.Uses[name].(*types.Func)
	}
	if l.Clear != nil {
		w.assigned(l.Clear, c.owns)
	}
	w.reach(c.init, func(body *ast.BlockStmt) { w.assigned(body, c.gives) })
	for field := range c.owns {
		delete(c.gives, field)
	}
}

// wrong says what a line lacks or has too much, or returns "".
func (c *component) wrong() string {
	switch {
	case c.Plain != nil && (c.Init != nil || c.Clear != nil || len(c.Uses)+len(c.With) > 0):
		return "is Plain, and has more"
	case c.Plain == nil && (c.init == nil || c.Clear == nil):
		return "has no function of the board's as Init, or no Clear"
	}
	return ""
}

// reach calls visit with the body of a function of the board and of those that it calls.
func (w *wiring) reach(f *types.Func, visit func(*ast.BlockStmt)) {
	done := map[*types.Func]bool{}
	var from func(*types.Func)
	from = func(f *types.Func) {
		body := w.bodies[f]
		if body == nil || done[f] {
			return
		}
		done[f] = true
		visit(body)
		for _, call := range callsIn(body, &w.info) {
			from(call.callee)
		}
	}
	from(f)
}

// assigned adds the board's fields to which n assigns.
func (w *wiring) assigned(n ast.Node, to map[*types.Var]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			for _, left := range a.Lhs {
				if path := w.path(left); len(path) > 0 {
					to[path[len(path)-1]] = true
				}
			}
		}
		return true
	})
}

// path is the fields of the board's own types by which an expression selects, embedded ones among them.
func (w *wiring) path(e ast.Expr) []*types.Var {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	s := w.info.Selections[selector]
	if s == nil {
		return nil
	}
	var path []*types.Var
	t := s.Recv()
	for _, i := range s.Index() {
		if p, ok := t.Underlying().(*types.Pointer); ok {
			t = p.Elem()
		}
		fields, ok := t.Underlying().(*types.Struct)
		if !ok || i >= fields.NumFields() {
			break // a method
		}
		field := fields.Field(i)
		if field.Pkg() == w.types {
			path = append(path, field)
		}
		t = field.Type()
	}
	return path
}

// findUses finds what a component reads of the board that is another's, or that another gives. To write text for a person is no
// use: nobody waits for what comes of it.
func (w *wiring) findUses(c *component) {
	w.reach(c.init, func(body *ast.BlockStmt) {
		ast.Inspect(body, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			for _, field := range w.path(e) {
				for _, other := range w.components {
					if other != c && (other.owns[field] || other.gives[field] && !c.gives[field]) && !takesText(field.Type()) && !slices.Contains(c.found, other.Name) {
						c.found = append(c.found, other.Name)
					}
				}
			}
			return true
		})
	})
	slices.Sort(c.found)
}

// takesText reports whether a field takes text, as a kernel.Writer does.
func takesText(t types.Type) bool {
	o, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), true, nil, "WriteString")
	_, ok := o.(*types.Func)
	return ok
}

// checkWiring finds components that use what neither their line names, nor the lines of those that it names.
func (m *module) checkWiring(t *typed) []breach {
	var found []breach
	uses := map[string][]string{} // with what those use: the list has them first
	listed := map[string]bool{}
	for _, c := range wiringOf(t).components {
		if wrong := c.wrong(); wrong != "" {
			found = append(found, m.breach(c.Pos, ruleWiring, "%s %s", c.Name, wrong))
		}
		for _, used := range slices.Concat(c.Uses, c.With) {
			if !listed[used] {
				found = append(found, m.breach(c.Pos, ruleWiring, "%s uses %s, which the list does not have before it", c.Name, used))
			}
		}
		if listed[c.Name] {
			found = append(found, m.breach(c.Pos, ruleWiring, "%s is in the list twice", c.Name))
		}
		listed[c.Name] = true
		for _, used := range c.Uses {
			uses[c.Name] = append(append(uses[c.Name], used), uses[used]...)
		}
		for _, used := range c.found {
			if !slices.Contains(uses[c.Name], used) {
				found = append(found, m.breach(c.Pos, ruleWiring, "%s uses %s", c.Name, used))
			}
		}
	}
	return found
}

// checkClients finds methods of client interfaces that have results: a client that fails is cut off, and who called it would take zeros for
// an answer.
func (m *module) checkClients(t *typed) []breach {
	var found []breach
	scope := t.types.Scope()
	for _, name := range scope.Names() {
		client, ok := scope.Lookup(name).Type().Underlying().(*types.Interface)
		if !ok || !strings.HasSuffix(name, "Client") {
			continue
		}
		for method := range client.Methods() {
			if method.Type().(*types.Signature).Results().Len() != 0 {
				found = append(found, m.breach(method.Pos(), ruleClient, "%s.%s", name, method.Name()))
			}
		}
	}
	return found
}

// checkEnds finds drivers that have upcalls and do not say which of them end an operation.
func (m *module) checkEnds(t *typed) []breach {
	var found []breach
	for _, file := range t.syntax {
		ast.Inspect(file, func(n ast.Node) bool {
			counts, ok := n.(*ast.CompositeLit)
			if ok && m.isSlotCounts(t, counts) && has(counts, "Upcalls") && !has(counts, "Ends") {
				found = append(found, m.breach(counts.Pos(), ruleEnds, "SlotCounts without Ends"))
			}
			return true
		})
	}
	return found
}

// isSlotCounts reports whether a literal is a kernel.SlotCounts.
func (m *module) isSlotCounts(t *typed, literal *ast.CompositeLit) bool {
	name, ok := literal.Type.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	o := t.info.Uses[name.Sel]
	return o != nil && o.Name() == "SlotCounts" && m.dirOf(o) == "guest/kernel"
}

// has reports whether a literal gives a field a value by its name.
func has(literal *ast.CompositeLit, field string) bool {
	return slices.ContainsFunc(literal.Elts, func(e ast.Expr) bool {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		key, ok := kv.Key.(*ast.Ident)
		return ok && key.Name == field
	})
}

// String is a line that says what the component uses.
func (c *component) String() string {
	if len(c.Uses) == 0 {
		return c.Name
	}
	return fmt.Sprintf("%s: %s", c.Name, strings.Join(c.Uses, ", "))
}
