package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWiring prints which capsule of the board is wired to which, and knows some.
func TestWiring(t *testing.T) {
	m, err := load(os.DirFS("../.."), nil)
	require.NoError(t, err)
	all, err := m.typeCheck()
	require.NoError(t, err)
	var lines []string
	found := map[string][]string{}
	for _, p := range all {
		if p.dir == "guest/board/kvm" {
			for _, c := range wiringOf(p).components {
				lines = append(lines, c.String())
				found[c.name] = c.found
			}
		}
	}
	t.Log("\n" + strings.Join(lines, "\n"))
	assert.Greater(t, len(lines), 20)
	assert.Contains(t, lines, "console: uartmux")
	assert.Contains(t, lines, "ipc")
	assert.Equal(t, []string{"uart16550", "virtioconsole"}, found["uartmux"], "what two give by one variable")
	assert.Equal(t, []string{"blockcache", "volume"}, found["kvstore"], "what is in embedded fields, and what functions of the board read")
	assert.Empty(t, found["lowleveldebug"], "text for a person")
}

// TestLineThatConceals: a line of a board's list that does not say what its function uses is a breach.
func TestLineThatConceals(t *testing.T) {
	const text = `//go:build kapsel && kapsel_benchmark

package main

type component struct {
	Name, Uses string
	Init       func() bool
	Clear      func()
}

type lower struct{ n int }

type upper struct{ n *lower }

type board struct {
	lower lower
	upper upper
	given *lower
}

var system board

var list = [...]component{
	{Name: "lower", Init: wireLower, Clear: func() { system.lower = lower{} }},
	{Name: "upper", USES Init: wireUpper, Clear: func() { system.upper = upper{} }},
}

func wireLower() bool { system.given = &system.lower; return true }

func wireUpper() bool { return connect(&system) }

func connect(b *board) bool { b.upper.n = READ; return true }
`
	for _, c := range []struct{ name, uses, read, breach string }{
		{"said", `Uses: "lower",`, "&b.lower", ""},
		{"not said", "", "&b.lower", "upper uses lower"},
		{"another said", `Uses: "other",`, "&b.lower", "upper uses lower"},
		{"by what is given", "", "b.given", "upper uses lower"},
		{"nothing used", "", "nil", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := strings.NewReplacer("USES", c.uses, "READ", c.read).Replace(text)
			status, _, errs := checkTree(t, map[string]string{"guest/board/kvm/list.go": source})
			if c.breach == "" {
				require.Zero(t, status, errs)
				return
			}
			assert.Equal(t, 1, status)
			assert.Contains(t, errs, "guest/board/kvm/list.go:25: "+c.breach+": "+string(ruleWiring))
		})
	}
}
