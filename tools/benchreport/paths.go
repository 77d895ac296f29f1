package main

import (
	"fmt"
	"io"
	"strings"

	"kapsel/bench"
	"kapsel/bench/model"
)

// counted are the units of what is the same each time, with their names in the table.
var counted = [][2]string{{"instructions/op", "instructions"}, {"KiB", "KiB"}, {"bytes", "bytes"}}

// remarkOfModel is what the modelled cycles are not.
const remarkOfModel = "Modelled: cycles that llvm-mca gives a path's instructions in a straight line. Not in them: cache misses, " +
	"mispredicted branches, changes of privilege level, and the instructions counted as left out " +
	"(SYSCALL, SYSRET, IRET, CR3, MSRs, ports and others that the models have no figure of)."

// writePaths writes the table of paths, and how many goals are met.
func (m *measured) writePaths(w io.Writer) {
	t, met, goals := m.paths()
	t.write(w)
	fmt.Fprintf(w, "\n%d of %d goals are met.\n", met, goals)
	if len(m.model.Results) > 0 {
		fmt.Fprintf(w, "\n%s\n", remarkOfModel)
	}
	for _, f := range m.facts {
		if f[0] == "modelled cycles" && strings.HasPrefix(f[1], "none") {
			fmt.Fprintf(w, "\nModelled cycles: %s.\n", f[1])
		}
	}
	for _, s := range m.counts.Skipped {
		fmt.Fprintf(w, "\nNot measured: %s: %s.\n", s.Name, s.Reason)
	}
}

// paths returns the table of paths: its count, what it took under KVM, and its goal. Of memory
// the direct door's figure counts, where there is one: by it the monitor places the image.
func (m *measured) paths() (t table, met, goals int) {
	t = table{texts: 2, rows: [][]string{{"path", "unit", "count"}}}
	timed, exits := m.kvm.Timed(), len(m.kvm.Results) > 0
	if timed {
		t.rows[0] = append(t.rows[0], "cycles", "99 %")
	}
	if exits {
		t.rows[0] = append(t.rows[0], "exits", "to the monitor")
	}
	if len(m.model.Results) > 0 {
		for _, processor := range model.Processors {
			t.rows[0] = append(t.rows[0], processor+", modelled")
		}
		t.rows[0] = append(t.rows[0], "left out")
	}
	t.rows[0] = append(t.rows[0], "goal", "met")
	for _, name := range m.counts.Names() {
		count, unit, ok := countOf(m.counts, name)
		if !ok {
			continue
		}
		if direct, ok := m.kvm.Figure(name, "KiB"); ok {
			count = direct
		}
		row := []string{name, unit, number(count)}
		if timed {
			row = append(row, inTable(m.kvm, name, "cycles/op"), inTable(m.kvm, name, "p99-cycles"))
		}
		if exits {
			row = append(row, inTable(m.kvm, name, "exits/op"), inTable(m.kvm, name, "user-exits/op"))
		}
		if len(m.model.Results) > 0 {
			for _, processor := range model.Processors {
				row = append(row, inTable(m.model, name, processor+"-cycles/op"))
			}
			row = append(row, inTable(m.model, name, "left-out/op"))
		}
		goal, verdict := "", ""
		if most, ok := bench.Goal(name); ok {
			goals++
			goal, verdict = number(most), "no"
			meets := count <= most
			if most, ok := bench.GoalOfExits(name); ok && exits {
				goal += ", " + number(most) + " to the monitor"
				n, ok := m.kvm.Figure(name, "user-exits/op")
				meets = meets && ok && n <= most
			}
			if meets {
				met++
				verdict = "yes"
			}
		}
		t.rows = append(t.rows, append(row, goal, verdict))
	}
	return t, met, goals
}

// countOf returns a path's count and its unit.
func countOf(r *bench.Run, name string) (count float64, unit string, ok bool) {
	for _, u := range counted {
		if v, ok := r.Figure(name, u[0]); ok {
			return v, u[1], true
		}
	}
	return 0, "", false
}

// inTable is a figure of a run, to two decimals.
func inTable(r *bench.Run, name, unit string) string {
	v, ok := r.Figure(name, unit)
	if !ok {
		return "-"
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

// stages are those of booting, in their order.
var stages = []struct{ what, name string }{
	{"machine made, image copied", "BootCreated"},
	{"guest's first instruction", "BootEntered"},
	{"kernel's main function", "BootMain"},
	{"tasks loaded", "BootLoaded"},
	{"first task's first instruction", "BootFirstTask"},
	{"first byte of output", "BootFirstOutput"},
	{"first task's output", "BootTaskOutput"},
}

// booting returns the table of stages.
func (m *measured) booting() table {
	t := table{texts: 2, rows: [][]string{{"stage", "path", "PVH: instructions", "direct: ticks", "direct: ns",
		"exits to the monitor", "pages touched", "bytes copied"}}}
	for _, s := range stages {
		row := []string{s.what, s.name, orNone(m.counts.Figure(s.name, "instructions/op"))}
		for _, unit := range []string{"cycles/op", "ns/op", "user-exits/op", "pages/op", "copied-bytes/op"} {
			row = append(row, orNone(m.kvm.Figure(s.name, unit)))
		}
		for _, cell := range row[2:] {
			if cell != "-" {
				t.rows = append(t.rows, row)
				break
			}
		}
	}
	return t
}

// monitors are the figures of the monitor.
var monitors = []struct {
	what, unit string
	metric
}{
	{"machine made, to its first exit", "ns", metric{"CreateToFirstExit", passed}},
	{"of that with a processor", "ns", metric{"CreateToFirstExit", used}},
	{"machine made, run to its only exit, closed", "ns", metric{"Machine", passed}},
	{"exit of a port, and back", "ns", metric{"Exit/port", passed}},
	{"allocations for it", "", metric{"Exit/port", "allocs/op"}},
	{"exit of memory, and back", "ns", metric{"Exit/memory", passed}},
	{"allocations for it", "", metric{"Exit/memory", "allocs/op"}},
	{"spinning guest cancelled, until Run returns", "ns", metric{"Kick", passed}},
	{"the longest of them", "ns", metric{"Kick", "worst-ns"}},
	{"machines at once", "", metric{"MachinesAtOnce/huge-pages", "machines"}},
	{"each of them made and run", "ns", metric{"MachinesAtOnce/huge-pages", "ns/machine"}},
	{"memory of the process for each", "bytes", metric{"MachinesAtOnce/huge-pages", "bytes/machine"}},
	{"guest pages in the host's memory", "4 KiB", metric{"MachinesAtOnce/huge-pages", "pages/machine"}},
	{"machines at once, small pages", "", metric{"MachinesAtOnce/small-pages", "machines"}},
	{"each of them made and run", "ns", metric{"MachinesAtOnce/small-pages", "ns/machine"}},
	{"memory of the process for each", "bytes", metric{"MachinesAtOnce/small-pages", "bytes/machine"}},
	{"guest pages in the host's memory", "4 KiB", metric{"MachinesAtOnce/small-pages", "pages/machine"}},
}

// monitor returns the table of the monitor: on the host's KVM, and counted in the nested machine.
func (m *measured) monitor() table {
	t := table{texts: 2, rows: [][]string{{"what", "unit", "this host's KVM", "nested, counted"}}}
	for _, x := range monitors {
		host, onHost := m.host.get(x.metric)
		nested, inRig := m.peers.get(x.metric)
		if onHost || inRig {
			t.rows = append(t.rows, []string{x.what, x.unit, orNone(host, onHost), orNone(nested, inRig)})
		}
	}
	return t
}
