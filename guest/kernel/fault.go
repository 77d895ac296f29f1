package kernel

import "kapsel/guest/kernel/format"

// FaultAction is what becomes of a task that faulted.
type FaultAction uint8

// Actions.
const (
	StopTask    FaultAction = iota // it stays Faulted; the others go on
	RestartTask                    // it starts again with clean memory
	PanicKernel                    // the whole system stops
)

// FaultPolicy is the board's choice of what a fault means.
type FaultPolicy interface {
	// OnFault decides after a fault of t, before anything happened to t. With dump the
	// kernel prints registers and memory map besides the line it always prints.
	OnFault(t *Task) (action FaultAction, dump bool)
}

// AlwaysRestart as FaultLimit.Restarts puts no limit.
const AlwaysRestart = ^uint32(0)

// FaultLimit restarts a faulting task until it was restarted so many times (for any
// reason), and then does something else. Tock's policies are
//
//	Panic                    {Then: PanicKernel}
//	Stop                     {}
//	Restart                  {Restarts: AlwaysRestart}
//	ThresholdRestart         {Restarts: n}
//	ThresholdRestartThenPanic {Restarts: n, Then: PanicKernel}
//
// each with Dump for its debugging form.
type FaultLimit struct {
	Restarts uint32
	Then     FaultAction
	Dump     bool
}

// OnFault implements FaultPolicy.
func (p *FaultLimit) OnFault(t *Task) (FaultAction, bool) {
	if p.Restarts == AlwaysRestart || t.restarts < uint64(p.Restarts) {
		return RestartTask, p.Dump
	}
	return p.Then, p.Dump
}

// fault stops a task for what it did, says so, and follows the board's policy.
func (k *Kernel) fault(t *Task, f *Fault) {
	t.lastFault = *f
	t.faults++
	action, dump := k.policy.OnFault(t)
	k.printFault(t, f, action)
	if dump {
		k.dump(t)
	}
	switch action {
	case RestartTask:
		k.restart(t)
		k.hold(t)
	case PanicKernel:
		k.end(t, Faulted)
		panic("kernel: a task faulted, and the board's policy is to panic")
	default:
		k.end(t, Faulted)
	}
}

// dump prints a task's registers and memory map, or that too many messages wait for that.
func (k *Kernel) dump(t *Task) {
	if k.backlog != nil && k.backlog.Crowded() {
		k.debug.WriteString("  (no registers and memory map: too many messages wait to be sent)\n")
		return
	}
	k.cpu.PrintRegisters(t.slot, k.debug)
	t.printMemory(k.debug)
}

// Backlog is what the writer of the kernel's messages has not sent yet.
type Backlog interface {
	// Await reports whether there is any. When all of it is sent, Kernel.MessagesSent is called.
	Await() bool
	// Crowded reports whether what room is left is for a line from each task at most.
	Crowded() bool
}

// hold keeps a task that faulted from running again before the message about that is sent. So
// no task causes messages faster than they are sent, and what it prints next comes behind them.
func (k *Kernel) hold(t *Task) {
	if k.backlog != nil && k.backlog.Await() {
		t.kept |= keptByMessages
		k.held |= t.bit
		k.update(t)
	}
}

// Messages is what the kernel prints by.
func (k *Kernel) Messages() Writer { return k.debug }

// MessagesSent lets tasks run that wait for messages to be sent.
func (k *Kernel) MessagesSent() {
	for ; k.held != 0; k.held &= k.held - 1 {
		t := k.first(k.held)
		t.kept &^= keptByMessages
		k.update(t)
	}
}

var actionNames = [...]string{StopTask: "stopped", RestartTask: "restarting", PanicKernel: "panic"}

// printFault says in one line which task did what, where, and what follows.
func (k *Kernel) printFault(t *Task, f *Fault, action FaultAction) {
	w := k.debug
	t.printLabel(w)
	w.WriteString(" faulted: ")
	printFault(w, f)
	w.WriteString("; ")
	if int(action) < len(actionNames) {
		w.WriteString(actionNames[action])
	}
	w.WriteString("\n")
}

// printFault describes the fault itself.
func printFault(w Writer, f *Fault) {
	w.WriteString(f.Name)
	const pageFault = 14 // Intel SDM vol. 3, table 6-1
	if f.Vector == pageFault {
		format.Print(w, " at 0x%x", f.Address)
	}
	if f.Vector != NoVector {
		format.Print(w, ", PC 0x%x, vector %d", f.PC, uint64(f.Vector))
	}
	if f.Vector != NoVector || f.Code != 0 {
		format.Print(w, ", code 0x%x", f.Code)
	}
}
