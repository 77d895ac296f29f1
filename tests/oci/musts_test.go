package oci

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A must is a test of something that the specification demands, by the name that docs/oci.md has in its table.
type must struct {
	name string
	test func(t *testing.T, r *runtime)
}

// musts are all of them, in the order of the specification.
var musts = slices.Concat(stateMusts, lifecycleMusts, errorMusts, operationMusts, bundleMusts, configMusts, processMusts, hookMusts, annotationMusts,
	namespaceMusts, cgroupMusts, vmMusts, featureMusts)

// TestMusts shows each MUST of the life cycle that docs/oci.md says is met.
func TestMusts(t *testing.T) {
	asRoot(t)
	for _, m := range musts {
		t.Run(m.name, func(t *testing.T) { m.test(t, start(t)) })
	}
}

// A row is a line of the table in docs/oci.md: where the specification says it, what it says, and the test or why there is none.
type row struct{ where, what, shown string }

// tested is what the third cell of a row is where there is a test.
var tested = regexp.MustCompile("^`([^`]+)`$")

// table reads docs/oci.md's tables of MUSTs, which are those with three columns below "## Conformance".
func table(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "oci.md"))
	require.NoError(t, err)
	_, part, ok := strings.Cut(string(text), "\n## Conformance\n")
	require.True(t, ok, "docs/oci.md has no part \"Conformance\"")
	part, _, _ = strings.Cut(part, "\n## ")
	var rows []row
	for line := range strings.Lines(part) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| section ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		require.Len(t, cells, 3, "docs/oci.md: a row has three cells: %s", line)
		rows = append(rows, row{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])})
	}
	return rows
}

// TestTableOfMusts: each row of docs/oci.md names a test that is there or says why there is none, and each test is in a row.
func TestTableOfMusts(t *testing.T) {
	rows := table(t)
	named := map[string]bool{}
	for _, r := range rows {
		assert.NotEmpty(t, r.where, "docs/oci.md: %s: no section", r.what)
		assert.NotEmpty(t, r.what, "docs/oci.md: %s: says nothing", r.where)
		if m := tested.FindStringSubmatch(r.shown); m != nil {
			named[m[1]] = true
			assert.True(t, slices.ContainsFunc(musts, func(o must) bool { return o.name == m[1] }), "docs/oci.md: %s: no test %q", r.where, m[1])
		} else {
			assert.Greater(t, len(r.shown), 20, "docs/oci.md: %s: %s: neither a test's name in ` nor why there is none", r.where, r.what)
		}
	}
	seen := map[string]bool{}
	for _, m := range musts {
		assert.True(t, named[m.name], "docs/oci.md: no row has the test %q", m.name)
		assert.False(t, seen[m.name], "two tests have the name %q", m.name)
		seen[m.name] = true
	}
}
