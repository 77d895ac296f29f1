package bench

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// Units of what a path's samples count, and of Result.SampleUnit.
const (
	Cycles       = "cycles"       // ticks of the time-stamp counter
	Instructions = "instructions" // under QEMU with -icount each is one tick
)

// A Result is what was found out about one path in one boot.
type Result struct {
	Name    string   `json:"name"`
	Ops     uint64   `json:"ops"` // operations measured
	Metrics []Metric `json:"metrics"`

	// Samples are single operations, of SampleUnit each; a path without has only Metrics.
	SampleUnit string       `json:"sample_unit,omitempty"`
	Samples    Distribution `json:"samples,omitempty"`
}

// A Metric is a figure. Units are those of Go benchmarks: "cycles/op", "p99-cycles".
type Metric struct {
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Metric returns the figure with a unit, if there is one.
func (r *Result) Metric(unit string) (float64, bool) {
	for _, m := range r.Metrics {
		if m.Unit == unit {
			return m.Value, true
		}
	}
	return 0, false
}

// A Skip is a path that the image could not measure, and why.
type Skip struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// A Span is what the monitor counted between the two marks of a path.
type Span struct {
	UserExits           uint64
	Exits, Instructions vmm.Count
}

// Spans pairs marks. It fails if they are not begin and end in turns.
func Spans(marks []vmm.Mark) ([]Span, error) {
	var spans []Span
	for i, m := range marks {
		want := uint32(abi.MarkBegin)
		if i%2 == 1 {
			want = abi.MarkEnd
		}
		if m.Value != want {
			return nil, fmt.Errorf("mark %d is %d, want %d: begin and end take turns", i+1, m.Value, want)
		}
		if i%2 == 1 {
			spans = append(spans, span(&marks[i-1], &m))
		}
	}
	if len(marks)%2 == 1 {
		return nil, errors.New("the last mark is a begin without an end")
	}
	return spans, nil
}

// span is what lies between two marks: the exit of the second one does not.
func span(begin, end *vmm.Mark) Span {
	return Span{
		UserExits:    max(end.UserExits-begin.UserExits, 1) - 1, // 0 if one string instruction set both
		Exits:        between(begin.Exits, end.Exits, 1),
		Instructions: between(begin.Instructions, end.Instructions, 0),
	}
}

func between(begin, end vmm.Count, own uint64) vmm.Count {
	switch {
	case begin.Err != nil:
		return begin
	case end.Err != nil:
		return end
	case end.N < begin.N+own:
		return vmm.Count{Err: fmt.Errorf("the counter fell from %d to %d", begin.N, end.N)}
	}
	return vmm.Count{N: end.N - begin.N - own}
}

// Results makes figures of what the image printed, in its order: the stages of booting,
// then the paths. unit is what a tick is, Cycles or Instructions. spans are the monitor's:
// one for each path, or for each that was not skipped, or none at all.
func (c *Console) Results(unit string, spans []Span) ([]Result, []Skip, error) {
	if err := c.Err(); err != nil {
		return nil, nil, err
	}
	results, err := c.boot.results(unit)
	if err != nil {
		return nil, nil, err
	}
	var skips []Skip
	var measured []*path
	var ofMeasured []Span // if there is a span for each path
	for i := range c.paths {
		p := &c.paths[i]
		if p.skipped != "" {
			skips = append(skips, Skip{p.name, p.skipped})
			continue
		}
		measured = append(measured, p)
		if len(spans) == len(c.paths) {
			ofMeasured = append(ofMeasured, spans[i])
		}
	}
	if len(ofMeasured) > 0 {
		spans = ofMeasured
	}
	if len(spans) > 0 && len(spans) != len(measured) {
		return nil, nil, fmt.Errorf("the image set %d pairs of marks for %d paths", len(spans), len(measured))
	}
	all := map[string]measurement{}
	for i, p := range measured {
		m := measurement{path: p, samples: Distribute(p.samples)}
		if len(spans) > 0 {
			m.span = &spans[i]
		}
		all[p.name] = m
	}
	for _, p := range measured {
		r, err := all[p.name].result(unit, all)
		if err != nil {
			return nil, nil, err
		}
		results = append(results, r)
	}
	return results, skips, nil
}

// results are the stages of booting that the image told, each from the first instruction. Under
// KVM the counter also tells when that was: it begins at 0 with the virtual processor. Under QEMU it
// has counted the firmware by then.
func (b *boot) results(unit string) ([]Result, error) {
	if !b.stages {
		return nil, nil
	}
	var results []Result
	if unit == Cycles {
		results = append(results, Result{Name: "BootEntered", Ops: 1, Metrics: []Metric{{unit + "/op", float64(b.entered)}}})
	}
	stages := []struct {
		name string
		tick uint64
	}{{"BootMain", b.main}, {"BootLoaded", b.loaded}, {"BootFirstTask", b.firstTask}}
	if !b.task {
		stages = stages[:2]
	}
	for _, s := range stages {
		if s.tick < b.entered {
			return nil, fmt.Errorf("%s at tick %d, before the first instruction at %d", s.name, s.tick, b.entered)
		}
		results = append(results, Result{Name: s.name, Ops: 1, Metrics: []Metric{{unit + "/op", float64(s.tick - b.entered)}}})
	}
	return results, nil
}

// measurement is a path with what the monitor counted, if it did.
type measurement struct {
	path    *path
	samples Distribution
	span    *Span
}

// Bases: what measuring alone takes, for tasks of 64 and of 32 bits.
const (
	base64 = "Empty"
	base32 = "Empty32"
)

// base returns the name of the path to take off, "" for none.
func (p *path) base() string {
	switch {
	case p.noBase, p.name == base64, p.name == base32:
		return ""
	case strings.HasSuffix(p.name, "32"):
		return base32
	}
	return base64
}

// result makes the figures of one path, less those of its base.
func (m measurement) result(unit string, all map[string]measurement) (Result, error) {
	r := Result{Name: m.path.name, Ops: m.path.ops, SampleUnit: unit, Samples: m.samples}
	var base measurement
	if name := m.path.base(); name != "" {
		var found bool
		if base, found = all[name]; !found {
			return r, fmt.Errorf("%s needs the path %s, to know what measuring takes, and the image did not measure it", m.path.name, name)
		}
		r.Samples = m.samples.Minus(base.samples.Median())
	}
	d := r.Samples
	r.Metrics = []Metric{
		{unit + "/op", float64(d.Median())}, {"min-" + unit, float64(d.Min())}, {"p99-" + unit, float64(d.P99())},
	}
	if m.span != nil {
		r.Metrics = append(r.Metrics, m.counts(base)...)
	}
	return r, nil
}

// counts are the monitor's figures that are known.
func (m measurement) counts(base measurement) []Metric {
	var metrics []Metric
	if n, ok := m.instructionsPerOp(); ok {
		if own, known := base.instructionsPerOp(); known {
			n -= own
		}
		metrics = append(metrics, Metric{"instructions/op", round(n)})
	}
	if m.span.Exits.Err == nil {
		metrics = append(metrics, Metric{"exits/op", round(float64(m.span.Exits.N) / float64(m.path.ops))})
	}
	return append(metrics, Metric{"user-exits/op", round(float64(m.span.UserExits) / float64(m.path.ops))})
}

// instructionsPerOp is the monitor's count of instructions, if there is one.
func (m measurement) instructionsPerOp() (float64, bool) {
	if m.span == nil || m.span.Instructions.Err != nil {
		return 0, false
	}
	return float64(m.span.Instructions.N) / float64(m.path.ops), true
}

// round keeps four decimals: more than counts of thousands of operations tell.
func round(x float64) float64 { return math.Round(x*10000) / 10000 }
