package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// injected is this module's capsules with points, made once.
func injected(t *testing.T) *injector {
	t.Helper()
	t.Chdir("../..") // the importer finds the module there
	in, err := newInjector(".")
	require.NoError(t, err)
	require.NoError(t, in.injectAll())
	return in
}

func TestPoints(t *testing.T) {
	in := injected(t)
	list := in.list()
	for _, want := range []string{
		" entry console Console.Command ",
		" entry uartmux Mux.Transmitted ",
		" entry alarm Alarm.set ",  // the function that it enters its grant with
		" entry virtio Transport.", // the drivers' library
		" done uartmux ",           // it tells a client
		" buffer uartmux ",         // it hands a buffer to the line
		" buffer virtiorng ",       // it hands a buffer to its client
		" entry blockcache Cache.HandleDeferredCall ",
	} {
		require.True(t, strings.Contains(list, want), want)
	}
	for _, not := range []string{".Init ", "SetTransmitClient", ".Slots "} {
		require.False(t, strings.Contains(list, not), not+": "+"wiring is done before there is anything to contain")
	}

	// Each exported method of each capsule is a point, but for wiring.
	for name, text := range in.sources {
		f, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !fn.Name.IsExported() || strings.HasPrefix(fn.Name.Name, "Set") ||
				fn.Name.Name == "Init" || fn.Name.Name == "Slots" {
				continue
			}
			want := " entry " + filepath.Base(filepath.Dir(name)) + " " + nameOf(fn) + " " + name + ":"
			require.True(t, strings.Contains(list, want), want)
		}
	}

	// What comes out is Go, in the same lines.
	for name, text := range in.texts() {
		_, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err)
		if source, ok := in.sources[name]; ok {
			require.Equal(t, bytes.Count(source, []byte("\n")), bytes.Count(text, []byte("\n")), name)
		}
	}
}

func TestFolderThatIsNotEmpty(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o644))
	require.ErrorContains(t, run("../..", dir), "is not empty")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestAnotherFolder(t *testing.T) {
	require.ErrorContains(t, run(t.TempDir(), t.TempDir()), "not the root of module kapsel")
}

func TestWiring(t *testing.T) {
	lines, err := wiring("../..")
	require.NoError(t, err)
	require.Contains(t, lines, "\nconsole uartmux\n")
	require.Contains(t, lines, "\nipc\n")
}
