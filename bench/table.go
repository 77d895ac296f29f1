package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/perf/benchmath"
)

// WriteTable writes the run for a person: a header, then a line for each path with a
// column for each unit. Of several boots the figure is the median.
func (r *Run) WriteTable(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Config {
		fmt.Fprintf(&b, "%s: %s\n", f.Key, f.Value)
	}
	r.writeRemarks(&b)
	// Paths with the same units stand together under one head, in the order of their first.
	var heads [][]string
	rows := map[string][][]string{}
	for _, name := range r.Names() {
		units := r.units(name)
		key := strings.Join(units, " ")
		if rows[key] == nil {
			heads = append(heads, units)
		}
		rows[key] = append(rows[key], r.row(name, units))
	}
	for _, units := range heads {
		head := append(append([]string{"path"}, units...), "boots")
		b.WriteByte('\n')
		align(&b, append([][]string{head}, rows[strings.Join(units, " ")]...))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// align writes rows of cells in columns: the first one flush left, the others flush right,
// two spaces between.
func align(b *strings.Builder, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&line, "%-*s", width[i], cell)
			} else {
				fmt.Fprintf(&line, "  %*s", width[i], cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// units returns the units of a path, in order.
func (r *Run) units(name string) []string {
	var units []string
	for i := range r.Results {
		if r.Results[i].Name != name {
			continue
		}
		for _, m := range r.Results[i].Metrics {
			if !slices.Contains(units, m.Unit) {
				units = append(units, m.Unit)
			}
		}
	}
	return units
}

// row is a path's line: its name, a figure for each unit, and of how many boots.
func (r *Run) row(name string, units []string) []string {
	cells := []string{name}
	boots := 0
	for _, unit := range units {
		values := r.Values(name, unit)
		boots = max(boots, len(values))
		cells = append(cells, number(round(center(values))))
	}
	return append(cells, strconv.Itoa(boots))
}

// center returns the median of values, of which there is one at least.
func center(values []float64) float64 {
	return summary(benchmath.AssumeNothing, values).Center
}

func summary(a benchmath.Assumption, values []float64) benchmath.Summary {
	return a.Summary(sample(values), confidence)
}

// confidence is the level of the intervals that comparisons show.
const confidence = 0.95

func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
}
