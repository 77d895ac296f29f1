package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// boardList is where the board lists its capsules.
const boardList = "guest/board/kvm/capsules.go"

// wiring is the board's list: a line for each capsule, with those that it uses behind its name.
func wiring(root string) (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, boardList), nil, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	ast.Inspect(f, func(n ast.Node) bool {
		if line, ok := n.(*ast.CompositeLit); ok {
			if name := field(line, "Name"); name != "" {
				lines.WriteString(strings.TrimSpace(name+" "+field(line, "Uses")) + "\n")
			}
		}
		return true
	})
	if lines.Len() == 0 {
		return "", errors.New(boardList + " lists no capsules: its lines have a Name")
	}
	return lines.String(), nil
}

// field is the string that a literal gives a field, or "".
func field(literal *ast.CompositeLit, name string) string {
	for _, e := range literal.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, _ := kv.Key.(*ast.Ident)
		value, _ := kv.Value.(*ast.BasicLit)
		if key != nil && value != nil && key.Name == name && value.Kind == token.STRING {
			s, _ := strconv.Unquote(value.Value)
			return s
		}
	}
	return ""
}
