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
				found[c.Name] = c.found
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
	Plain      *lower
}

type lower struct{ n int }

type upper struct{ n *lower }

type board struct {
	lower lower
	plain lower
	upper upper
	given *lower
}

var system board

var list = [...]component{
	{Name: "lower", Init: wireLower, Clear: func() { system.lower = lower{} }},
	LINE
	{Name: "upper", USES Init: wireUpper, Clear: func() { system.upper = upper{} }},
}

func wireLower() bool { system.given = &system.lower; return true }

func wireUpper() bool { return connect(&system) }

func connect(b *board) bool { b.upper.n = READ; return true }
`
	for _, c := range []struct{ name, line, uses, read, breach string }{
		{"said", "", `Uses: "lower",`, "&b.lower", ""},
		{"not said", "", "", "&b.lower", "upper uses lower"},
		{"another said", "", `Uses: "other",`, "&b.lower", "upper uses lower"},
		{"not in the list", "", `Uses: "lower other",`, "&b.lower", "upper uses other, which the list does not have before it"},
		{"itself", "", `Uses: "lower upper",`, "&b.lower", "upper uses upper, which the list does not have before it"},
		{"by what is given", "", "", "b.given", "upper uses lower"},
		{"nothing used", "", "", "nil", ""},
		{"a plain one, said", `{Name: "plain", Plain: &system.plain},`, `Uses: "plain",`, "&b.plain", ""},
		{"a plain one, not said", `{Name: "plain", Plain: &system.plain},`, "", "&b.plain", "upper uses plain"},
		{"a plain one that nobody can name", `{Name: "plain", Plain: &lower{}},`, `Uses: "plain",`, "nil", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := strings.NewReplacer("LINE", c.line, "USES", c.uses, "READ", c.read).Replace(text)
			status, _, errs := checkTree(t, map[string]string{"guest/board/kvm/list.go": source})
			if c.breach == "" {
				require.Zero(t, status, errs)
				return
			}
			assert.Equal(t, 1, status)
			assert.Contains(t, errs, "guest/board/kvm/list.go:28: "+c.breach+": "+string(ruleWiring))
		})
	}
}

// TestLineOfWhichNothingIsKnown: a line that the proof of the wiring cannot follow is a breach.
func TestLineOfWhichNothingIsKnown(t *testing.T) {
	const text = `//go:build kapsel && kapsel_benchmark

package main

type component struct {
	Name, Uses string
	Init       func() bool
	Clear      func()
	Plain      *int
}

var list = [...]component{
	{Name: "mux", LINE},
}

func wire() bool { return true }
`
	const unfounded = "mux has no function of the board's as Init, or no Clear"
	for _, c := range []struct{ line, breach string }{
		{"Init: wire, Clear: func() {}", ""},
		{"Init: func() bool { return true }, Clear: func() {}", unfounded},
		{"Init: wire", unfounded},
		{"Clear: func() {}", unfounded},
		{"Plain: new(int)", ""},
		{"Plain: new(int), Init: wire, Clear: func() {}", "mux is Plain, and has more"},
		{`Plain: new(int), Uses: "mux"`, "mux is Plain, and has more"},
	} {
		_, _, errs := checkTree(t, map[string]string{"guest/board/kvm/list.go": strings.Replace(text, "LINE", c.line, 1)})
		if c.breach == "" {
			assert.Empty(t, errs, c.line)
		} else {
			assert.Contains(t, errs, "guest/board/kvm/list.go:13: "+c.breach+": "+string(ruleWiring), c.line)
		}
	}
}

// TestClientsAnswerNothing: a method of a client interface that has a result is a breach.
func TestClientsAnswerNothing(t *testing.T) {
	const text = `package hil

type SourceClient interface {
	Done(n int)
	RESULT
}

type Source interface {
	Size() int
}
`
	for _, c := range []struct{ method, breach string }{
		{"More()", ""},
		{"More() bool", "SourceClient.More"},
	} {
		status, _, errs := checkTree(t, map[string]string{"guest/kernel/hil/source.go": strings.Replace(text, "RESULT", c.method, 1)})
		if c.breach == "" {
			require.Zero(t, status, errs)
			continue
		}
		assert.Equal(t, 1, status)
		assert.Contains(t, errs, "guest/kernel/hil/source.go:5: "+c.breach+": "+string(ruleClient))
	}
}

// TestUpcallsSayWhatTheyEnd: a driver that has upcalls and does not say which of them end an operation is a breach.
func TestUpcallsSayWhatTheyEnd(t *testing.T) {
	const counts = "package kernel\n\ntype SlotCounts struct{ Upcalls, ReadOnly, Ends uint8 }\n"
	for _, c := range []struct {
		fields string
		breach bool
	}{
		{"", false},
		{"ReadOnly: 1", false},
		{"Upcalls: 1, Ends: 0", false},
		{"Upcalls: 1, ReadOnly: 1", true},
	} {
		_, _, errs := checkTree(t, map[string]string{
			"guest/kernel/grant.go":        counts,
			"guest/capsules/led/counts.go": "package led\n\nimport \"kapsel/guest/kernel\"\n\nfunc counts() kernel.SlotCounts { return kernel.SlotCounts{" + c.fields + "} }\n",
		})
		assert.Equal(t, c.breach, strings.Contains(errs, "guest/capsules/led/counts.go:5: SlotCounts without Ends: "+string(ruleEnds)), "%s: %s", c.fields, errs)
	}
}

// TestCopiesOfTasks: a capsule that copies a task, or what holds one, is a breach.
func TestCopiesOfTasks(t *testing.T) {
	const task = "package kernel\n\ntype Task struct{ object []byte }\n\nfunc (t *Task) ID() int { return 0 }\n"
	const text = `package led

import "kapsel/guest/kernel"

type viewer struct {
	seen, other kernel.Task
	all         [2]kernel.Task
}

func (v viewer) look() {}

func take(any, *kernel.Task) {}

func (v *viewer) use() int {
	STATEMENT
	return v.seen.ID()
}
`
	for _, c := range []struct{ statement, breach string }{
		{"take(nil, &v.seen)", ""},
		{"v.seen = kernel.Task{}", ""},
		{"*v = viewer{}", ""},
		{"p := &v.seen; p.ID()", ""},
		{"v.other = v.seen", "a copy of kapsel/guest/kernel.Task"},
		{"copied := v.seen; copied.ID()", "a copy of kapsel/guest/kernel.Task"},
		{"p := &v.seen; v.other = (*p)", "a copy of kapsel/guest/kernel.Task"},
		{"var copied = *v; _ = &copied", "a copy of viewer"},
		{"v.all = [2]kernel.Task{v.seen, {}}", "a copy of kapsel/guest/kernel.Task"},
		{"*v = viewer{other: v.seen}", "a copy of kapsel/guest/kernel.Task"},
		{"take(v.seen, nil)", "a copy of kapsel/guest/kernel.Task"},
		{"for _, each := range &v.all { each.ID() }", "a copy of each element in each"},
		{"v.look()", "a copy as receiver of look"},
		{"func() kernel.Task { return v.seen }()", "a copy of kapsel/guest/kernel.Task"},
	} {
		_, _, errs := checkTree(t, map[string]string{
			"guest/kernel/task.go":         task,
			"guest/capsules/led/viewer.go": strings.Replace(text, "STATEMENT", c.statement, 1),
		})
		if c.breach == "" {
			assert.NotContains(t, errs, string(ruleCopy), c.statement)
		} else {
			assert.Contains(t, errs, "guest/capsules/led/viewer.go:15: "+c.breach+": "+string(ruleCopy), c.statement)
		}
	}
}
