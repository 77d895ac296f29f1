package main

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kapsel/bench"
)

// kinds are what there can be more of in a machine, with what the columns of their tables are.
var kinds = []struct{ name, remark string }{
	{"tasks", "Tasks in the image, all loaded: three that measure, the others wait."},
	{"drivers", "Drivers beside those of the benchmark's board, which nobody calls."},
	{"memory", "The machine's memory in MiB."},
}

// grown is a run in a machine with so much of a kind.
type grown struct {
	number int
	run    *bench.Run
}

// readGrowth reads the files growth/KIND-NUMBER.json.
func readGrowth(dir string) (map[string][]grown, error) {
	files, err := filepath.Glob(filepath.Join(dir, "growth", "*-*.json"))
	if err != nil {
		return nil, err
	}
	found := map[string][]grown{}
	for _, path := range files {
		kind, text, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".json"), "-")
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q: want a number behind %q", path, kind+"-")
		}
		run, err := bench.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found[kind] = append(found[kind], grown{number, run})
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b grown) int { return cmp.Compare(a.number, b.number) })
	}
	return found, nil
}

// growthTable has the instructions of each path that all machines measured, and from the first
// machine to the last what one more takes.
func growthTable(list []grown) table {
	t := table{texts: 1, rows: [][]string{{"path"}}}
	if len(list) < 2 {
		return t
	}
	first, last := list[0], list[len(list)-1]
	for _, g := range list {
		t.rows[0] = append(t.rows[0], strconv.Itoa(g.number))
	}
	t.rows[0] = append(t.rows[0], "for each more")
	for _, name := range last.run.Names() {
		row := []string{name}
		var counts []float64
		for _, g := range list {
			if v, ok := g.run.Figure(name, instructions); ok {
				counts = append(counts, v)
				row = append(row, number(v))
			}
		}
		if len(counts) == len(list) {
			each := (counts[len(counts)-1] - counts[0]) / float64(last.number-first.number)
			t.rows = append(t.rows, append(row, number(math.Round(each*10)/10+0)))
		}
	}
	return t
}
