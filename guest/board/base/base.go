// Package base is what boards have in common: the words of the command line that each
// understands, and what each prints.
package base

import (
	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64"
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// Options are what the command line of every board can ask for, in words with spaces between.
type Options struct {
	BootTicks   bool // say how long booting took
	NoDump      bool // a fault is told in one line
	FaultStop   bool // a fault stops the task
	FaultPanic  bool // a fault is the kernel's panic
	Mitigations mitigation.Level
}

// Obey obeys one word, or reports false.
func (o *Options) Obey(word []byte) bool {
	switch string(word) {
	case "boot-ticks":
		o.BootTicks = true
	case "no-dump":
		o.NoDump = true
	case "fault=stop":
		o.FaultStop = true
	case "fault=panic":
		o.FaultPanic = true
	case "mitigations=off":
		o.Mitigations = mitigation.Off
	case "mitigations=auto":
		o.Mitigations = mitigation.Auto
	case "mitigations=full":
		o.Mitigations = mitigation.Full
	default:
		return false
	}
	return true
}

// faultRestarts is how often a task is restarted after a fault before it stays stopped.
const faultRestarts = 32

// FaultPolicy is what the options make of a task's fault.
func (o *Options) FaultPolicy() kernel.FaultLimit {
	policy := kernel.FaultLimit{Restarts: faultRestarts, Dump: !o.NoDump}
	if o.FaultStop || o.FaultPanic {
		policy.Restarts = 0
	}
	if o.FaultPanic {
		policy.Then = kernel.PanicKernel
	}
	return policy
}

// Words is what Options obey, for who is told what a word can be.
const Words = "boot-ticks, no-dump, fault=stop, fault=panic, mitigations=off, auto or full"

// Commanded is whom the command line tells what to do.
type Commanded interface {
	// Obey obeys one word, or reports false.
	Obey(word []byte) bool
}

// ReadCmdline has each word of the command line obeyed. One that is refused it names, and says
// what a word can be.
func ReadCmdline(line []byte, c Commanded, w kernel.Writer, words string) {
	for len(line) > 0 {
		end := 0
		for end < len(line) && line[end] != ' ' {
			end++
		}
		if word := line[:end]; end > 0 && !c.Obey(word) {
			w.WriteString("command line: unknown word: ")
			format.Text(w, word)
			w.WriteString(" (want ")
			w.WriteString(words)
			w.WriteString(")\n")
		}
		line = line[min(end+1, len(line)):]
	}
}

// PrintBanner says what runs where.
func PrintBanner(w kernel.Writer, m *amd64.Machine) {
	w.WriteString("Kapsel " + abi.Version + " on ")
	w.WriteString(m.Accelerator())
	format.Print(w, ", %d KiB of memory\n", m.RAM()>>10)
	m.PrintMitigations(w)
}

// PrintLoaded says that there is no task, if there is none.
func PrintLoaded(w kernel.Writer, tasks int) {
	if tasks == 0 {
		w.WriteString("no task to run: the image holds none that may run, and none came with it\n")
	}
}

// PrintBoot says how long booting took until tasks were loaded, if it was asked for.
func (o *Options) PrintBoot(w kernel.Writer, m *amd64.Machine, loaded uint64) {
	if o.BootTicks {
		format.Print(w, "boot: entered at tick %d, tasks loaded at tick %d\n", m.EntryTicks(), loaded)
	}
}
