package kernel

import "kapsel/guest/kernel/capability"

// Kernel is the whole state of the kernel. It is made once, statically, by the board.
type Kernel struct {
	cpu         CPU
	interrupts  *uint64 // the CPU's word that is not 0 while one waits
	platform    Platform
	scheduler   Scheduler
	timed       bool // the scheduler wants to know what was left of a slice
	inTurn      bool // a task that waits hands the rest of its slice to the next
	preemptive  bool // a task that another wakes may run at once
	policy      FaultPolicy
	debug       Writer
	backlog     Backlog               // or nil
	onSwitch    ContextSwitchCallback // or nil
	switchSlots *Slots                // its grant
	onEnd       TaskEndCallback       // or nil

	credentials CredentialsPolicy
	identity    IdentityPolicy
	read        Region

	loaded  int    // the lowest slot that no task ever had, nor any behind it
	present uint64 // a bit for each slot that has a task
	loads   uint64 // tasks that were loaded since boot, by a Loader
	busy    uint64 // likewise, that a Loader fills or empties
	live    int    // tasks that may run again
	ready   uint64 // a bit for each slot whose task can run now
	held    uint64 // likewise, whose task waits for messages to be sent
	serial  uint64 // the last identifier given to a task
	ram     *RAM   // memory that nobody has
	turn    uint   // the slot that is looked at first for the next task

	grants   int               // grants made
	allSlots [maxGrants]*Slots // of those grants
	sealed   bool
	deferred deferredCalls

	running  *Task  // the task whose turn it is, or was last
	goesOn   bool   // its turn does: it neither waits nor has ended, nor is there other work
	last     Stop   // how the last turn ended
	slice    uint64 // length of the slice that is running, 0: there is none
	handedOn bool   // that was begun for another task
	share    workShare

	// Behind the rest, which instructions reach by short offsets so.
	tasks   [MaxTasks]*Task // by slot; spare where there is none
	drivers driverTable
	spare   Task // the task that there is not, and of the object that Load looks at
}

// Config is what a board wires into the kernel. Every field is needed but two, which say so.
type Config struct {
	CPU         CPU
	Platform    Platform
	Scheduler   Scheduler
	Policy      FaultPolicy
	Credentials CredentialsPolicy // which objects may run
	Identity    IdentityPolicy    // which objects are one application
	Debug       Writer            // takes the kernel's messages
	Backlog     Backlog           // of Debug; nil for one that loses nothing
	RAM         *RAM              // memory for tasks
}

// ContextSwitchCallback is a driver that is told when a task gets the CPU, to keep something
// about the task in its memory.
type ContextSwitchCallback interface {
	// ContextSwitch is called at the start of each turn of a task that has the driver's grant
	// allocated, before the task runs. System calls that do not end the turn are none of its
	// business.
	ContextSwitch(id TaskID)
	// Slots is the driver's grant.
	Slots() *Slots
}

// Init makes the kernel ready for grants, deferred calls and Load. It is called once:
// who gave a kernel that runs another CPU would be handed the memory of its tasks.
func (k *Kernel) Init(c Config) {
	if k.cpu != nil {
		panic(misuse + "Init was called twice")
	}
	if c.CPU == nil || c.Platform == nil || c.Scheduler == nil || c.Policy == nil ||
		c.Credentials == nil || c.Identity == nil || c.Debug == nil || c.RAM == nil {
		panic(misuse + "Init needs all of Config but the Backlog")
	}
	k.cpu = c.CPU
	k.cpu.Attach(k)
	k.platform = c.Platform
	k.interrupts = c.CPU.Interrupts()
	k.scheduler = c.Scheduler
	k.timed, k.inTurn, k.preemptive = c.Scheduler.Timed(), c.Scheduler.InTurn(), c.Scheduler.Preemptive()
	k.policy = c.Policy
	k.credentials = c.Credentials
	k.identity = c.Identity
	k.debug, k.backlog = c.Debug, c.Backlog
	k.ram = c.RAM
	for slot := range k.tasks {
		k.tasks[slot] = &k.spare
	}
}

// OnContextSwitch makes a driver be told when a task gets the CPU. There is one at most.
func (k *Kernel) OnContextSwitch(d ContextSwitchCallback, c capability.MainLoop) {
	c.Require()
	k.onSwitch, k.switchSlots = d, d.Slots()
}

// TaskEndCallback is a driver that keeps something for a task elsewhere than in the task's memory.
type TaskEndCallback interface {
	// TaskEnded is called when a run of a task ends, whose grants are still there. The driver gives up what it keeps,
	// and enters no grant.
	TaskEnded(id TaskID)
}

// OnTaskEnd makes a driver be told when a run of a task ends. There is one at most.
func (k *Kernel) OnTaskEnd(d TaskEndCallback, c capability.TaskManagement) {
	c.Require()
	k.onEnd = d
}

// begin makes ready for the main loop.
func (k *Kernel) begin(c capability.MainLoop) {
	c.Require()
	k.share.burst = k.cpu.TicksIn(workBurst)
}

// Run is the main loop. It returns when no task can ever run again: each has terminated
// or was stopped by a fault.
func (k *Kernel) Run(c capability.MainLoop) {
	k.begin(c)
	k.loop(false)
}

// RunForever is the main loop of a board where somebody can boot tasks when none can run.
func (k *Kernel) RunForever(c capability.MainLoop) {
	k.begin(c)
	k.loop(true)
}

// IdleClient wants to know when the kernel has nothing to do.
type IdleClient interface {
	// Idle is called before each sleep: no task is ready, and there is no kernel work. It does one bounded piece of work.
	Idle()
}

