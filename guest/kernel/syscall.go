package kernel

import "kapsel/guest/abi"

// syscall serves a system call that is no Yield. Words of 32 bits are taken from registers
// of 64, and what stands above them is ignored (docs/abi.md, section 1).
func (k *Kernel) syscall(t *Task, trap *Trap) {
	a := &trap.Args
	switch trap.Class {
	case abi.Command:
		k.command(t, trap)
	case abi.Subscribe:
		k.subscribe(t, trap, event{uint32(a[0]), uint32(a[1])}, pair{a[2], a[3]})
	case abi.AllowReadWrite, abi.AllowReadOnly, abi.AllowUserspaceReadable:
		k.allow(t, trap, event{uint32(a[0]), uint32(a[1])}, pair{a[2], a[3]})
	case abi.Memop:
		t.answer(trap, k.memop(t, trap))
	case abi.Exit:
		k.exit(t, trap)
	default:
		k.fault(t, &Fault{Vector: NoVector, Code: uint64(trap.Class), Name: "unknown system call class"})
	}
}

// answer gives a result to the task: variant, then the payload.
func (t *Task) answer(trap *Trap, r Result) {
	if t.bits32 {
		r = r.narrow()
	}
	trap.Args = r.words()
}

// command calls a driver for a special task.
//
//go:nosplit
func (k *Kernel) command(t *Task, trap *Trap) {
	a := &trap.Args
	driver, command := uint32(a[0]), uint32(a[1])
	r := Failed(abi.NODEVICE)
	if !t.restricted || t.object.AllowsCommand(driver, command) {
		if d := k.platform.Driver(driver); d != nil {
			r = d.Command(t.id, command, uint32(a[2]), uint32(a[3]))
		}
	}
	t.answer(trap, r)
}

// exit ends or restarts the task.
func (k *Kernel) exit(t *Task, trap *Trap) {
	kind, code := uint32(trap.Args[0]), uint32(trap.Args[1])
	switch kind {
	case abi.ExitTerminate:
		t.completion, t.exited = code, true
		k.end(t, Terminated)
	case abi.ExitRestart:
		t.completion, t.exited = code, true
		k.restart(t)
	default:
		t.answer(trap, Failed(abi.NOSUPPORT))
	}
}

// yield gives up the CPU for an upcall. NoWait tells in the byte at the address in the
// second word whether one runs; an address outside the task's RAM is ignored.
//
//go:nosplit
func (k *Kernel) yield(t *Task, a *[4]uint64) {
	upcall := t.queue.count != 0
	switch uint32(a[0]) {
	case abi.YieldNoWait:
		t.memory.WriteU8(a[1], bit(upcall))
	case abi.YieldWait:
		if !upcall {
			k.wait(t, Yielded)
		}
	case abi.YieldWaitFor:
		k.yieldWaitFor(t, event{uint32(a[1]), uint32(a[2])})
		return
	default:
		upcall = false
	}
	if upcall {
		k.runUpcall(t)
		return
	}
	*a = [4]uint64{}
}

// wait ends the turn of a task until what it waits for happens.
func (k *Kernel) wait(t *Task, s State) {
	t.state = s
	k.ready &^= t.bit
	k.attention = true
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// yieldWaitFor answers with the arguments of that event, if it happened already, or makes
// the task wait for it.
//
//go:nosplit
func (k *Kernel) yieldWaitFor(t *Task, e event) {
	if t.queue.count != 0 {
		if k.takeQueued(t, e) {
			return
		}
	}
	if t.newest.waits && t.newest.event == e {
		t.newest.waits = false
		t.answerWaitFor(&t.newest.args)
		return
	}
	if t.older != 0 || t.late != 0 {
		if k.takeWaiting(t, e) {
			return
		}
	}
	t.awaited = e
	k.wait(t, YieldedFor)
}

// answerWaitFor answers a Yield-WaitFor at once.
func (t *Task) answerWaitFor(args *[3]uint32) {
	t.call.Args = [4]uint64{uint64(args[0]), uint64(args[1]), uint64(args[2]), 0}
}
