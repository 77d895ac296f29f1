package kernel

import "kapsel/guest/abi"

// SystemCall serves a system call of the running task, of that class with the words r0 to r3 as
// the task gave them, unchecked. It returns the result words, and whether the task goes on with
// them at once. If not, they are CPU.Results, or nobody's if the task has ended or goes on in an
// upcall. Only the machine layer may call it (tools/capcheck): it acts for the task, with no capability.
//
// Words of 32 bits are taken from registers of 64, and what stands above them is ignored
// (docs/abi.md, section 1).
//
//go:nosplit
func SystemCall(k *Kernel, class abi.Class, r0, r1, r2, r3 uint64) (s0, s1, s2, s3 uint64, on bool) {
	t := k.running
	t.syscalls++
	if class == abi.Yield {
		if uint32(r0) == abi.YieldWaitFor {
			return k.yieldWaitFor(t, event{uint32(r1), uint32(r2)})
		}
		return k.yield(t, uint32(r0), r1)
	}
	if class != abi.Command {
		return k.answer(k.call(t, class, r0, r1, r2, r3))
	}
	// Most tasks may use any driver, and most drivers are in the first place to look at.
	p := k.drivers.place(uint32(r0), 0)
	if p.key != t.anyDriver|uint64(uint32(r0)) {
		return k.answer(k.command(t, uint32(r0), uint32(r1), uint32(r2), uint32(r3)))
	}
	return k.answer(p.driver.Command(t.id, uint32(r1), uint32(r2), uint32(r3)))
}

// command calls any driver, if the task may.
func (k *Kernel) command(t *Task, driver, command, a0, a1 uint32) Result {
	d := k.drivers.find(driver)
	if d == nil || t.restricted() && !t.object.AllowsCommand(driver, command) {
		return Failed(abi.NODEVICE)
	}
	return d.Command(t.id, command, a0, a1)
}

// answer is what SystemCall returns for a result.
func (k *Kernel) answer(r Result) (s0, s1, s2, s3 uint64, on bool) {
	return uint64(r.variant), r.a, r.b, r.c, k.goesOn
}

// call serves a system call that is neither a Yield nor a Command.
//
//go:nosplit
func (k *Kernel) call(t *Task, class abi.Class, r0, r1, r2, r3 uint64) Result {
	switch class {
	case abi.Subscribe:
		return k.subscribe(t, event{uint32(r0), uint32(r1)}, pair{r2, r3})
	case abi.AllowReadWrite, abi.AllowReadOnly, abi.AllowUserspaceReadable:
		return k.allow(t, class, event{uint32(r0), uint32(r1)}, pair{r2, r3})
	case abi.Memop:
		return k.memop(t, uint32(r0), r1)
	case abi.Exit:
		return k.exit(t, uint32(r0), uint32(r1))
	}
	*t.results = [4]uint64{r0, r1, r2, r3} // for the dump
	k.fault(t, &Fault{Vector: NoVector, Code: uint64(class), Name: "unknown system call class"})
	return Result{}
}

// exit ends or restarts the task.
func (k *Kernel) exit(t *Task, kind, code uint32) Result {
	switch kind {
	case abi.ExitTerminate:
		t.completion, t.exited = code, true
		k.end(t, Terminated)
	case abi.ExitRestart:
		t.completion, t.exited = code, true
		k.restart(t)
	}
	return Failed(abi.NOSUPPORT)
}

// yield gives up the CPU for an upcall, or waits for one. NoWait tells in the byte at the address
// told whether an upcall runs; an address outside the task's RAM is ignored.
//
//go:nosplit
func (k *Kernel) yield(t *Task, kind uint32, told uint64) (s0, s1, s2, s3 uint64, on bool) {
	upcall := t.queue.count != 0
	switch kind {
	case abi.YieldNoWait:
		t.memory.WriteU8(told, bit(upcall))
	case abi.YieldWait:
		if !upcall {
			k.wait(t, Yielded)
		}
	default:
		upcall = false
	}
	if upcall {
		k.runUpcall(t)
		return 0, 0, 0, 0, false
	}
	return 0, 0, 0, 0, k.goesOn
}

// wait ends the turn of a task until what it waits for happens.
func (k *Kernel) wait(t *Task, s State) {
	t.state = s
	k.ready &^= t.bit
	k.goesOn = false
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
func (k *Kernel) yieldWaitFor(t *Task, e event) (s0, s1, s2, s3 uint64, on bool) {
	if n := &t.newest; n.waits && n.event == e && t.queue.count == 0 { // as it mostly is, if it happened
		n.waits = false
		return uint64(n.args[0]), uint64(n.args[1]), uint64(n.args[2]), 0, true
	}
	if t.queue.count != 0 || t.older != 0 { // while something is late the queue is full
		if args, ok := k.take(t, e); ok {
			return uint64(args[0]), uint64(args[1]), uint64(args[2]), 0, true
		}
	}
	t.awaited = e
	k.wait(t, YieldedFor)
	return 0, 0, 0, 0, false
}

// take takes what happened first of an event and is still to be told, or reports false if nothing is:
// from the queue, then the newest event, then from its slot.
func (k *Kernel) take(t *Task, e event) (args [3]uint32, ok bool) {
	if args, ok = k.takeQueued(t, e); ok {
		return args, true
	}
	if n := &t.newest; n.waits && n.event == e {
		n.waits = false
		return n.args, true
	}
	return k.takeWaiting(t, e)
}
