package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onlyEvents are the capsules of whose upcalls none ends an operation.
var onlyEvents = map[string]bool{"button": true, "gpio": true, "ipc": true}

// TestDriversSayWhatEndsOperations: a driver with upcalls declares which of them end an operation, so that the tasks that wait for one are
// told when the capsule fails.
func TestDriversSayWhatEndsOperations(t *testing.T) {
	files, err := filepath.Glob("../../guest/capsules/*/*.go")
	require.NoError(t, err)
	found := 0
	for _, path := range files {
		capsule := filepath.Base(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") || onlyEvents[capsule] {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			counts, ok := n.(*ast.CompositeLit)
			if !ok || !isSlotCounts(counts.Type) || !hasKey(counts, "Upcalls") {
				return true
			}
			found++
			assert.True(t, hasKey(counts, "Ends"), "%s: its SlotCounts have Upcalls and no Ends", path)
			return true
		})
	}
	assert.Greater(t, found, 15, "drivers with upcalls")
}

func isSlotCounts(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "SlotCounts"
}

func hasKey(literal *ast.CompositeLit, name string) bool {
	for _, e := range literal.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == name {
				return true
			}
		}
	}
	return false
}
