package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kapsel/bench"
)

// measured is what the folder has. Runs that are missing are empty.
type measured struct {
	facts       [][2]string // key and value
	counts, kvm *bench.Run
	model       *bench.Run
	host        results // of package vmm
	hostKVM     string  // what KVM that was
	peers       results // and of the monitor, counted; and of the kernel
	timed       results
	growth      map[string][]grown // by kind, from the least on
}

func readFolder(dir string) (*measured, error) {
	m := new(measured)
	var err error
	if m.counts, err = bench.ReadFile(filepath.Join(dir, "counts.json")); err != nil {
		return nil, err
	}
	if m.kvm, err = readIfThere(filepath.Join(dir, "kvm.json")); err != nil {
		return nil, err
	}
	if m.model, err = readIfThere(filepath.Join(dir, "model.json")); err != nil {
		return nil, err
	}
	host, err := readIfThere(filepath.Join(dir, "host.txt"))
	if err != nil {
		return nil, err
	}
	m.host, m.hostKVM = results{}, host.Fact("kvm")
	m.host.add(host)
	text, err := os.ReadFile(filepath.Join(dir, "facts.txt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), ": "); found {
			m.facts = append(m.facts, [2]string{key, value})
		}
	}
	for _, set := range []struct {
		files string
		to    *results
	}{{"peers/*.txt", &m.peers}, {"timed/*.txt", &m.timed}} {
		if *set.to, err = readResults(filepath.Join(dir, set.files)); err != nil {
			return nil, err
		}
	}
	m.peers.add(m.counts) // ours
	if m.growth, err = readGrowth(dir); err != nil {
		return nil, err
	}
	return m, nil
}

// readIfThere reads a run; of a file that is not there an empty one.
func readIfThere(path string) (*bench.Run, error) {
	r, err := bench.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return new(bench.Run), nil
	}
	return r, err
}

// results are values by benchmark, without the number of processors, and unit:
// results["Linux/getpid"]["instructions/op"]. Of two results of one benchmark and unit the
// later one stays.
type results map[string]map[string]float64

// readResults reads the files that a pattern fits.
func readResults(pattern string) (results, error) {
	r := results{}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, path := range files {
		run, err := bench.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r.add(run)
	}
	return r, nil
}

// add takes over a run's results.
func (r results) add(run *bench.Run) {
	for _, result := range run.Results {
		name := benchmarkName(result.Name)
		if r[name] == nil {
			r[name] = map[string]float64{}
		}
		for _, m := range result.Metrics {
			r[name][m.Unit] = m.Value
		}
	}
}

// A metric is a value among the results.
type metric struct{ benchmark, unit string }

// get returns a value, if it was measured.
func (r results) get(m metric) (float64, bool) {
	v, ok := r[m.benchmark][m.unit]
	return v, ok
}

// benchmarkName cuts off the number of processors, -8.
func benchmarkName(name string) string {
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}
