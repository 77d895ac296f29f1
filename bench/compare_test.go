package bench

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runOf is a run with figures of some paths.
func runOf(accel string, results ...Result) *Run {
	return &Run{Config: []Fact{{"accel", accel}, {"cpu", "one"}}, Results: results}
}

// boots is a path's cycles in so many boots.
func boots(name string, cycles ...float64) []Result {
	var results []Result
	for _, c := range cycles {
		results = append(results, Result{Name: name, Ops: 1, Metrics: []Metric{{"cycles/op", c}}})
	}
	return results
}

func compared(t *testing.T, old, new *Run) string {
	t.Helper()
	return written(t, func(w io.Writer) error { return WriteComparison(w, old, new) })
}

// words of the line that begins with a path's name.
func row(t *testing.T, table, name string) string {
	t.Helper()
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == name {
			return strings.Join(f, " ")
		}
	}
	require.Fail(t, "no such line", "%s in\n%s", name, table)
	return ""
}

func TestComparison(t *testing.T) {
	six := func(x float64) []float64 { return []float64{x, x + 1, x + 2, x, x + 1, x + 2} }
	for _, tt := range []struct {
		name     string
		old, new []float64
		want     string
	}{
		{"slower", six(100), six(120), "P 101 ± 1% 121 ± 1% +19.80% (p=0.002 n=6)"},
		{"the same", six(100), six(100), "P 101 ± 1% 101 ± 1% ~ (p=1.000 n=6)"},
		{"chance", []float64{100, 120, 100, 120, 110, 100}, []float64{101, 119, 103, 121, 105, 99}, "P 105 ± 14% 104 ± 16% ~ (p=0.905 n=6)"},
		{"one boot each", []float64{100}, []float64{90}, "P 100 90 -10.00% (n=1+1, not tested)"},
		{"from nothing", []float64{0}, []float64{5}, "P 0 5 ? (n=1+1, not tested)"},
		{"nothing stays", []float64{0}, []float64{0}, "P 0 0 0.00% (n=1+1, not tested)"},
		{"gone", []float64{5}, nil, "P 5 gone"},
		{"new", nil, []float64{5}, "P 5 new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, new := boots("P", tt.old...), boots("P", tt.new...)
			table := compared(t, runOf("kvm", append(old, boots("Other", 1)...)...), runOf("kvm", append(new, boots("Other", 1)...)...))
			assert.Equal(t, tt.want, row(t, table, "P"))
			assert.Contains(t, table, "Measure with --count 6 or more", "of Other")
		})
	}
}

func TestComparisonOfExactCounts(t *testing.T) {
	table := compared(t, runOf("qemu 7.2.22", boots("P", 100)...), runOf("qemu 7.2.22", boots("P", 101)...))
	assert.Equal(t, "P 100 ± 0% 101 ± 0% +1.00% (n=1)", row(t, table, "P"))
	assert.NotContains(t, table, "Not tested")
}

func TestComparisonNamesWhatDiffers(t *testing.T) {
	old, new := runOf("kvm", boots("P", 1)...), runOf("kvm", boots("P", 1)...)
	assert.NotContains(t, compared(t, old, new), "cpu")
	new.Config[1].Value = "another"
	new.Config = append(new.Config, Fact{"governor", "performance"})
	table := compared(t, old, new)
	assert.Contains(t, table, "cpu: old one, new another\n")
	assert.Contains(t, table, "governor: old (not given), new performance\n")
}

// The two forms of a file compare alike.
func TestComparisonOfBothForms(t *testing.T) {
	r := testRun(t)
	fromText, err := Read([]byte(written(t, r.WriteText)))
	require.NoError(t, err)
	fromJSON, err := Read([]byte(written(t, r.WriteJSON)))
	require.NoError(t, err)
	table := compared(t, fromText, fromJSON)
	golden(t, "compare.golden", table)
	assert.NotContains(t, table, "new\n")
}

