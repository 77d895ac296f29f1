package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMeasureCountsCode(t *testing.T) {
	_, out, _ := checkTree(t, nil)
	lines := strings.Split(out, "\n")
	require.NotEmpty(t, lines)
	assert.Equal(t, strings.Fields("package kind lines unsafe share"), strings.Fields(lines[0]))
	for _, want := range []string{
		"guest/mmio trusted 11 4 36.4 %", // two lines name unsafe, two are assembly
		"guest/kernel kernel 10 2 20.0 %",
		"guest/capsules/led capsule 20 0 0.0 %",
		"guest/runtime trusted 3 0 0.0 %", // heap_task is part of tasks, not of the kernel
		"total 80 7 8.8 %",
	} {
		assert.Contains(t, rows(lines), want)
	}
	assert.NotContains(t, out, "guest/task")
	assert.NotContains(t, out, "vmm")
}

// rows joins the cells of each line by single spaces.
func rows(lines []string) []string {
	var joined []string
	for _, line := range lines {
		joined = append(joined, strings.Join(strings.Fields(line), " "))
	}
	return joined
}

func TestCodeLines(t *testing.T) {
	text := "// Package p.\npackage p\n\n/* one\ntwo */\nconst s = `a\nb\n\nc` // end\n\nfunc f() {\n\t// nothing\n}\n"
	assert.Len(t, codeLines([]byte(text)), 7, "package, four of the raw string, two of f")
}

func TestAssemblyLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"empty", "", 0},
		{"comments and blanks", "// a\n\n\t// b\n", 0},
		{"code before a comment", "\tRET // back\n", 1},
		{"block comment over lines", "/* a\nb\nc */\nRET\n", 1},
		{"code around block comments", "a /* b */ c /* d\n */ e\n", 2},
		{"a slash that divides", "MOVQ $(16/4), AX\n", 1},
		{"the symbols of Go", "CALL kapsel∕guest·f(SB)\n", 1},
		{"line comment hides a block's begin", "// /* a\nRET\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, assemblyLines(c.text))
		})
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	table{{dir: "guest/abi", kind: kernel, lines: 200}, {dir: "guest/mmio", kind: trusted, lines: 50, unsafe: 25}}.printMarkdown(&b)
	assert.Equal(t, `| package | kind | lines | unsafe | share |
|---|---|---:|---:|---:|
| guest/abi | kernel | 200 | 0 | 0.0 % |
| guest/mmio | trusted | 50 | 25 | 50.0 % |
| total |  | 250 | 25 | 10.0 % |

`+note+"\n", b.String())
}
