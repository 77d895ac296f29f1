package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
)

// This file is what the holder of a TaskManagement capability can do to tasks, from an
// interrupt, a deferred call or a Command, even one of the task itself. A TaskID names a
// run: an operation on a run that is over returns abi.INVAL and touches nothing.

// EachTask calls f for every task, alive or not, by slot. Meanwhile seen is a copy of what was known of the task then; behind that it is
// of none. No capsule is given a task's own record, whose memory becomes something else when the task is unloaded.
func (k *Kernel) EachTask(c capability.TaskManagement, seen *Task, f func()) {
	c.Require()
	for set := k.present; set != 0; set &= (set - 1) & k.present {
		*seen = *k.first(set)
		f()
	}
	*seen = Task{}
}

// Look makes seen what is known by now of the task that it is a copy of, or of none if that was unloaded.
func (k *Kernel) Look(c capability.TaskManagement, seen *Task) {
	c.Require()
	if seen.bit&k.present == 0 {
		*seen = Task{}
		return
	}
	*seen = *k.first(seen.bit)
}

// WithShortID finds the task whose ShortID that is, alive or not. It reports false if there is none, as always for 0.
func (k *Kernel) WithShortID(id uint32, c capability.TaskManagement) (TaskID, bool) {
	c.Require()
	for set := k.present; set != 0; set &= set - 1 {
		if t := k.first(set); id != 0 && t.identity.ShortID == id {
			return t.id, true
		}
	}
	return TaskID{}, false
}

// Faults is how often the task has faulted, in all its runs; 0 if id is stale.
func (k *Kernel) Faults(id TaskID, c capability.TaskManagement) uint64 {
	c.Require()
	if t := k.task(id); t != nil {
		return t.faults
	}
	return 0
}

// Lists reports whether the object of the task names a command of that driver among those that it may use. Other drivers are for
// tasks, too, whose objects name none at all; those by which a task manages others may be for these alone.
func (k *Kernel) Lists(id TaskID, driver uint32) bool {
	t := k.task(id)
	return t != nil && t.restricted() && t.object.AllowsDriver(driver)
}

// Stop keeps a task from running until Start. It stays alive: its memory, its grants and
// its upcalls stay, and new upcalls queue. It returns abi.ALREADY if the task is stopped.
func (k *Kernel) Stop(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	return k.setKept(id, keptByStop, keptByStop, c)
}

// Start lets a stopped task go on from where it stood. It returns abi.ALREADY if the task
// is not stopped.
func (k *Kernel) Start(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	return k.setKept(id, keptByStop, 0, c)
}

// Pause is Stop for who looks after the machine: what Resume alone lets go on.
func (k *Kernel) Pause(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	return k.setKept(id, keptByPause, keptByPause, c)
}

// Resume lets a paused task go on from where it stood, unless it is stopped, too. It returns abi.ALREADY if the task is not paused.
func (k *Kernel) Resume(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	return k.setKept(id, keptByPause, 0, c)
}

// setKept keeps a task from running for a reason, or no more.
//
//go:nosplit
func (k *Kernel) setKept(id TaskID, why, to keptFrom, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.task(id)
	switch {
	case t == nil:
		return abi.INVAL
	case t.kept&why == to:
		return abi.ALREADY
	}
	t.kept ^= why
	k.wake(t)
	if to != 0 {
		k.goesOn = false // it may be its turn
	}
	return abi.OK
}

var pausedNames = [...]string{Running: "Paused(Running)", Growing: "Paused(Running)", Yielded: "Paused(Yielded)", YieldedFor: "Paused(YieldedFor)"}

// Doing is StateName, but that it tells a paused task from a stopped one.
func (t *Task) Doing() string {
	if t.Paused() { // and so alive
		return pausedNames[t.state]
	}
	return t.StateName()
}

// Kill ends a task as a fault does where the board's policy is to stop it.
func (k *Kernel) Kill(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.task(id)
	if t == nil {
		return abi.INVAL
	}
	t.lastFault = Fault{Vector: NoVector, Name: "killed"}
	t.faults++
	k.printFault(t, &t.lastFault, StopTask)
	k.end(t, Faulted)
	return abi.OK
}

// Terminate ends a task without a completion code.
func (k *Kernel) Terminate(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.task(id)
	if t == nil {
		return abi.INVAL
	}
	t.exited = false
	k.end(t, Terminated)
	return abi.OK
}

