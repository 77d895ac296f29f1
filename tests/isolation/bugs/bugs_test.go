package bugs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAllTestsExist: every test that the list names is in the sources.
func TestAllTestsExist(t *testing.T) {
	known := map[string]map[string]bool{}
	for _, bug := range All {
		assert.NotEmpty(t, bug.Tests, bug.Report)
		for _, test := range bug.Tests {
			if known[test.Package] == nil {
				known[test.Package] = tests(t, test.Package)
			}
			assert.True(t, known[test.Package][test.Name], "%s: there is no %s in %s", bug.Report, test.Name, test.Package)
		}
	}
}

// tests are the functions in the test files of a package.
func tests(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "..", filepath.FromSlash(pkg), "*_test.go"))
	require.NoError(t, err)
	found := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[fn.Name.Name] = true
			}
		}
	}
	return found
}