func TestGolden(t *testing.T) {
	counts := func(pairs ...any) *Golden {
		g := new(Golden)
		for i := 0; i < len(pairs); i += 2 {
			g.Rows = append(g.Rows, GoldenRow{pairs[i].(string), float64(pairs[i+1].(int)), "instructions"})
		}
		return g
	}
	was := counts("A", 1000, "B", 50, "Zero", 0)
	for _, tt := range []struct {
		name            string
		now             *Golden
		failures, notes []string
	}{
		{"the same", counts("A", 1000, "B", 50, "Zero", 0), nil, nil},
		{"2 % is allowed", counts("A", 1020, "B", 49, "Zero", 0), nil, nil},
		{"more is not", counts("A", 1021, "B", 50, "Zero", 0), []string{"A: 1021 instructions, golden 1000: +2.1 %"}, nil},
		{"less is a note", counts("A", 979, "B", 50, "Zero", 0), nil, []string{"A: 979 instructions, golden 1000: -2.1 %"}},
		{"gone", counts("A", 1000, "Zero", 0), []string{"B: gone, golden 50 instructions"}, nil},
		{"new", counts("A", 1000, "B", 50, "C", 7, "Zero", 0), []string{"C: 7 instructions, not in the golden file"}, nil},
		{"from 0", counts("A", 1000, "B", 50, "Zero", 3), []string{"Zero: 3 instructions, golden 0: +100.0 %"}, nil},
		{"another unit", &Golden{Rows: append(counts("A", 1000, "B", 50).Rows, GoldenRow{"Zero", 0, "KiB"})}, []string{"Zero: counts KiB, golden instructions"}, nil},
		{"all at once, in order", counts("B", 60, "A", 2000, "New", 1), []string{
			"A: 2000 instructions, golden 1000: +100.0 %", "B: 60 instructions, golden 50: +20.0 %",
			"Zero: gone, golden 0 instructions", "New: 1 instructions, not in the golden file"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failures, notes := was.Check(tt.now)
			assert.Equal(t, tt.failures, failures)
			assert.Equal(t, tt.notes, notes)
		})
	}
	failures, notes := counts("N", -10).Check(counts("N", -9))
	assert.Equal(t, []string{"N: -9 instructions, golden -10: +10.0 %"}, failures)
	assert.Empty(t, notes)
}

func TestGoldenFile(t *testing.T) {
	results, _, err := recorded(t).Results(Instructions, nil)
	require.NoError(t, err)
	r := &Run{
		Config: []Fact{{"accel", "qemu 7.2.22, PVH door"}},
		Results: append(results, Result{Name: "SmallestMemory", Metrics: []Metric{{"KiB", 2752}}},
			Result{Name: "KernelText", Metrics: []Metric{{"bytes", 101973}}}),
	}
	g, err := NewGolden(r)
	require.NoError(t, err)
	text := written(t, g.Write)
	golden(t, "golden.golden", text)
	back, err := ReadGolden(strings.NewReader(text))
	require.NoError(t, err)
	assert.Equal(t, g, back)

	r.Results = append(r.Results, r.Results...)
	again, err := NewGolden(r)
	require.NoError(t, err)
	assert.Equal(t, g, again, "two boots")
	r.Results[0].Metrics = []Metric{{"instructions/op", 48501}}
	_, err = NewGolden(r)
	assert.ErrorContains(t, err, "BootMain is 48501 in one boot and 48500 in another")
	_, err = NewGolden(runOf("kvm", boots("P", 1)...))
	assert.ErrorContains(t, err, "P has no count that is the same each time")
}

func TestGoldenFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"A 5":                                "line 1: want a name, a number and a unit",
		"# head\n\nA many instructions":      `line 3: want a number, found "many"`,
		"A 1 instructions\nA 2 instructions": "line 2: A stands twice",
	} {
		_, err := ReadGolden(strings.NewReader(text))
		assert.ErrorContains(t, err, want, fmt.Sprintf("%q", text))
	}
}
