package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tools/pclntab"
)

// lay makes an image of functions that call each other. Each pushes 8 bytes for each unit of its frame,
// then calls, in order.
func lay(t *testing.T, functions ...laid) *graph {
	t.Helper()
	const slot = 64
	img := &image{text: 0x1000, byName: map[string][]*function{}}
	at := map[string]int{}
	for i, l := range functions {
		at[l.name] = i
	}
	for i, l := range functions {
		start := 0x1000 + uint64(i*slot)
		fn := &function{Name: l.name, Addr: start, End: start + slot, Line: i + 1, Frame: 8 * l.words,
			FileNames: map[int32]string{0: "f.go"}, File: pclntab.Table{{End: start + slot, Value: 0}}}
		var body []byte
		for n := range l.words {
			body = append(body, 0x50) // push rax
			fn.SP = append(fn.SP, pclntab.Range{End: start + uint64(n) + 1, Value: int32(8 * n)})
		}
		fn.SP = append(fn.SP, pclntab.Range{End: start + slot, Value: int32(8 * l.words)})
		for _, callee := range l.calls {
			next := i*slot + len(body) + 5
			rel := uint32(int32(at[callee]*slot - next))
			body = append(body, 0xe8, byte(rel), byte(rel>>8), byte(rel>>16), byte(rel>>24))
		}
		require.LessOrEqual(t, len(body), slot)
		for len(body) < slot {
			body = append(body, 0x90)
		}
		img.code = append(img.code, body...)
		img.functions = append(img.functions, fn)
		img.byName[l.name] = []*function{fn}
	}
	return &graph{image: img}
}

type laid struct {
	name  string
	words int
	calls []string
}

func TestDepth(t *testing.T) {
	g := lay(t,
		laid{"root", 2, []string{"shallow", "deep"}},
		laid{"shallow", 10, nil},
		laid{"deep", 1, []string{"middle"}},
		laid{"middle", 3, []string{"leaf", "runtime.gopanic"}},
		laid{"leaf", 8, nil},
		laid{"runtime.gopanic", 40, []string{"runtime.fatal"}},
		laid{"runtime.fatal", 5, nil},
	)
	root, leaf := g.functions[0], g.functions[4]
	assert.Equal(t, (2+1)*8+(1+1)*8+(3+1)*8+8*8, g.measure(root).bytes)
	assert.Equal(t, []link{{root, 24}, {g.functions[2], 16}, {g.functions[3], 32}, {leaf, 64}}, g.chain(root))
	assert.Equal(t, 24+16+32, g.above(root)[leaf])
	assert.Nil(t, g.depths[g.functions[5]], "a panic is no part of the chain")
	assert.Equal(t, (40+1)*8+5*8, g.measure(g.functions[5]).bytes, "but what it calls is part of it")
	assert.Empty(t, g.problems)
}

func TestAboveTakesTheDeepestWay(t *testing.T) {
	g := lay(t,
		laid{"root", 0, []string{"shared", "long"}},
		laid{"long", 9, []string{"shared"}},
		laid{"shared", 1, nil},
	)
	g.measure(g.functions[0])
	assert.Equal(t, 8+9*8+8, g.above(g.functions[0])[g.functions[2]])
}

func TestRecursion(t *testing.T) {
	for name, tt := range map[string]struct {
		functions []laid
		want      string
	}{
		"itself":  {[]laid{{"f", 1, []string{"f"}}}, "f.go:1: recursion, and the stack is of fixed size: f calls f"},
		"a cycle": {[]laid{{"root", 1, []string{"a"}}, {"a", 1, []string{"b"}}, {"b", 1, []string{"a"}}}, "f.go:2: recursion, and the stack is of fixed size: a calls b calls a"},
	} {
		t.Run(name, func(t *testing.T) {
			g := lay(t, tt.functions...)
			g.measure(g.functions[0])
			assert.Equal(t, []string{tt.want}, g.problems)
		})
	}
}
