package kernel

import (
	"math/bits"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
)

// TaskID names one run of a task, from its start to its end. It goes stale when the task
// ends or restarts, and then every use of it fails.
type TaskID struct {
	value uint64 // number above, slot in the lowest 8 bits; a number counts all runs of all tasks, from 1
}

// taskID makes an identity. Numbers have 56 bits: at a million runs in a second, more than a
// processor can begin, they last 2000 years.
func taskID(number uint64, slot int) TaskID { return TaskID{number<<8 | uint64(slot)} }

// Slot is the place of the task: the same in all its runs, and no other task's. From 0 to
// MaxTasks-1.
func (id TaskID) Slot() uint32 { return uint32(uint8(id.value)) }

// Number identifies the run among all runs of all tasks since boot: no other ever has it.
func (id TaskID) Number() uint64 { return id.value >> 8 }

// State is what a task does.
type State uint8

// States.
const (
	Unused     State = iota // no task has this slot
	Running                 // it runs when the scheduler chooses it; this and the next three are alive
	Growing                 // its turns go into clearing memory, until its system call for it is served
	Yielded                 // it waits for any upcall
	YieldedFor              // it waits for one event
	Terminated              // it ended itself
	Faulted                 // a fault ended it
)

var (
	stateNames   = [...]string{"Unused", "Running", "Running", "Yielded", "YieldedFor", "Terminated", "Faulted"}
	stoppedNames = [...]string{Running: "Stopped(Running)", Growing: "Stopped(Running)", Yielded: "Stopped(Yielded)", YieldedFor: "Stopped(YieldedFor)"}
)

// String is the state's name, as Tock prints it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// keptFrom says why a task is kept from running, a bit for each reason.
type keptFrom uint8

const (
	keptByStop     keptFrom = 1 << iota // Kernel.Stop
	keptByMessages                      // it faulted, and the message about that was not sent yet
	keptByPause                         // Kernel.Pause
	keptBySaver                         // a Saver is at work with it
)

// Task is a program in ring 3.
type Task struct {
	slot      int
	bit       uint64 // 1 << slot
	id        TaskID
	run       uint64 // counts ends: what was entered for a task holds while this is the same
	state     State
	kept      keptFrom // running, why: State says what it did before
	bits32    bool     // a 32-bit task, by Tock's x86 convention
	anyDriver uint64   // taken if it may use any driver, 0 if its object lists what it may use: then no key matches
	object    tbf.Object
	offset    int    // of the object in its place
	ownsFlash bool   // its flash is memory of the RAM
	ramSize   uint64 // what it gets, in bytes
	identity  Identity
	entry     uint64
	memory    Memory
	queue     upcallQueue
	newest    keptEvent // of events kept for a Yield-WaitFor
	older     uint32    // upcall slots that keep others
	late      uint32    // upcall slots with what found the queue full
	turn      lateTurn
	grants    [maxGrants][]byte // each grant's block in RAM; nil: none

	loans    [MaxTasks]loan // what it lends, by the borrower's slot
	lends    uint64         // the slots of borrowers
	lenders  uint64         // the slots of lenders in whose place it has pages
	blank    *page          // its own page in the place of what was taken back from it, or nil
	blanks   uint64         // the slots of lenders in whose place that page is
	notified uint64         // the slots of tasks that it notified, in this run or, if it is over, the last
	advised  advice         // what it was told about its use of IPC

	results *[4]uint64                // of the system call behind which it does not go on at once
	awaited event                     // the event that YieldedFor waits for
	growth  struct{ from, to uint64 } // where Growing moves the break

	syscalls   uint64
	dropped    uint64 // events that found the queue full and were replaced by newer ones
	expired    uint64 // slices used up
	restarts   uint64
	completion uint32 // code of the last Exit
	exited     bool   // completion is valid
	faults     uint64
	lastFault  Fault  // valid if faults is not 0
	stackTop   uint64 // told by the task, for dumps; 0: not told
	heapStart  uint64 // likewise
}

// ID names the task's present run.
func (t *Task) ID() TaskID { return t.id }

// State is what the task does now, or what it did when it was stopped.
func (t *Task) State() State { return t.state }

// Stopped reports whether the task is kept from running by Kernel.Stop.
func (t *Task) Stopped() bool { return t.kept&keptByStop != 0 }

// Paused reports whether the task is kept from running by Kernel.Pause.
func (t *Task) Paused() bool { return t.kept&keptByPause != 0 }

// StateName is the task's state in words, as Tock prints it: "Stopped(Yielded)". Tock has no paused tasks: for them it is the same.
//
//go:noinline
func (t *Task) StateName() string {
	if t.kept&(keptByStop|keptByPause) != 0 { // and so alive
		return stoppedNames[t.state]
	}
	return t.state.String()
}

// Restarts is how often the task was restarted.
func (t *Task) Restarts() uint64 { return t.restarts }

// Expired is how many slices the task used up.
func (t *Task) Expired() uint64 { return t.expired }

// NameIs reports whether the task's package name is name.
//
//go:noinline
func (t *Task) NameIs(name []byte) bool { return string(t.object.Name()) == string(name) }

// LastFault is the task's last fault. It reports false if there was none.
func (t *Task) LastFault() (Fault, bool) { return t.lastFault, t.faults != 0 }

// functionSize is how many bytes of a function the task must own to subscribe it: a
// pointer's.
func (t *Task) functionSize() uint64 {
	if t.bits32 {
		return 4
	}
	return 8
}

