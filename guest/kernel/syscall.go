package kernel

import "kapsel/guest/abi"

// syscall serves one system call. Words of 32 bits are taken from registers of 64, and
// what stands above them is ignored (docs/abi.md, section 1).
func (k *Kernel) syscall(t *Task, trap *Trap) {
	t.syscalls++
	a := &trap.Args
	switch trap.Class {
	case abi.Command:
		id, r := t.id, k.command(t, uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]))
		if t.id == id && t.alive() { // else the driver ended or restarted it
			k.answer(t, r)
		}
	case abi.Yield:
		k.yield(t, a)
	case abi.Subscribe:
		k.subscribe(t, event{uint32(a[0]), uint32(a[1])}, a[2], a[3])
	case abi.AllowReadWrite, abi.AllowReadOnly, abi.AllowUserspaceReadable:
		k.allow(t, trap.Class, event{uint32(a[0]), uint32(a[1])}, a[2], a[3])
	case abi.Memop:
		k.answer(t, k.memop(t, uint32(a[0]), a[1]))
	case abi.Exit:
		k.exit(t, uint32(a[0]), uint32(a[1]))
	default:
		k.fault(t, Fault{Vector: NoVector, Code: uint64(trap.Class), Name: "unknown system call class"})
	}
}

// answer gives a result to the task: variant, then the payload.
func (k *Kernel) answer(t *Task, r Result) {
	if t.bits32 {
		r = r.narrow()
	}
	k.cpu.Return(t.slot, uint64(r.variant), r.a, r.b, r.c)
}

func (k *Kernel) command(t *Task, driver, command, a0, a1 uint32) Result {
	if t.restricted && !t.object.AllowsCommand(driver, command) {
		return Failed(abi.NODEVICE)
	}
	d := k.platform.Driver(driver)
	if d == nil {
		return Failed(abi.NODEVICE)
	}
	return d.Command(t.id, command, a0, a1)
}

// exit ends or restarts the task.
func (k *Kernel) exit(t *Task, kind, code uint32) {
	switch kind {
	case abi.ExitTerminate:
		t.completion, t.exited = code, true
		k.end(t, Terminated)
	case abi.ExitRestart:
		t.completion, t.exited = code, true
		k.restart(t)
	default:
		k.answer(t, Failed(abi.NOSUPPORT))
	}
}

// yield gives up the CPU for an upcall.
func (k *Kernel) yield(t *Task, a *[4]uint64) {
	switch uint32(a[0]) {
	case abi.YieldNoWait:
		k.yieldNoWait(t, a[1])
	case abi.YieldWait:
		t.state = Yielded
		if t.queue.count != 0 {
			k.runUpcall(t)
		}
	case abi.YieldWaitFor:
		k.yieldWaitFor(t, event{uint32(a[1]), uint32(a[2])})
	default:
		k.cpu.Return(t.slot, 0, 0, 0, 0)
	}
}

// yieldNoWait runs an upcall if one waits, and tells so in the byte at flag. A flag
// outside the task's RAM is ignored.
func (k *Kernel) yieldNoWait(t *Task, flag uint64) {
	if t.queue.count == 0 {
		t.memory.WriteU8(flag, 0)
		k.cpu.Return(t.slot, 0, 0, 0, 0)
		return
	}
	t.memory.WriteU8(flag, 1)
	k.runUpcall(t)
}

// yieldWaitFor answers with the arguments of that event, if it happened already, or makes
// the task wait for it.
func (k *Kernel) yieldWaitFor(t *Task, e event) {
	t.state, t.awaited = YieldedFor, e
	if u, ok := t.queue.take(e); ok {
		k.answerWaitFor(t, u.Args)
	} else if args, ok := k.takeWaitingEvent(t, e); ok {
		k.answerWaitFor(t, args)
	}
}

// takeWaitingEvent takes the event that happened while its upcall was null.
func (k *Kernel) takeWaitingEvent(t *Task, e event) ([3]uint32, bool) {
	d := k.platform.Driver(e.driver)
	if d == nil {
		return [3]uint32{}, false
	}
	s := d.Slots()
	if s == nil || e.number >= uint32(s.counts.Upcalls) || t.grants[s.index] == 0 {
		return [3]uint32{}, false
	}
	slot := s.upcall(t, e.number)
	low, high := load64(slot[slotEvent:]), load64(slot[slotEventMore:])
	if high&eventWaits == 0 {
		return [3]uint32{}, false
	}
	store64(slot[slotEventMore:], 0)
	return [3]uint32{uint32(low), uint32(low >> 32), uint32(high)}, true
}

// answerWaitFor ends a Yield-WaitFor.
func (k *Kernel) answerWaitFor(t *Task, args [3]uint32) {
	k.cpu.Return(t.slot, uint64(args[0]), uint64(args[1]), uint64(args[2]), 0)
	t.state = Running
}
