package main

import "strings"

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

// A comparison is a row: what, by which peer, its metric and ours. Ours is empty where there
// is nothing to compare; bar is its name in the plot, empty if it is not there.
type comparison struct {
	what, peer   string
	theirs, ours metric
	bar          string
}

var comparisons = []comparison{
	{"system call that does nothing", "Linux: getpid", metric{"Linux/getpid", instructions}, metric{"NullCommand", instructions}, "Linux: getpid"},
	{"to another task that is ready, one way", "Linux: sched_yield", metric{"Linux/yield", instructions}, metric{}, ""},
	{"to another task that waits, one way", "Linux: futex", metric{"Linux/futex", instructions}, metric{"TaskSwitch", instructions}, "Linux: futex, to another process"},
	{"to another task that waits, one way", "Linux: pipe", metric{"Linux/pipe", instructions}, metric{"TaskSwitch", instructions}, "Linux: pipe, to another process"},
	{"message and answer", "Linux: two pipes", metric{"Linux/pipe-and-back", instructions}, metric{"IPCBuffer", instructions}, "Linux: two pipes, there and back"},
	{"deadline to task, processor idle", "Linux: clock_nanosleep", metric{"Linux/timer", instructions}, metric{"AlarmLatency", instructions}, "Linux: clock_nanosleep"},
	{"call of an own function by the kernel, and back", "Linux: tgkill", metric{"Linux/signal", instructions}, metric{"UpcallFunction", instructions}, "Linux: tgkill, own handler"},
	{"page fault to handler", "Linux: SIGSEGV", metric{"Linux/fault", instructions}, metric{}, ""},
	{"reset to first task; ours: the kernel's part", "QEMU q35", metric{"Reset/q35", toTask}, metric{"Reset/q35", kernel}, "QEMU q35: reset to first task"},
	{"reset to first task; ours: the kernel's part", "QEMU microvm", metric{"Reset/microvm", toTask}, metric{"Reset/microvm", kernel}, "QEMU microvm: reset to first task"},
	{"machine's creation to its first exit", "C, least of KVM", metric{"Floor/first-exit", passed}, metric{"CreateToFirstExit", passed}, ""},
	{"machine's creation to its first exit", "C, least of KVM", metric{"Floor/first-exit", used}, metric{"CreateToFirstExit", used}, "C: machine to its first exit, instructions"},
	{"exit to the monitor and back", "C, least of KVM", metric{"Floor/exit", passed}, metric{"Exit/port", passed}, "C: exit and back, ticks"},
	{"creation to end, one-page guest", "gokvm", metric{"Monitor/one-page/gokvm", passed}, metric{"Monitor/one-page/kapsel", passed}, ""},
	{"creation to end, one-page guest", "gokvm", metric{"Monitor/one-page/gokvm", used}, metric{"Monitor/one-page/kapsel", used}, "gokvm: one-page guest, instructions"},
	{"creation to end, kernel without tasks", "gokvm", metric{"Monitor/kernel/gokvm", passed}, metric{"Monitor/kernel/kapsel", passed}, ""},
	{"creation to end, kernel without tasks", "gokvm", metric{"Monitor/kernel/gokvm", used}, metric{"Monitor/kernel/kapsel", used}, "gokvm: kernel without tasks, instructions"},
	{"processor's creation to kernel's entry", "gokvm", metric{"Monitor/kernel/gokvm", toEntry}, metric{"Monitor/kernel/kapsel", toEntry}, ""},
	{"kernel's entry to its main loop", "gokvm", metric{"Monitor/kernel/gokvm", toLoaded}, metric{"Monitor/kernel/kapsel", toLoaded}, "gokvm: kernel's entry to main loop, ticks"},
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

// peerTable returns the rows whose peer was measured. With icount a nanosecond is an
// instruction. Where we were not measured, a row has no ratio.
func peerTable(found results, icount bool) table {
	t := table{texts: 3, rows: [][]string{{"what", "peer", "unit", "peer's", "ours", "peer's : ours"}}}
	for _, c := range comparisons {
		theirs, ok := found.get(c.theirs)
		if !ok {
			continue
		}
		row := []string{c.what, c.peer, unitName(c.theirs.unit, icount), number(theirs), "-", "-"}
		if ours, ok := found.get(c.ours); ok {
			row[4], row[5] = number(ours), ratio(theirs, ours)
		}
		t.rows = append(t.rows, row)
	}
	return t
}