// Restart ends a task's run and starts another, as an Exit-restart of the task does.
func (k *Kernel) Restart(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.task(id)
	if t == nil {
		return abi.INVAL
	}
	k.restart(t)
	k.wake(t)
	return abi.OK
}

// Boot starts a task again that has terminated or faulted; id names its last run. It
// counts as a restart. It returns abi.ALREADY if that run is not over.
func (k *Kernel) Boot(id TaskID, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.lastRun(id)
	switch {
	case t == nil:
		return abi.INVAL
	case t.alive():
		return abi.ALREADY
	}
	t.restarts++
	k.start(t)
	k.wake(t)
	return abi.OK
}

// Fault makes a task fault as if it had done something forbidden: reason says what, and
// the board's policy decides what follows, a panic perhaps.
func (k *Kernel) Fault(id TaskID, reason string, c capability.TaskManagement) abi.ErrorCode {
	c.Require()
	t := k.task(id)
	if t == nil {
		return abi.INVAL
	}
	k.fault(t, &Fault{Vector: NoVector, Name: reason})
	return abi.OK
}

// Statistics are a task's counters. All but Queued and Grants count since boot, over restarts.
type Statistics struct {
	Syscalls uint64
	Dropped  uint64 // events that found the queue full and were replaced by newer ones
	Expired  uint64 // slices used up
	Restarts uint64
	Queued   int // upcalls that wait, late ones included
	Grants   int // grants allocated
}

// Statistics returns the task's counters.
//
//go:noinline
func (t *Task) Statistics() Statistics {
	s := Statistics{Syscalls: t.syscalls, Dropped: t.dropped, Expired: t.expired, Restarts: t.restarts, Queued: t.pending()}
	for i := range t.grants {
		if t.grants[i] != nil {
			s.Grants++
		}
	}
	return s
}

// Grants is how many grants there are for a task to allocate.
func (k *Kernel) Grants() int { return k.grants }

// ShortID is the identifier, within this system, of the application that the task is a run
// of, by the board's IdentityPolicy. It reports false if it is locally unique: no other
// task's.
func (t *Task) ShortID() (uint32, bool) { return t.identity.ShortID, t.identity.ShortID != 0 }

// PrintShortID writes the ShortID, or "Unique", and spaces behind it up to width bytes.
func (t *Task) PrintShortID(w Writer, width int) {
	if t.identity.ShortID == 0 {
		format.Left(w, "Unique", width)
		return
	}
	format.Print(w, "0x%8x", uint64(t.identity.ShortID))
	format.Left(w, "", width-len("0x00000000"))
}

// TockState is the number of the task's state for tasks and people: running 0, yielded 1, yielded for 2, stopped 3, faulted 4,
// terminated 5 (Tock's capsules/extra/src/process_info_driver.rs).
func (t *Task) TockState() uint8 {
	if t.Stopped() || t.Paused() {
		return 3
	}
	switch t.state {
	case Yielded:
		return 1
	case YieldedFor:
		return 2
	case Faulted:
		return 4
	case Terminated:
		return 5
	}
	return 0
}

// NameLength is how many bytes the task's package name has.
func (t *Task) NameLength() int { return len(t.object.Name()) }

// ReadName copies the task's package name from an offset on to p, and returns how many bytes.
func (t *Task) ReadName(p []byte, offset int) int {
	return copy(p, t.object.Name()[min(offset, t.NameLength()):])
}

// PrintName writes the task's name, of a very long one its first bytes, with anything but ASCII made
// visible, and spaces behind it up to width bytes, one at the least; with a width of 0 the name alone.
func (t *Task) PrintName(w Writer, width int) {
	length := t.printName(w)
	if width != 0 {
		format.Left(w, "", max(width-length, 1))
	}
}

// Print writes all that is known of the task: state, counters, memory map.
func (t *Task) Print(w Writer) {
	w.WriteString("Task: ")
	t.printName(w)
	format.Print(w, ", PID %d\n State: ", t.id.Number())
	w.WriteString(t.Doing())
	w.WriteString("; ended by: ")
	t.printEnd(w)
	w.WriteString("\n ShortID: ")
	t.PrintShortID(w, 0)
	format.Print(w, "\n Events queued: %d\n Syscall count: %d\n Dropped upcall count: %d\n Restart count: %d\n",
		uint64(t.pending()), t.syscalls, t.dropped, t.restarts)
	t.printMemory(w)
}
