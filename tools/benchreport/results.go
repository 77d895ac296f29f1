package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// results are values by benchmark, without "Benchmark" and the number of processors, and
// unit: results["Linux/getpid"]["instructions/op"].
type results map[string]map[string]float64

// read takes over what is in the text: JSON as kapsel bench -json writes it, or Go's benchmark
// format.
func (r results) read(text []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return r.readJSON(text)
	}
	return r.readText(bytes.NewReader(text))
}

// readJSON takes over the results of a run of kapsel bench.
func (r results) readJSON(text []byte) error {
	var run struct {
		Results []struct {
			Name    string
			Metrics []struct {
				Unit  string
				Value float64
			}
		}
	}
	if err := json.Unmarshal(text, &run); err != nil {
		return err
	}
	if len(run.Results) == 0 {
		return errors.New(`no "results" in it: want what kapsel bench -json prints`)
	}
	for _, result := range run.Results {
		for _, m := range result.Metrics {
			r.set(metric{result.Name, m.Unit}, m.Value)
		}
	}
	return nil
}

// set takes over a value.
func (r results) set(m metric, v float64) {
	if r[m.benchmark] == nil {
		r[m.benchmark] = map[string]float64{}
	}
	r[m.benchmark][m.unit] = v
}

// readText takes over the lines of Go's benchmark format (golang.org/design/14313-benchmark-format):
//
//	BenchmarkName-8 ITERATIONS VALUE UNIT [VALUE UNIT]...
//
// Of two results of the same benchmark and unit the later one stays.
func (r results) readText(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue // a line of text that starts like a result
		}
		if err := r.add(benchmarkName(fields[0]), fields[2:]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// add takes over the values and units of a benchmark.
func (r results) add(name string, pairs []string) error {
	if len(pairs)%2 != 0 {
		return fmt.Errorf("benchmark %s: value %q has no unit", name, pairs[len(pairs)-1])
	}
	for i := 0; i < len(pairs); i += 2 {
		v, err := strconv.ParseFloat(pairs[i], 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("benchmark %s: want a value, found %q", name, pairs[i])
		}
		r.set(metric{name, pairs[i+1]}, v)
	}
	return nil
}

// get returns a value, if it was measured.
func (r results) get(m metric) (float64, bool) {
	v, ok := r[m.benchmark][m.unit]
	return v, ok
}

// benchmarkName cuts off "Benchmark" and the number of processors, -8.
func benchmarkName(field string) string {
	name := strings.TrimPrefix(field, "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}
