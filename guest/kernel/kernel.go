package kernel

import "kapsel/guest/kernel/capability"

// Kernel is the whole state of the kernel. It is made once, statically, by the board.
type Kernel struct {
	cpu       CPU
	platform  Platform
	scheduler Scheduler
	policy    FaultPolicy
	debug     Writer

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

// Config is what a board wires into the kernel. Every field is needed.
type Config struct {
	CPU       CPU
	Platform  Platform
	Scheduler Scheduler
	Policy    FaultPolicy
	Debug     Writer // takes the kernel's messages
	RAM       []byte // memory for tasks, starting on a page
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
	k.expire()
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

// expire tells the end of the slice from other interrupts. It does so behind the kernel's work:
// what ended until then had its interrupt served, and no other will come for it.
func (k *Kernel) expire() {
	if k.last.Reason == StopPreempted && k.sliceEnd != 0 && k.cpu.Now() >= k.sliceEnd {
		k.tasks[k.last.Slot].expired++
		k.last.Reason, k.last.Left = StopExpired, 0
	}
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

// turn runs a ready task until it waits, ends or is stopped, an interrupt comes, the kernel
// has work, or it made another task ready. No other system call ends the turn. Whether the
// slice is over, expire finds out.
func (k *Kernel) turn(t *Task) StopReason {
	k.woken = 0
	if t.state == Yielded {
		k.runUpcall(t)
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
			return StopPreempted
		}
	}
	return StopNoWork
}