// initialRAM is how many bytes of RAM a run of the task begins with below its break.
func (t *Task) initialRAM() uint64 {
	if t.bits32 {
		return abi.InitialRAM32
	}
	return abi.InitialRAM
}

// restricted reports whether the task's object lists what it may use.
func (t *Task) restricted() bool { return t.anyDriver == 0 }

// alive reports whether the task may run again by itself.
func (t *Task) alive() bool { return t.state-Running <= YieldedFor-Running }

// ready reports whether the task can run now. Events for YieldedFor make it Running when
// they happen, so nothing but the queue needs a look.
func (t *Task) ready() bool {
	return t.kept == 0 && (t.state == Running || t.state == Yielded && t.queue.count != 0 || t.state == Growing)
}

// task finds the task that id names, or nil if id is stale.
func (k *Kernel) task(id TaskID) *Task {
	if t := k.tasks[id.value%MaxTasks]; t.id == id && t.alive() {
		return t
	}
	return nil
}

// lastRun finds the task whose present or last run id names, or nil.
func (k *Kernel) lastRun(id TaskID) *Task {
	if t := k.tasks[id.value%MaxTasks]; t.id == id && t.state != Unused {
		return t
	}
	return nil
}

// first is the task in the lowest slot of a set, a bit for each slot, which is not empty.
func (k *Kernel) first(set uint64) *Task { return k.tasks[bits.TrailingZeros64(set)%MaxTasks] }

// start gives the task a fresh identity, empty memory below its initial break, and its
// first registers.
func (k *Kernel) start(t *Task) {
	if t.notified != 0 {
		k.forgetNotifications(t)
	}
	k.serial++
	t.id = taskID(k.serial, t.slot)
	m := &t.memory
	if end := m.mappedEnd(); end > m.ramStart { // not the first run
		k.cpu.Unmap(t.slot, m.ramStart, end-m.ramStart)
	}
	m.reset()
	k.moveBreak(t, m.ramStart+t.initialRAM())
	k.cpu.Start(t.slot, StartState{
		Entry:        t.entry,
		AppStart:     m.flashStart + m.protected,
		RAMStart:     m.ramStart,
		RAMSize:      uint64(len(m.ram)),
		ShortID:      t.identity.ShortID,
		InitialBreak: m.appBreak,
		Bits32:       t.bits32,
		Memory:       m,
	})
	t.state = Running
	k.update(t)
	k.live++
	k.checkMemory()
}

// end takes everything from the task that the kernel or capsules hold for it. Its id is
// stale from now on.
func (k *Kernel) end(t *Task, s State) {
	if k.onEnd != nil {
		k.onEnd.TaskEnded(t.id)
	}
	t.kept = 0
	k.wait(t, s)
	t.run++
	t.queue.clear()
	t.newest.waits, t.older, t.late, t.turn = false, 0, 0, lateTurn{}
	k.dropGrants(t)
	t.stackTop, t.heapStart = 0, 0
	k.endLoans(t)
	k.cpu.Clear(t.slot)
	k.live--
	k.checkMemory()
}

// restart ends the task's run and starts another.
func (k *Kernel) restart(t *Task) {
	k.end(t, Terminated)
	t.restarts++
	k.start(t)
}

// moveBreak moves the app break and the mapped pages with it. It reports false, changing
// nothing, if the break may not be there. By more than pieceSize it is moved up in the turns that
// follow: until then the task is Growing.
func (k *Kernel) moveBreak(t *Task, addr uint64) bool {
	m := &t.memory
	if !m.mayBreak(addr) {
		return false
	}
	if addr > m.appBreak && addr-m.appBreak > pieceSize {
		t.growth.from, t.growth.to = m.appBreak, addr
		t.state = Growing
		k.goesOn = false
		return true
	}
	k.setBreak(t, addr)
	return true
}

// grow moves the break of a Growing task by a piece, and ends its turn unless that was the last
// one. If grants have taken what it is to have meanwhile, the call fails after all, and the break
// goes back.
func (k *Kernel) grow(t *Task) {
	m := &t.memory
	if !m.mayBreak(t.growth.to) {
		t.growth.to = t.growth.from
		*t.results = [4]uint64{uint64(abi.Failure), uint64(abi.NOMEM)}
	}
	k.setBreak(t, min(t.growth.to, m.appBreak+pieceSize))
	if m.appBreak == t.growth.to {
		t.state = Running
		return
	}
	k.goesOn = false
	k.cpu.Poll()
}

// setBreak moves the app break to where it may be, and the mapped pages with it.
func (k *Kernel) setBreak(t *Task, addr uint64) {
	m := &t.memory
	before := m.mappedEnd()
	m.setBreak(addr)
	after := m.mappedEnd()
	if after > before {
		k.cpu.Map(t.slot, before, m.ram[before-m.ramStart:after-m.ramStart], ReadWrite)
	} else if after < before {
		k.cpu.Unmap(t.slot, after, before-after)
	}
	k.checkMemory()
}

// ExitStatus is the machine's exit status when Run has returned (abi.ExitOK and others):
// abi.ExitNoTask if no task was loaded, abi.ExitTaskFault if a fault stopped a task, else the first
// completion code that is not 0, at most 99.
func (k *Kernel) ExitStatus() uint32 {
	if k.loaded == 0 {
		return abi.ExitNoTask
	}
	status := uint32(abi.ExitOK)
	for set := k.present; set != 0; set &= set - 1 {
		t := k.first(set)
		if t.state == Faulted {
			return abi.ExitTaskFault
		}
		if status == abi.ExitOK && t.exited {
			status = min(t.completion, abi.ExitTaskFault-1)
		}
	}
	return status
}
