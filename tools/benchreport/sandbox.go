package main

// floor is what all times of a sandbox stand beside: an exit of a guest that does nothing else, to a program in C that does nothing else.
var floor = metric{"Floor/exit", passed}

// A figure is a row of the sandbox's table. goal is the most that it should be, none if negative.
type figure struct {
	what string
	metric
	unit string // in the table's words; empty for the unit of time
	goal float64
}

var sandboxFigures = []figure{
	{"the floor: an exit and back, in C", floor, "", -1},
	{"the same in Go", metric{"Floor", passed}, "", -1},
	{"a call and its answer", metric{"Call", passed}, "", -1},
	{"a call and its answer", metric{"Call", "exits/op"}, "exits", 4},
	{"a call and its answer", metric{"Call", "allocs/op"}, "allocations", 0},
	{"of it in the guest, without a byte", metric{"ServiceCall", instructions}, "instructions", -1},
	{"the guest's call of the host, in the guest, without a byte", metric{"ServiceCallHost", instructions}, "instructions", -1},
	{"a call, its answer and a reset", metric{"CallAndReset", passed}, "", -1},
	{"a call, its answer and a reset", metric{"CallAndReset", "pages/op"}, "pages copied", -1},
	{"a call, its answer and a reset", metric{"CallAndReset", "ioctls/op"}, "calls of KVM", 30},
	{"a reset of 16 pages", metric{"Reset16Pages", passed}, "", -1},
	{"a reset of 16 pages", metric{"Reset16Pages", "copied-bytes/op"}, "bytes copied", 16 * 4096},
	{"a reset of 16 pages", metric{"Reset16Pages", "ioctls/op"}, "calls of KVM", 30},
	{"a machine of a snapshot", metric{"ForkMachine", passed}, "", -1},
	{"a machine of a snapshot", metric{"ForkMachine", "own-pages/op"}, "pages of its own", 0},
	{"the same when it has written 16 pages", metric{"ForkMachine", "written-pages/op"}, "pages of its own", -1},
	{"a sandbox of a snapshot, until it can be called", metric{"Fork", passed}, "", -1},
}

// sandboxTable returns what was measured of the sandbox, beside the floor. Without the sandbox's own benchmarks it is empty.
func sandboxTable(found results, icount bool) table {
	t := table{texts: 2, rows: [][]string{{"what", "unit", "count", "goal", "met", "floors"}}}
	if _, ok := found["Call"]; !ok {
		return t
	}
	least, _ := found.get(floor) // 0, for which there is no ratio, if the program in C did not run
	for _, f := range sandboxFigures {
		v, ok := found.get(f.metric)
		if !ok {
			continue
		}
		row := []string{f.what, f.unit, number(v), "", "", ""}
		if f.unit == "" {
			row[1], row[5] = unitName(f.metric.unit, icount), ratio(v, least)
		}
		if f.goal >= 0 {
			row[3], row[4] = number(f.goal), "no"
			if v <= f.goal {
				row[4] = "yes"
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}
