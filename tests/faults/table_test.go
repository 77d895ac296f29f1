package faults

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/inject"
	"kapsel/tests/machine"
)

var write = flag.String("table", "", "the `file` between whose marks the table of what was contained is written")

// A row counts what a capsule was made to do.
type row struct {
	points, reached         int
	injected                [len(columns)]int
	contained, notContained int
}

// columns are the kinds of failures, as the table has them.
var columns = [...]struct {
	name  string
	kinds []inject.Kind
}{
	{"panic", []inject.Kind{inject.Panic}},
	{"index, nil, division", []inject.Kind{inject.Index, inject.Nil, inject.Divide}},
	{"loop", []inject.Kind{inject.Loop}},
	{"wild buffer", []inject.Kind{inject.NoBuffer, inject.Short, inject.Foreign}},
	{"twice", []inject.Kind{inject.Twice}},
}

// A table has a row for each capsule.
type table struct {
	mu   sync.Mutex
	rows map[string]*row
}

func newTable(all []point, reached map[int]place) *table {
	t := &table{rows: map[string]*row{}}
	for _, p := range all {
		r := t.rows[p.capsule]
		if r == nil {
			r = &row{}
			t.rows[p.capsule] = r
		}
		r.points++
		if _, ok := reached[p.number]; ok {
			r.reached++
		}
	}
	return t
}

// add counts a fault.
func (t *table) add(f fault, contained bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[f.capsule]
	for i, c := range columns {
		if slices.Contains(c.kinds, f.kind) {
			r.injected[i]++
		}
	}
	if contained {
		r.contained++
	} else {
		r.notContained++
	}
}

// String is the table, with the sums in its last row.
func (t *table) String() string {
	var b strings.Builder
	names, sum := []string{}, &row{}
	for name, r := range t.rows {
		names = append(names, name)
		sum.plus(r)
	}
	slices.Sort(names)
	b.WriteString("| capsule | points | reached |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString(" contained | not |\n|" + strings.Repeat("---|", 5+len(columns)) + "\n")
	for _, name := range names {
		b.WriteString(t.rows[name].line(name))
	}
	b.WriteString(sum.line("all"))
	return b.String()
}

func (r *row) plus(other *row) {
	r.points += other.points
	r.reached += other.reached
	for i := range r.injected {
		r.injected[i] += other.injected[i]
	}
	r.contained += other.contained
	r.notContained += other.notContained
}

func (r *row) line(name string) string {
	text := fmt.Sprintf("| %s | %d | %d |", name, r.points, r.reached)
	for _, n := range r.injected {
		text += fmt.Sprintf(" %d |", n)
	}
	return text + fmt.Sprintf(" %d | %d |\n", r.contained, r.notContained)
}

// write puts the table into the file that the flag names, if all faults were injected.
func (t *table) write(tb testing.TB) {
	if *write == "" {
		return
	}
	require.True(tb, machine.Nightly(), "the table is of all faults: set KAPSEL_NIGHTLY")
	const begin, end = "<!-- table -->\n", "<!-- end of table -->"
	text, err := os.ReadFile(*write)
	require.NoError(tb, err)
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ends := strings.Cut(rest, end)
	require.True(tb, found && ends, "%s has no marks", *write)
	require.NoError(tb, os.WriteFile(*write, []byte(before+begin+t.String()+end+after), 0o644))
}
