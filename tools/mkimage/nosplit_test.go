package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tools/pclntab"
)

func TestMarkNosplit(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
		want       string
	}{
		{"in a comment's place", "package p\n\n// f does.\nfunc f() {}\n", 4, "package p\n\n//go:nosplit\nfunc f() {}\n"},
		{"in a blank line's", "package p\n\nfunc f() {}\n", 3, "package p\n//go:nosplit\nfunc f() {}\n"},
		{"above other directives", "package p\n\n// f does.\n//\n//go:noinline\nfunc f() {}\n", 6, "package p\n\n// f does.\n//go:nosplit\n//go:noinline\nfunc f() {}\n"},
		{"not in code's place", "package p\nfunc f() {}\n", 2, "package p\nfunc f() {}\n"},
		{"not at a literal", "package p\n\nvar f = func() {}\n", 3, "package p\n\nvar f = func() {}\n"},
		{"not at what the compiler made", "package p\n", 0, "package p\n"},
		{"not behind the end", "package p\n", 9, "package p\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, string(markNosplit([]byte(tt.text), []int{tt.line})))
		})
	}
}

// checkedChain makes functions that call each other, each with a frame and a check.
func checkedChain(frames ...int) (*checkedCode, []*pclntab.Function) {
	c := &checkedCode{byValue: map[uint64]bool{}, calls: map[*pclntab.Function][]stackCall{}, checked: map[*pclntab.Function]bool{},
		room: map[*pclntab.Function]int{}, depths: map[*pclntab.Function]int{}}
	for i, frame := range frames {
		f := &pclntab.Function{Addr: uint64(i), Frame: frame}
		c.functions = append(c.functions, f)
		c.checked[f], c.room[f] = true, uncheckedStack
		if i > 0 {
			caller := c.functions[i-1]
			c.calls[caller] = append(c.calls[caller], stackCall{f, caller.Frame + returnAddress})
		}
	}
	return c, c.functions
}

// A chain of functions without checks ends where the linker's limit would be passed.
func TestChecksEndWhereTheLinkerDoes(t *testing.T) {
	c, f := checkedChain(100, 300, 400, 84)
	c.depth(f[0])
	assert.False(t, c.checked[f[3]])
	assert.False(t, c.checked[f[2]], "400 + 8 + 84")
	assert.True(t, c.checked[f[1]], "300 + 8 + 492 is 8 too much")
	assert.False(t, c.checked[f[0]], "what it calls has a check")
	assert.Equal(t, 100+8+8, c.depths[f[0]])

	c, f = checkedChain(292, 400, 84)
	c.depth(f[0])
	assert.False(t, c.checked[f[0]], "292 + 8 + 492 is the limit")
}

func TestChecksThatStay(t *testing.T) {
	t.Run("of a function that is called by value", func(t *testing.T) {
		c, f := checkedChain(8, 8)
		c.byValue[f[1].Addr] = true
		c.depth(f[0])
		assert.True(t, c.checked[f[1]])
		assert.False(t, c.checked[f[0]])
	})
	t.Run("of functions that call themselves", func(t *testing.T) {
		c, f := checkedChain(8, 8, 8)
		c.calls[f[2]] = append(c.calls[f[2]], stackCall{f[1], 16})
		c.depth(f[0])
		assert.True(t, c.checked[f[2]] || c.checked[f[1]], "one of the two at the least ends the chain")
	})
	t.Run("of one called deep in functions without", func(t *testing.T) {
		c, f := checkedChain(700, 80, 80)
		c.checked[f[0]] = false
		c.leaveRoom()
		assert.Equal(t, uncheckedStack-708, c.room[f[1]])
		c.depth(f[0])
		assert.True(t, c.checked[f[1]], "80 + 8 + 80 do not fit in 84")
		assert.False(t, c.checked[f[2]])
	})
}

// The kernel has a tenth of the checks that it would have, and those that the linker relies on.
func TestKernelHasFewChecks(t *testing.T) {
	f, err := elf.Open(filepath.Join(build(t), "kernel.elf"))
	require.NoError(t, err)
	defer f.Close()
	c, err := newCheckedCode(f)
	require.NoError(t, err)
	checked, declared := 0, 0
	for _, fn := range c.functions {
		if file, _ := fn.At(fn.Addr); !strings.HasPrefix(file, "kapsel/guest/") || fn.Assembly() || strings.Contains(fn.Name, ".func") {
			continue
		}
		declared++
		if c.checked[fn] && !c.byValue[fn.Addr] {
			checked++
		}
	}
	assert.Greater(t, declared, 200)
	assert.Less(t, checked, declared/10, "functions with a check that are called by name alone")
}

// Marked sources keep their lines.
func TestMarksMoveNoLine(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "guest", "kernel", "load.go"))
	require.NoError(t, err)
	var numbers []int
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "func ") {
			numbers = append(numbers, i+1)
		}
	}
	marked := strings.Split(string(markNosplit(text, numbers)), "\n")
	require.Len(t, marked, len(lines))
	for _, n := range numbers {
		assert.Equal(t, lines[n-1], marked[n-1])
	}
	assert.Equal(t, len(numbers), strings.Count(strings.Join(marked, "\n"), "\n//go:nosplit\n"))
}
