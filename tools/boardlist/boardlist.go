// Package boardlist reads a board's list of capsules (kernel.Component) from its source.
package boardlist

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// A Line is a line of the list. What it does not have is nil.
type Line struct {
	Name               string
	Uses, With         []string
	Init, Clear, Plain ast.Expr
	Pos                token.Pos
}

// Lines are the lines in a file: the literals that have a name, and say how what has it is made or cleared.
func Lines(file *ast.File) (lines []Line) {
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.CompositeLit); ok {
			if l := line(literal); l.Name != "" && (l.Init != nil || l.Clear != nil || l.Plain != nil) {
				lines = append(lines, l)
			}
		}
		return true
	})
	return lines
}

func line(literal *ast.CompositeLit) Line {
	l := Line{Pos: literal.Pos()}
	for _, e := range literal.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, _ := kv.Key.(*ast.Ident)
		if key == nil {
			continue
		}
		switch key.Name {
		case "Name":
			l.Name = text(kv.Value)
		case "Uses":
			l.Uses = strings.Fields(text(kv.Value))
		case "With":
			l.With = strings.Fields(text(kv.Value))
		case "Init":
			l.Init = kv.Value
		case "Clear":
			l.Clear = kv.Value
		case "Plain":
			l.Plain = kv.Value
		}
	}
	return l
}

// text is the value of a string literal, or "".
func text(e ast.Expr) string {
	if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
		s, _ := strconv.Unquote(literal.Value)
		return s
	}
	return ""
}
