package kernel

import "kapsel/guest/kernel/capability"

// Kernel is the whole state of the kernel. It is made once, statically, by the board.
type Kernel struct {
	cpu       CPU
	platform  Platform
	scheduler Scheduler
	policy    FaultPolicy
	debug     Writer
	onSwitch  ContextSwitchCallback // or nil

	tasks  [MaxTasks]Task
	loaded int    // slots in use
	live   int    // tasks that may run again
	woken  uint32 // slots that got something to do since the turn began
	serial uint32 // the last identifier given to a task
	ram    []byte // memory for tasks that none has yet

	grants   int // grants made
	sealed   bool
	deferred deferredCalls

	last     Stop   // how the last turn ended
	sliceEnd uint64 // when the running slice is over, in CPU.Now's time; 0: never
}

// Config is what a board wires into the kernel. Every field but ContextSwitch is needed.
type Config struct {
	CPU       CPU
	Platform  Platform
	Scheduler Scheduler
	Policy    FaultPolicy
	Debug     Writer // takes the kernel's messages
	RAM       []byte // memory for tasks, starting on a page

	ContextSwitch ContextSwitchCallback // told of each turn; nil: nobody is
}

// ContextSwitchCallback is told when a task gets the CPU, for drivers that keep something
// about a task in its own memory.
type ContextSwitchCallback interface {
	// ContextSwitch is called at the start of each turn of a task, before the task runs.
	// System calls that do not end the turn are none of its business.
	ContextSwitch(id TaskID)
}

// Init makes the kernel ready for grants, deferred calls and Load.
func (k *Kernel) Init(c Config) {
	if c.CPU == nil || c.Platform == nil || c.Scheduler == nil || c.Policy == nil || c.Debug == nil {
		panic("kernel: Init needs a CPU, a Platform, a Scheduler, a Policy and a Debug writer")
	}
	k.cpu = c.CPU
	k.platform = c.Platform
	k.scheduler = c.Scheduler
	k.policy = c.Policy
	k.debug = c.Debug
	k.ram = c.RAM
	k.onSwitch = c.ContextSwitch
}

// Run is the main loop. It returns when no task can ever run again: each has terminated
// or was stopped by a fault.
func (k *Kernel) Run(c capability.MainLoop) {
	c.Require()
	for k.live > 0 {
		k.step()
	}
}

// RunForever is the main loop of a board where somebody can boot tasks when none can run.
func (k *Kernel) RunForever(c capability.MainLoop) {
	c.Require()
	for {
		k.step()
	}
}

// step does the most urgent thing: kernel work, else a task's turn, else sleep.
func (k *Kernel) step() {
	if k.deferred.pending != 0 || k.cpu.InterruptPending() {
		k.work()
		return
	}
	ready := k.ready()
	if ready == 0 {
		k.idle()
		return
	}
	slot, slice := k.scheduler.Next(ready, k.last)
	t := &k.tasks[slot]
	k.startSlice(slot, slice)
	reason := k.turn(t)
	k.last = Stop{Slot: slot, Reason: reason, Left: k.sliceLeft()}
}

// work serves all waiting interrupts, then deferred calls until an interrupt waits.
func (k *Kernel) work() {
	for line, ok := k.cpu.NextInterrupt(); ok; line, ok = k.cpu.NextInterrupt() {
		k.platform.Interrupt(line)
	}
	for k.deferred.pending != 0 && !k.cpu.InterruptPending() {
		k.deferred.runLowest()
	}
}

// ready has a bit for each slot whose task can run now.
func (k *Kernel) ready() uint32 {
	var set uint32
	for slot := range k.loaded {
		if k.tasks[slot].ready() {
			set |= 1 << slot
		}
	}
	return set
}

// idle sleeps until an interrupt. No slice is running then, nor is one to be gone on with.
func (k *Kernel) idle() {
	k.last.Reason = StopNoWork
	k.setSlice(0)
	k.cpu.Idle()
}

// startSlice gives the task a slice, unless the kernel preempted it just now: then it
// goes on with the slice it has, which costs no write to the timer.
func (k *Kernel) startSlice(slot int, slice uint64) {
	if k.last.Reason == StopPreempted && k.last.Slot == slot {
		return
	}
	if slice == 0 {
		k.setSlice(0)
		return
	}
	k.setSlice(k.cpu.Now() + slice)
}

func (k *Kernel) setSlice(end uint64) {
	if k.sliceEnd != end {
		k.sliceEnd = end
		k.cpu.SetSlice(end)
	}
}

// wake notes that the task may be ready now: the scheduler is asked again.
func (k *Kernel) wake(t *Task) { k.woken |= 1 << t.slot }

// sliceLeft is what is left of the running slice, 0 if it is over or has no limit.
func (k *Kernel) sliceLeft() uint64 {
	if k.sliceEnd == 0 {
		return 0
	}
	return k.sliceEnd - min(k.cpu.Now(), k.sliceEnd)
}

// turn runs a ready task until it waits, ends or is stopped, its slice is over, the kernel
// has work, or it made another task ready. No other system call ends the turn.
func (k *Kernel) turn(t *Task) StopReason {
	k.woken = 0
	if t.state == Yielded {
		k.runUpcall(t)
	}
	if k.onSwitch != nil && t.state == Running {
		k.onSwitch.ContextSwitch(t.id)
	}
	for t.state == Running && !t.stopped {
		if k.deferred.pending != 0 || k.woken&^(1<<t.slot) != 0 {
			return StopPreempted
		}
		trap := k.cpu.Switch(t.slot)
		switch trap.Reason {
		case TrapSyscall:
			k.syscall(t, trap)
		case TrapFault:
			k.fault(t, trap.Fault)
			return StopNoWork
		default:
			return k.interrupted(t)
		}
	}
	return StopNoWork
}

// interrupted tells the end of the slice from other interrupts.
func (k *Kernel) interrupted(t *Task) StopReason {
	if k.sliceEnd == 0 || k.cpu.Now() < k.sliceEnd {
		return StopPreempted
	}
	t.expired++
	return StopExpired
}
