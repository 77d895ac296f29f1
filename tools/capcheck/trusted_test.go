package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// treeWithDoc is the sound tree with another document.
func treeWithDoc(change func(string) string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range sound {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	root[trustedDoc] = &fstest.MapFile{Data: []byte(change(sound[trustedDoc]))}
	return root
}

// TestTrustedListIsTheDocument: the document's table is what is found, to the line, and -update makes it so.
func TestTrustedListIsTheDocument(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		status         int
		says           string
	}{
		{"a line less", "| guest/mmio | 11 |", "| guest/mmio | 10 |", 1, "its table is not what is trusted"},
		{"a file less", "cpu.go, halts.go", "cpu.go", 1, "its table is not what is trusted"},
		{"a package less", "| guest/runtime | 3 | 3 | stub.go |\n", "", 1, "its table is not what is trusted"},
		{"a package more", "| total |", "| guest/extra | 1 | 1 | x.go |\n| total |", 1, "its table is not what is trusted"},
		{"a package of which nothing is said", "### guest/mmio\n", "", 1, `a heading "### guest/mmio" is missing`},
		{"no place for the table", "<!-- end -->", "", 2, "docs/trusted.md has no place for its table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := treeWithDoc(func(doc string) string {
				require.Contains(t, doc, c.old)
				return strings.Replace(doc, c.old, c.new, 1)
			})
			var out, errs bytes.Buffer
			assert.Equal(t, c.status, run(root, false, nil, &out, &errs))
			assert.Contains(t, errs.String(), c.says)
			assert.Empty(t, out.String())

			var updated string
			run(root, false, func(text []byte) error { updated = string(text); return nil }, &out, &errs)
			if strings.Contains(c.says, "table is not") {
				assert.Equal(t, sound[trustedDoc], updated)
			} else {
				assert.Empty(t, updated, "the table is right, or there is none")
			}
		})
	}
}

// TestUnsafeFunctionsSpread: a file is trusted if it uses what a trusted one declares, by however many others; what such files
// use is not.
func TestUnsafeFunctionsSpread(t *testing.T) {
	root := treeWithDoc(func(doc string) string { return doc })
	for name, text := range map[string]string{
		"sleeps.go": "//go:build kapsel\n\npackage amd64\n\nfunc sleeps() { halts(length) }\n",
		"length.go": "package amd64\n\nconst length = 8\n\nfunc triple(n int) int { return n + double(n) }\n",
	} {
		root["guest/arch/amd64/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	m, err := load(root, nil)
	require.NoError(t, err)
	list, err := m.listTrusted()
	require.NoError(t, err)
	assert.Equal(t, trustedRow{"guest/arch/amd64", 14, 19, []string{"cpu.go", "halts.go", "sleeps.go"}}, list[0])
}

func TestTrustedLinesAreFew(t *testing.T) {
	text := "\n### guest/mmio\n"
	assert.Empty(t, judgeTrusted([]trustedRow{{dir: "guest/mmio", trusted: mostTrusted - 1}}, text))
	assert.Len(t, judgeTrusted([]trustedRow{{dir: "guest/mmio", trusted: mostTrusted}}, text), 1)
}

// TestTrustedCodeHasItsTests: each test that docs/trusted.md names is there, in the package that it names.
func TestTrustedCodeHasItsTests(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("../..", trustedDoc))
	require.NoError(t, err)
	named := regexp.MustCompile("`([a-z0-9/]+)((?:\\s(?:Test|Fuzz)[A-Za-z0-9_]+)+)`").FindAllStringSubmatch(string(doc), -1)
	require.NotEmpty(t, named)
	for _, n := range named {
		sources := testsOf(t, filepath.Join("../..", n[1]))
		for _, test := range strings.Fields(n[2]) {
			assert.Contains(t, sources, "func "+test+"(", n[1])
		}
	}
}

// testsOf is the text of a directory's tests.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	files, err := fs.Glob(os.DirFS(dir), "*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f))
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}
