package bench

import (
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/perf/benchmath"
)

// enoughBoots is how many boots of each side the Mann-Whitney U test needs to find any
// difference at all.
const enoughBoots = 4

// WriteComparison writes what changed from old to new: a table for each unit, with the
// median of all boots, its spread, the change, and what the change is worth. As benchstat
// does it shows "~" where a difference may be chance (Mann-Whitney U test, 5 %). With too few
// boots for that test it shows every change; the counts of QEMU's emulator are exact.
func WriteComparison(w io.Writer, old, new *Run) error {
	var b strings.Builder
	writeFacts(&b, old, new)
	few := false
	for _, unit := range allUnits(old, new) {
		rows := [][]string{{unit, "old", "", "new", "", "change", ""}}
		for _, name := range allNames(old, new) {
			c := comparison{old.Values(name, unit), new.Values(name, unit), exact(old) && exact(new)}
			if cells := c.cells(); cells != nil {
				rows = append(rows, append([]string{name}, cells...))
				few = few || c.few()
			}
		}
		b.WriteByte('\n')
		align(&b, rows)
	}
	if few {
		fmt.Fprintf(&b, "\nNot tested: fewer than %d boots on a side cannot tell a change from chance. Measure with --count 6 or more.\n", enoughBoots)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// exact reports whether all figures of a run are counts that do not vary.
func exact(r *Run) bool { return strings.HasPrefix(r.Fact("accel"), "qemu") }

// writeFacts writes the header's lines that differ: what was measured on different
// machines may not be comparable.
func writeFacts(b *strings.Builder, old, new *Run) {
	var keys []string
	for _, r := range []*Run{old, new} {
		for _, f := range r.Config {
			keys = appendNew(keys, f.Key)
		}
	}
	for _, key := range keys {
		if was, is := old.Fact(key), new.Fact(key); was != is {
			fmt.Fprintf(b, "%s: old %s, new %s\n", key, orNothing(was), orNothing(is))
		}
	}
}

func orNothing(text string) string {
	if text == "" {
		return "(not given)"
	}
	return text
}

// allNames returns the paths of both runs: old's, then what only new has.
func allNames(old, new *Run) []string {
	names := old.Names()
	for _, name := range new.Names() {
		names = appendNew(names, name)
	}
	return names
}

func allUnits(old, new *Run) []string {
	var units []string
	for _, r := range []*Run{old, new} {
		for _, name := range r.Names() {
			for _, unit := range r.units(name) {
				units = appendNew(units, unit)
			}
		}
	}
	return units
}

func appendNew(list []string, text string) []string {
	for _, t := range list {
		if t == text {
			return list
		}
	}
	return append(list, text)
}

// comparison is the figures of a path in one unit, a figure for each boot.
type comparison struct {
	old, new []float64
	exact    bool
}

// few reports whether there are too few figures to test.
func (c comparison) few() bool {
	return !c.exact && len(c.old) > 0 && len(c.new) > 0 && min(len(c.old), len(c.new)) < enoughBoots
}

// cells returns what stands behind a path's name, nil if it has no such figures.
func (c comparison) cells() []string {
	var assume benchmath.Assumption = benchmath.AssumeNothing
	if c.exact {
		assume = benchmath.AssumeExact
	}
	sides := append(side(assume, c.old), side(assume, c.new)...)
	switch {
	case len(c.old) == 0 && len(c.new) == 0:
		return nil
	case len(c.old) == 0:
		return append(sides, "new")
	case len(c.new) == 0:
		return append(sides, "gone")
	}
	was, is := summary(assume, c.old).Center, summary(assume, c.new).Center
	result := assume.Compare(sample(c.old), sample(c.new))
	worth := "(" + result.String() + ")"
	if c.few() {
		result.P = 0 // not tested: the change as it is
		worth = fmt.Sprintf("(n=%d+%d, not tested)", len(c.old), len(c.new))
	}
	return append(sides, result.FormatDelta(was, is), worth)
}

// side is the figures of one run: two cells, the median and its spread, if there are
// enough figures for one.
func side(assume benchmath.Assumption, values []float64) []string {
	if len(values) == 0 {
		return []string{"", ""}
	}
	s := summary(assume, values)
	if math.IsInf(s.Hi-s.Lo, 0) {
		return []string{number(round(s.Center)), ""}
	}
	return []string{number(round(s.Center)), "± " + s.PctRangeString()}
}
