package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"

	"kapsel/vmm/image"
)

// Version is the version of the JSON form. It grows when a field changes its meaning.
const Version = 1

// A Run is what a file of results holds. With several boots each path comes once for each.
type Run struct {
	Version  int      `json:"version"`
	Config   []Fact   `json:"config"` // in the order of the header
	Warnings []string `json:"warnings,omitempty"`
	Results  []Result `json:"results"`
	Skipped  []Skip   `json:"skipped,omitempty"`
}

// A Fact is a line of the header: what the figures were made on. Keys have no spaces and
// no capital letters, as Go's benchmark format wants.
type Fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Fact returns a fact of the header, "" if it is not there.
func (r *Run) Fact(key string) string {
	for _, f := range r.Config {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Names returns the names of the paths, in order, each once.
func (r *Run) Names() []string {
	var names []string
	seen := map[string]bool{}
	for i := range r.Results {
		if name := r.Results[i].Name; !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// Values returns a path's figures of one unit, one for each boot that has it.
func (r *Run) Values(name, unit string) []float64 {
	var values []float64
	for i := range r.Results {
		if v, ok := r.Results[i].Metric(unit); ok && r.Results[i].Name == name {
			values = append(values, v)
		}
	}
	return values
}

// Figure returns the median of a path's figures of one unit, if any boot has one.
func (r *Run) Figure(name, unit string) (float64, bool) {
	values := r.Values(name, unit)
	if len(values) == 0 {
		return 0, false
	}
	return round(center(values)), true
}

// Timed reports whether its cycles are those of a processor: the warnings do not say otherwise.
func (r *Run) Timed() bool {
	if r.Fact("kvm") == "" {
		return false
	}
	return !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, noCycles) })
}

// Samples returns a path's samples of all boots, and their unit.
func (r *Run) Samples(name string) (Distribution, string) {
	var samples []Sample
	unit := ""
	for i := range r.Results {
		if r.Results[i].Name == name && len(r.Results[i].Samples) > 0 {
			samples = append(samples, r.Results[i].Samples...)
			unit = r.Results[i].SampleUnit
		}
	}
	return Distribute(samples), unit
}

// WriteText writes Go benchmark format (https://go.dev/design/14313-benchmark-format),
// which benchstat reads. Warnings and skipped paths are lines that it passes over.
func (r *Run) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Config {
		fmt.Fprintf(&b, "%s: %s\n", f.Key, f.Value)
	}
	r.writeRemarks(&b)
	for _, x := range r.Results {
		fmt.Fprintf(&b, "Benchmark%s\t%d", x.Name, x.Ops)
		for _, m := range x.Metrics {
			fmt.Fprintf(&b, "\t%s %s", number(m.Value), m.Unit)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeRemarks writes what a person should know.
func (r *Run) writeRemarks(b *strings.Builder) {
	for _, text := range r.Warnings {
		fmt.Fprintf(b, "# warning: %s\n", text)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(b, "# skipped %s: %s\n", s.Name, s.Reason)
	}
}

// number writes a figure with the decimals that it has.
func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// WriteJSON writes the run with all samples, as docs/benchmarks.md describes.
func (r *Run) WriteJSON(w io.Writer) error {
	r.Version = Version
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// MarshalJSON writes [value, count].
func (s Sample) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", s.Value, s.Count), nil
}

// UnmarshalJSON reads [value, count].
func (s *Sample) UnmarshalJSON(text []byte) error {
	var pair []json.Number
	if err := json.Unmarshal(text, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("want a sample as [value, count], found %.40q", text)
	}
	value, err1 := strconv.ParseInt(pair[0].String(), 10, 64)
	count, err2 := strconv.ParseUint(pair[1].String(), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("want a sample of two whole numbers: %w", err)
	}
	*s = Sample{value, count}
	return nil
}

// ReadFile reads a run from a file in either form.
func ReadFile(path string) (*Run, error) {
	content, err := image.ReadFile(context.Background(), path)
	if err != nil {
		return nil, err
	}
	r, err := Read(content)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return r, nil
}

// Read reads a run in either form: JSON begins with a brace. What is in text form has no samples, and
// may be of any program that writes Go benchmark format.
func Read(content []byte) (*Run, error) {
	read := readText
	if trimmed := bytes.TrimSpace(content); len(trimmed) > 0 && trimmed[0] == '{' {
		read = readJSON
	}
	r, err := read(content)
	if err == nil && len(r.Results) == 0 {
		err = errors.New("no results in it: want Go benchmark format, or the JSON of kapsel bench")
	}
	return r, err
}

// maxValue bounds figures, so that no median, ratio or rounding of them overflows.
const maxValue = 1e300

// checkValue refuses a figure that nothing can be compared with.
func checkValue(v float64) error {
	if math.Abs(v) <= maxValue { // no NaN is
		return nil
	}
	return fmt.Errorf("want a finite number, at most %g", maxValue)
}

// lineAt is the number of the line at an offset in a file.
func lineAt(content []byte, offset int64) int {
	return 1 + bytes.Count(content[:min(offset, int64(len(content)))], []byte("\n"))
}

// checkNumbers refuses numbers in JSON that are too large. It stops where the syntax is wrong.
func checkNumbers(content []byte) error {
	tokens := json.NewDecoder(bytes.NewReader(content))
	tokens.UseNumber()
	for {
		token, err := tokens.Token()
		if err != nil {
			return nil
		}
		if n, ok := token.(json.Number); ok {
			v, _ := n.Float64() // infinite if it is out of range
			if err := checkValue(v); err != nil {
				return fmt.Errorf("line %d: %w, found %.40q", lineAt(content, tokens.InputOffset()), err, n)
			}
		}
	}
}

func readJSON(content []byte) (*Run, error) {
	if err := checkNumbers(content); err != nil {
		return nil, err
	}
	r := new(Run)
	if err := json.Unmarshal(content, r); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %w", lineAt(content, syntax.Offset), err)
		}
		return nil, err
	}
	if r.Version != Version {
		return nil, fmt.Errorf("version %d of the JSON form, this kapsel reads version %d", r.Version, Version)
	}
	return r, nil
}

func readText(content []byte) (*Run, error) {
	r := &Run{Version: Version}
	lines := strings.Split(string(content), "\n")
	reader := benchfmt.NewReader(bytes.NewReader(content), "")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, fmt.Errorf("line %d: %s in %.80q", record.Line, record.Msg, lines[record.Line-1])
		case *benchfmt.Result:
			if len(r.Results) == 0 {
				for _, c := range record.Config {
					r.Config = append(r.Config, Fact{c.Key, string(c.Value)})
				}
			}
			x := textResult(record)
			for _, m := range x.Metrics {
				if err := checkValue(m.Value); err != nil {
					_, line := record.Pos()
					return nil, fmt.Errorf("line %d: %w, found %g in %.80q", line, err, m.Value, lines[line-1])
				}
			}
			r.Results = append(r.Results, x)
		}
	}
	return r, reader.Err()
}

// textResult is a benchmark line, in the units that it has in the file.
func textResult(record *benchfmt.Result) Result {
	x := Result{Name: string(record.Name.Full()), Ops: uint64(record.Iters)}
	for _, v := range record.Values {
		m := Metric{v.Unit, v.Value}
		if v.OrigUnit != "" {
			m = Metric{v.OrigUnit, v.OrigValue}
		}
		x.Metrics = append(x.Metrics, m)
	}
	return x
}