// RunTelling is Run, or RunForever, of a board where somebody wants to know when the kernel has nothing to do.
func (k *Kernel) RunTelling(idle IdleClient, forever bool, c capability.MainLoop) {
	k.begin(c)
	for forever || k.live > 0 {
		k.checkReady()
		switch {
		case k.workWaits() && k.mayWork():
			k.work()
		case k.ready != 0:
			k.turns(k.next())
			if k.timed {
				k.last.Left = k.cpu.SliceLeft()
			}
		default:
			k.cpu.Poll() // an interrupt that waits is work, too
			if !k.workWaits() {
				idle.Idle()
			}
			if !k.workWaits() {
				k.idle()
			}
		}
	}
}

// ServeUntil does kernel work, and sleeps where there is none, until done reports true: for a board that waits for a device
// before it loads tasks. done is asked after each piece of work. It is a wiring error once tasks were loaded.
func (k *Kernel) ServeUntil(done func() bool, c capability.MainLoop) {
	k.begin(c)
	if k.sealed {
		panic(misuse + "ServeUntil was called after Load")
	}
	for !done() {
		if k.workWaits() {
			k.work()
		} else {
			k.idle()
		}
	}
	k.last.Reason = StopNone
}

// loop does the most urgent thing, again and again: kernel work, if it may go on, else turns of
// tasks, else sleep.
//
//go:nosplit
func (k *Kernel) loop(forever bool) {
	for forever || k.live > 0 {
		k.checkReady()
		switch {
		case k.workWaits() && k.mayWork():
			k.work()
		case k.ready == 0:
			k.idle()
		default:
			k.turns(k.next())
			if k.timed {
				k.last.Left = k.cpu.SliceLeft()
			}
		}
	}
}

// workWaits reports whether there is kernel work.
func (k *Kernel) workWaits() bool { return k.deferred.pending != 0 || *k.interrupts != 0 }

// next is the ready task that the scheduler chooses. Its slice begins, but if the kernel
// preempted it: then it goes on with the one that it has, which costs no write to the timer.
//
//go:nosplit
func (k *Kernel) next() *Task {
	preempted := k.last.Reason == StopPreempted
	if t := k.running; preempted && k.inTurn && k.ready&t.bit != 0 {
		return t
	}
	slot, slice := k.scheduler.Next(k.ready, k.last)
	if !preempted || k.last.Slot != slot {
		k.startSlice(slice)
	}
	return k.tasks[slot]
}

// turns runs a ready task until it waits, ends or is stopped, an interrupt comes, the kernel
// has work, or it made another task ready. No other system call ends the turn. Whether the
// slice is over, mayWork or work finds out. A task that waits hands the processor on, if the
// scheduler would choose the next slot anyway and nothing else is to be done.
//
//go:nosplit
func (k *Kernel) turns(t *Task) {
	for {
		k.running, k.goesOn = t, true
		id := t.id
		if t.state != Running || k.watched(t) {
			k.beginTurn(t)
		}
		trap := TrapSyscall
		for k.goesOn && trap == TrapSyscall {
			trap = k.cpu.Switch(t.slot)
		}
		if trap == TrapFault {
			k.fault(t, k.cpu.Fault())
		}
		// Running or Growing. One that restarted has had its turn.
		if t.state <= Growing && t.kept == 0 && t.id == id {
			k.endTurn(t, StopPreempted)
			return
		}
		if !k.inTurn || k.ready == 0 || k.workWaits() {
			k.endTurn(t, StopNoWork)
			return
		}
		k.handedOn = true
		t = k.following(t)
	}
}

// watched reports whether a driver is to be told when the task gets the CPU.
func (k *Kernel) watched(t *Task) bool {
	s := k.switchSlots
	return s != nil && s.holders&t.bit != 0
}

// beginTurn goes on with what a task is in that does not run now, and tells who is to be told.
//
//go:nosplit
func (k *Kernel) beginTurn(t *Task) {
	switch t.state {
	case Growing:
		k.grow(t)
	case Yielded:
		k.runUpcall(t)
	}
	if k.watched(t) && t.state == Running {
		k.onSwitch.ContextSwitch(t.id)
	}
}

// endTurn keeps how a turn ended.
func (k *Kernel) endTurn(t *Task, reason StopReason) { k.last.Slot, k.last.Reason = t.slot, reason }

// following is the next ready task behind t, around the end. There is one.
func (k *Kernel) following(t *Task) *Task {
	if later := k.ready & -(t.bit << 1); later != 0 {
		return k.first(later)
	}
	return k.first(k.ready)
}

// idle sleeps until an interrupt. No slice is running then, nor is one to be gone on with.
func (k *Kernel) idle() {
	k.last.Reason = StopNoWork
	k.startSlice(0)
	k.cpu.Idle()
}

// expire ends the turn that an interrupt preempted as one whose slice was over.
func (k *Kernel) expire() {
	if k.last.Reason != StopPreempted {
		return
	}
	if k.handedOn { // the rest of another's slice: its own begins
		k.startSlice(k.slice)
		return
	}
	k.tasks[k.last.Slot].expired++
	k.last.Reason, k.last.Left = StopExpired, 0
}

// startSlice begins a slice of that length, 0 for none.
func (k *Kernel) startSlice(micros uint64) {
	if micros != 0 || k.slice != 0 {
		k.slice, k.handedOn = micros, false
		k.cpu.SetSlice(micros)
	}
}

// wake notes what happened to a task: if it is ready by that, a preemptive scheduler is
// asked again, unless it is its turn anyway.
func (k *Kernel) wake(t *Task) {
	k.update(t)
	if k.preemptive && t != k.running {
		k.goesOn = false
	}
}

// update notes whether the task can run now, after anything that may have changed that.
func (k *Kernel) update(t *Task) {
	if t.ready() {
		k.ready |= t.bit
		return
	}
	k.ready &^= t.bit
}
