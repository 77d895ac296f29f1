package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

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
	lines := map[string][]string{}
	for _, name := range r.Names() {
		units := r.units(name)
		key := strings.Join(units, "\t")
		if lines[key] == nil {
			heads = append(heads, units)
		}
		lines[key] = append(lines[key], r.tableLine(name, units))
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, units := range heads {
		key := strings.Join(units, "\t")
		fmt.Fprintf(t, "\npath\t%s\tboots\t\n", key)
		for _, line := range lines[key] {
			fmt.Fprintln(t, line)
		}
		t.Flush()
	}
	_, err := io.WriteString(w, b.String())
	return err
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

func (r *Run) tableLine(name string, units []string) string {
	line := name
	boots := 0
	for _, unit := range units {
		values := r.Values(name, unit)
		boots = max(boots, len(values))
		line += "\t" + number(center(values))
	}
	return fmt.Sprintf("%s\t%d\t", line, boots)
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
