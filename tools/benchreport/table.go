package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Units of the results.
const (
	instructions = "instructions/op" // of a processor that counts each as a tick
	passed       = "ns/op"
	used         = "cpu-ns/op" // of a process that had a processor
	toTask       = "ticks/reset"
	kernel       = "ticks/boot"  // of toTask the kernel's part
	toEntry      = "ticks/entry" // from the virtual processor's creation
	toLoaded     = "ticks/load"  // from there to the main loop
)

// A metric is a value among the results.
type metric struct{ benchmark, unit string }

// A comparison is a row: what, by which peer, its metric and ours. Ours is empty where there
// is nothing to compare.
type comparison struct {
	what, peer   string
	theirs, ours metric
}

var comparisons = []comparison{
	{"system call that does nothing", "Linux: getpid", metric{"Linux/getpid", instructions}, metric{"NullCommand", instructions}},
	{"to another task that is ready, one way", "Linux: sched_yield", metric{"Linux/yield", instructions}, metric{}},
	{"to another task that waits, one way", "Linux: futex", metric{"Linux/futex", instructions}, metric{"TaskSwitch", instructions}},
	{"to another task that waits, one way", "Linux: pipe", metric{"Linux/pipe", instructions}, metric{"TaskSwitch", instructions}},
	{"message and answer", "Linux: two pipes", metric{"Linux/pipe-and-back", instructions}, metric{"IPCBuffer", instructions}},
	{"deadline to task, processor idle", "Linux: clock_nanosleep", metric{"Linux/timer", instructions}, metric{"AlarmLatency", instructions}},
	{"call of an own function by the kernel, and back", "Linux: tgkill", metric{"Linux/signal", instructions}, metric{"UpcallFunction", instructions}},
	{"page fault to handler", "Linux: SIGSEGV", metric{"Linux/fault", instructions}, metric{}},
	{"reset to first task; ours: the kernel's part", "QEMU q35", metric{"Reset/q35", toTask}, metric{"Reset/q35", kernel}},
	{"reset to first task; ours: the kernel's part", "QEMU microvm", metric{"Reset/microvm", toTask}, metric{"Reset/microvm", kernel}},
	{"machine's creation to its first exit", "C, least of KVM", metric{"Floor/first-exit", passed}, metric{"CreateToFirstExit", passed}},
	{"machine's creation to its first exit", "C, least of KVM", metric{"Floor/first-exit", used}, metric{"CreateToFirstExit", used}},
	{"exit to the monitor and back", "C, least of KVM", metric{"Floor/exit", passed}, metric{"Exit/port", passed}},
	{"creation to end, one-page guest", "gokvm", metric{"Monitor/one-page/gokvm", passed}, metric{"Monitor/one-page/kapsel", passed}},
	{"creation to end, one-page guest", "gokvm", metric{"Monitor/one-page/gokvm", used}, metric{"Monitor/one-page/kapsel", used}},
	{"creation to end, kernel without tasks", "gokvm", metric{"Monitor/kernel/gokvm", passed}, metric{"Monitor/kernel/kapsel", passed}},
	{"creation to end, kernel without tasks", "gokvm", metric{"Monitor/kernel/gokvm", used}, metric{"Monitor/kernel/kapsel", used}},
	{"processor's creation to kernel's entry", "gokvm", metric{"Monitor/kernel/gokvm", toEntry}, metric{"Monitor/kernel/kapsel", toEntry}},
	{"kernel's entry to its main loop", "gokvm", metric{"Monitor/kernel/gokvm", toLoaded}, metric{"Monitor/kernel/kapsel", toLoaded}},
}

// unitName is what a unit counts, in the table's words.
func unitName(unit string, icount bool) string {
	switch unit {
	case passed:
		if icount {
			return "ticks"
		}
		return "ns"
	case used:
		if icount {
			return "instructions"
		}
		return "ns of processor"
	case toTask, kernel, toEntry, toLoaded:
		return "ticks"
	}
	return strings.TrimSuffix(unit, "/op")
}

// table returns the cells of the rows whose peer was measured.
func table(found results, icount bool) [][]string {
	var rows [][]string
	for _, c := range comparisons {
		theirs, ok := found.get(c.theirs)
		if !ok {
			continue
		}
		row := []string{c.what, c.peer, unitName(c.theirs.unit, icount), number(theirs), "-", "-"}
		if ours, ok := found.get(c.ours); ok {
			row[4], row[5] = number(ours), ratio(theirs, ours)
		}
		rows = append(rows, row)
	}
	return rows
}

// number is v without a fraction that says nothing.
func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// ratio is theirs to ours: above 1 the peer takes more.
func ratio(theirs, ours float64) string {
	if ours == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", theirs/ours)
}

var heading = []string{"what", "peer", "unit", "peer's", "ours", "peer's : ours"}

// numbers is the first column that is written to the right.
const numbers = 3

// writeTable writes a Markdown table with its columns in line.
func writeTable(w io.Writer, rows [][]string) {
	widths := make([]int, len(heading))
	for _, row := range append([][]string{heading}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	writeRow(w, heading, widths)
	for i, width := range widths {
		end := "-"
		if i >= numbers {
			end = ":"
		}
		fmt.Fprintf(w, "|%s%s", strings.Repeat("-", width+1), end)
	}
	fmt.Fprintln(w, "|")
	for _, row := range rows {
		writeRow(w, row, widths)
	}
}

func writeRow(w io.Writer, row []string, widths []int) {
	for i, cell := range row {
		width := -widths[i] // to the left
		if i >= numbers {
			width = widths[i]
		}
		fmt.Fprintf(w, "| %*s ", width, cell)
	}
	fmt.Fprintln(w, "|")
}
