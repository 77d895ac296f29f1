package kernel

import "kapsel/guest/kernel/format"

// PrintTasks writes a table of all tasks with their states and counters, if there are any. A fault
// that a task survived by a restart is shown too.
func (k *Kernel) PrintTasks(w Writer) {
	if k.loaded == 0 {
		return
	}
	w.WriteString("PID   Name              State       Restarts   Syscalls  Dropped  Expired  Ended by\n")
	for set := k.present; set != 0; set &= set - 1 {
		k.first(set).printRow(w)
	}
}

func (t *Task) printRow(w Writer) {
	format.Print(w, "%4d  ", t.id.Number())
	t.PrintName(w, 18)
	format.Left(w, t.StateName(), 11)
	format.Print(w, " %8d %10d %8d %8d  ", t.restarts, t.syscalls, t.dropped, t.expired)
	t.printEnd(w)
	w.WriteString("\n")
}

// printEnd says how the task's last run ended, if one did.
func (t *Task) printEnd(w Writer) {
	switch {
	case t.state == Terminated && !t.exited:
		w.WriteString("terminated from outside")
	case t.state == Terminated:
		printCode(w, int32(t.completion))
	case t.faults != 0:
		printFault(w, &t.lastFault)
	default:
		w.WriteString("-")
	}
}

// printCode writes a completion code, which programs take for a signed number.
func printCode(w Writer, code int32) {
	text := "exit with code %d"
	if code < 0 {
		text, code = "exit with code -%d", -code
	}
	format.Print(w, text, uint64(uint32(code)))
}

// printMemory writes the task's memory map, from its highest address down.
func (t *Task) printMemory(w Writer) {
	m := &t.memory
	printMapRow(w, m.kernelBreak, m.ramEnd(), "grants")
	printMapRow(w, m.appBreak, m.kernelBreak, "unused")
	if t.heapStart > m.ramStart && t.heapStart < m.appBreak {
		printMapRow(w, t.heapStart, m.appBreak, "heap")
		printMapRow(w, m.ramStart, t.heapStart, "data and stack")
	} else {
		printMapRow(w, m.ramStart, m.appBreak, "RAM, read and write")
	}
	if t.stackTop != 0 {
		format.Print(w, "  stack from 0x%x down\n", t.stackTop)
	}
	printMapRow(w, m.flashStart+m.protected, m.flashStart+m.flashSize, "flash, read and execute")
	printMapRow(w, m.flashStart, m.flashStart+m.protected, "flash, protected header")
}

func printMapRow(w Writer, start, end uint64, what string) {
	format.Print(w, "  0x%8x..0x%8x %9d bytes  ", start, end, end-start)
	w.WriteString(what)
	w.WriteString("\n")
}

// shownName is how many bytes of a task's name messages show. An object can have one of 64 KiB.
const shownName = 64

// printLabel writes which task a message is about: its number and its name.
func (t *Task) printLabel(w Writer) {
	format.Print(w, "task %d ", t.id.Number())
	t.printName(w)
}

// printName writes the task's name, with anything but ASCII made visible, and returns how many bytes
// it wrote.
func (t *Task) printName(w Writer) int {
	name, end := t.object.Name(), ""
	switch {
	case len(name) == 0:
		end = "(no name)"
	case len(name) > shownName:
		name, end = name[:shownName], "..."
	}
	format.Text(w, name)
	w.WriteString(end)
	return len(name) + len(end)
}
