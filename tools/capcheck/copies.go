package main

import (
	"go/ast"
	"go/types"
)

// A capsule is lent a copy of what is known of a task, which the kernel clears when it is of no use any more: what it points to becomes
// something else when the task is unloaded. A copy that the capsule makes would not be cleared.

// checkCopies finds copies of a kernel.Task, or of what holds one.
func (m *module) checkCopies(t *typed) []breach {
	var found []breach
	copied := func(e ast.Expr) {
		value := t.info.Types[e]
		if _, made := ast.Unparen(e).(*ast.CompositeLit); !made && value.IsValue() && m.holdsTask(value.Type) {
			found = append(found, m.breach(e.Pos(), ruleCopy, "a copy of %s", types.TypeString(value.Type, types.RelativeTo(t.types))))
		}
	}
	for _, file := range t.syntax {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				each(n.Rhs, copied)
			case *ast.ValueSpec:
				each(n.Values, copied)
			case *ast.ReturnStmt:
				each(n.Results, copied)
			case *ast.CallExpr:
				each(n.Args, copied)
			case *ast.CompositeLit:
				each(n.Elts, copied)
			case *ast.KeyValueExpr:
				copied(n.Value)
			case *ast.RangeStmt:
				if value, ok := n.Value.(*ast.Ident); ok && t.info.Defs[value] != nil && m.holdsTask(t.info.Defs[value].Type()) {
					found = append(found, m.breach(value.Pos(), ruleCopy, "a copy of each element in %s", value.Name))
				}
			case *ast.SelectorExpr:
				if s := t.info.Selections[n]; s != nil && s.Kind() != types.FieldVal && m.receivesTask(s.Obj()) {
					found = append(found, m.breach(n.Sel.Pos(), ruleCopy, "a copy as receiver of %s", n.Sel.Name))
				}
			}
			return true
		})
	}
	return found
}

func each(all []ast.Expr, visit func(ast.Expr)) {
	for _, e := range all {
		visit(e)
	}
}

// receivesTask reports whether a method's receiver is a value that holds a task.
func (m *module) receivesTask(method types.Object) bool {
	f, ok := method.(*types.Func)
	return ok && f.Signature().Recv() != nil && m.holdsTask(f.Signature().Recv().Type())
}

// holdsTask reports whether a value of a type is a kernel.Task, or has one in it.
func (m *module) holdsTask(t types.Type) bool {
	if named, ok := t.(*types.Named); ok && named.Obj().Name() == "Task" && m.dirOf(named.Obj()) == "guest/kernel" {
		return true
	}
	switch u := t.Underlying().(type) {
	case *types.Array:
		return m.holdsTask(u.Elem())
	case *types.Struct:
		for field := range u.Fields() {
			if m.holdsTask(field.Type()) {
				return true
			}
		}
	}
	return false
}
