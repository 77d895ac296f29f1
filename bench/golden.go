package bench

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Golden is the counts that the repository keeps: of each path its instructions under
// QEMU's emulator, which are the same each time, the smallest memory, and what the kernel
// takes.
type Golden struct {
	Accel string // what counted, as in a run's header; "" if the file does not say
	Rows  []GoldenRow
}

// A GoldenRow is one count.
type GoldenRow struct {
	Name  string
	Value float64
	Unit  string // without "/op"
}

// Tolerance is how much a count may differ from the golden one: 2 %.
const Tolerance = 0.02

// goldenUnits are the metrics that a golden file keeps, with their units there. A path has one.
var goldenUnits = map[string]string{"instructions/op": "instructions", "KiB": "KiB", "bytes": "bytes"}

// NewGolden takes the counts out of a run, of which every path has one.
func NewGolden(r *Run) (*Golden, error) {
	g := &Golden{Accel: r.Fact("accel")}
	for _, name := range r.Names() {
		row := GoldenRow{Name: name}
		for metric, unit := range goldenUnits {
			for _, v := range r.Values(name, metric) {
				if row.Unit != "" && row.Value != v {
					return nil, fmt.Errorf("%s is %s in one boot and %s in another: a golden count is the same each time", name, number(row.Value), number(v))
				}
				row.Value, row.Unit = v, unit
			}
		}
		if row.Unit == "" {
			return nil, fmt.Errorf("%s has no count that is the same each time", name)
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}

const goldenHead = `# Counts of kapsel bench under QEMU's emulator, one instruction a tick: the same each time.
# What grows by more than 2 % fails scripts/test, unless this file changes with it:
#   build/kapsel bench --golden bench/golden.txt --update
`

// goldenAccel begins the line that says what counted.
const goldenAccel = "# accel: "

// Write writes the file.
func (g *Golden) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString(goldenHead + goldenAccel + g.Accel + "\n")
	var rows [][]string
	for _, row := range g.Rows {
		rows = append(rows, []string{row.Name, number(row.Value), row.Unit})
	}
	align(&b, rows)
	_, err := io.WriteString(w, b.String())
	return err
}

// ReadGolden reads the file: lines of name, value and unit, comments with #.
func ReadGolden(file io.Reader) (*Golden, error) {
	g := new(Golden)
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		if accel, found := strings.CutPrefix(lines.Text(), goldenAccel); found {
			g.Accel = accel
		}
		text, _, _ := strings.Cut(lines.Text(), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("line %d: want a name, a number and a unit, found %q", n, text)
		}
		value, err := strconv.ParseFloat(f[1], 64)
		if err != nil || checkValue(value) != nil {
			return nil, fmt.Errorf("line %d: want a number, found %q", n, f[1])
		}
		if seen[f[0]] {
			return nil, fmt.Errorf("line %d: %s stands twice", n, f[0])
		}
		seen[f[0]] = true
		g.Rows = append(g.Rows, GoldenRow{f[0], value, f[2]})
	}
	return g, lines.Err()
}

// Check compares a run's counts with the golden ones. failures are what must not be: more
// than Tolerance above, a path that is missing or new. notes are paths that became smaller
// by more than Tolerance: no failure, but the file should follow.
func (g *Golden) Check(now *Golden) (failures, notes []string) {
	is := map[string]GoldenRow{}
	for _, row := range now.Rows {
		is[row.Name] = row
	}
	for _, was := range g.Rows {
		row, found := is[was.Name]
		delete(is, was.Name)
		switch change := relative(was.Value, row.Value); {
		case !found:
			failures = append(failures, fmt.Sprintf("%s: gone, golden %s %s", was.Name, number(was.Value), was.Unit))
		case row.Unit != was.Unit:
			failures = append(failures, fmt.Sprintf("%s: counts %s, golden %s", was.Name, row.Unit, was.Unit))
		case change > Tolerance:
			failures = append(failures, row.changed(was, change))
		case change < -Tolerance:
			notes = append(notes, row.changed(was, change))
		}
	}
	for _, row := range now.Rows {
		if _, isNew := is[row.Name]; isNew {
			failures = append(failures, fmt.Sprintf("%s: %s %s, not in the golden file", row.Name, number(row.Value), row.Unit))
		}
	}
	return failures, notes
}

func (row GoldenRow) changed(was GoldenRow, change float64) string {
	return fmt.Sprintf("%s: %s %s, golden %s: %+.1f %%", row.Name, number(row.Value), row.Unit, number(was.Value), 100*change)
}

// relative is the change as a part of the old value. From nothing anything is a whole;
// from a negative value, which subtracting the base may leave, the size counts.
func relative(was, is float64) float64 {
	switch {
	case was == is:
		return 0
	case was == 0:
		return is / abs(is)
	}
	return (is - was) / abs(was)
}

func abs(x float64) float64 {
	if x < 0 {
		return -x
	}
	return x
}
