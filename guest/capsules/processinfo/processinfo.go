// Package processinfo is driver 0x10002: a task looks at all tasks, and controls them. Numbers, answers and layouts are Tock's
// (capsules/extra/src/process_info_driver.rs).
package processinfo

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Commands. A PID is the low word of the number of the task's run.
const (
	exists   = 0
	count    = 1
	ids      = 2
	shortIDs = 3
	name     = 4 // of the PID a0
	stats    = 5 // of the PID a0
	control  = 6 // of the PID a0: to the state a1
)

const info = 0 // read-write allow number: what is answered

// States that control makes.
const (
	start     = 1
	stop      = 2
	fault     = 3
	terminate = 4
	boot      = 5
)

// ProcessInfo is the driver.
type ProcessInfo struct {
	kernel   *kernel.Kernel
	tasks    capability.TaskManagement
	everyone bool // may use it; else those whose objects list it
	grant    kernel.Grant[struct{}]
	seen     kernel.Task // a copy of the task that a command is about
	piece    [64]byte    // of a name
}

// Init ties the driver to the kernel. With everyone any task may use it, else those whose objects list it among the drivers that they
// may use.
func (d *ProcessInfo) Init(k *kernel.Kernel, everyone bool, c capability.Set) {
	d.kernel, d.everyone, d.tasks = k, everyone, c.TaskManagement
	d.grant.Init(k, abi.DriverProcessInfo, kernel.SlotCounts{ReadWrite: info + 1}, c.MemoryAllocation)
}

// Slots implements kernel.Driver.
func (d *ProcessInfo) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *ProcessInfo) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	if !d.everyone && !d.kernel.Lists(id, abi.DriverProcessInfo) {
		return kernel.Failed(abi.NODEVICE)
	}
	switch command {
	case exists:
		return kernel.Done()
	case count:
		return kernel.Value(d.count())
	case ids:
		return kernel.Value(d.fill(id, d.pid))
	case shortIDs:
		return kernel.Value(d.fill(id, func() uint32 {
			short, _ := d.seen.ShortID()
			return short
		}))
	case name:
		length := uint32(0)
		if e := d.about(id, a0, func(b kernel.ReadWriteBuffer) { length = d.writeName(b) }); e != abi.OK {
			return kernel.Failed(e)
		}
		return kernel.Value(length)
	case stats:
		e := d.about(id, a0, d.writeStats)
		if e == abi.INVAL { // as in Tock: the buffer is left alone
			e = abi.OK
		}
		return kernel.Outcome(e)
	case control:
		return d.control(a0, a1)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// pid is the PID of the task that is looked at.
func (d *ProcessInfo) pid() uint32 { return uint32(d.seen.ID().Number()) }

// count is how many tasks there are.
func (d *ProcessInfo) count() uint32 {
	n := uint32(0)
	d.kernel.EachTask(d.tasks, &d.seen, func() { n++ })
	return n
}

// fill writes a word for each task to the buffer of the task id, if it has one, as far as it goes, and returns how many tasks there are:
// 0 if there is no room for the grant.
func (d *ProcessInfo) fill(id kernel.TaskID, word func() uint32) uint32 {
	n := uint32(0)
	d.grant.Enter(id, func(_ *struct{}, task *kernel.TaskData) {
		b := task.ReadWrite(info)
		d.kernel.EachTask(d.tasks, &d.seen, func() {
			putWord(b, n, word())
			n++
		})
	})
	return n
}

// putWord writes the i-th word of a buffer, if it has all of that.
func putWord(b kernel.ReadWriteBuffer, i, v uint32) {
	if at := uint64(i) * 4; b.Len() >= at+4 {
		b.WriteAt([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}, at)
	}
}

// about has something about the task with a PID written to the buffer of the task id. It returns abi.INVAL if there is no such task, and
// abi.NOMEM if there is no room for the grant.
func (d *ProcessInfo) about(id kernel.TaskID, pid uint32, write func(b kernel.ReadWriteBuffer)) abi.ErrorCode {
	found := abi.INVAL
	e := d.grant.Enter(id, func(_ *struct{}, task *kernel.TaskData) {
		b := task.ReadWrite(info)
		d.kernel.EachTask(d.tasks, &d.seen, func() {
			if d.pid() == pid {
				found = abi.OK
				write(b)
			}
		})
	})
	if e != abi.OK {
		return e
	}
	return found
}

// writeName writes as much of the task's name as the buffer has room for, and returns the length of all of it.
func (d *ProcessInfo) writeName(b kernel.ReadWriteBuffer) uint32 {
	for at := 0; at < d.seen.NameLength(); {
		n := d.seen.ReadName(d.piece[:], at)
		if b.WriteAt(d.piece[:n], uint64(at)) < n {
			break
		}
		at += n
	}
	return uint32(d.seen.NameLength())
}

// writeStats writes slices used up, system calls, restarts and the state.
func (d *ProcessInfo) writeStats(b kernel.ReadWriteBuffer) {
	s := d.seen.Statistics()
	putWord(b, 0, uint32(s.Expired))
	putWord(b, 1, uint32(s.Syscalls))
	putWord(b, 2, uint32(s.Restarts))
	putWord(b, 3, uint32(d.seen.TockState()))
}

// control brings the task with a PID to another state, if it can be brought there from its own.
func (d *ProcessInfo) control(pid, state uint32) kernel.Result {
	var id kernel.TaskID
	terminated, found := false, false
	d.kernel.EachTask(d.tasks, &d.seen, func() {
		if d.pid() == pid {
			id, found = d.seen.ID(), true
			terminated = d.seen.State() == kernel.Terminated
		}
	})
	if !found {
		return kernel.Failed(abi.INVAL)
	}
	switch state {
	case start:
		d.kernel.Start(id, d.tasks)
	case stop:
		d.kernel.Stop(id, d.tasks)
	case fault:
		d.kernel.Fault(id, "told to by a task", d.tasks)
	case terminate:
		d.kernel.Terminate(id, d.tasks)
	case boot:
		if terminated {
			d.kernel.Boot(id, d.tasks)
		}
	}
	return kernel.Done()
}
