// Package apploader is driver 0x10001: a task gives the machine another task, in pieces, and unloads tasks. Numbers, answers and upcalls are
// Tock's (capsules/extra/src/app_loader.rs, kernel/src/dynamic_binary_storage.rs). One task uses the driver at a time.
package apploader

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Commands.
const (
	exists   = 0
	setUp    = 1 // size a0
	write    = 2 // offset a0, length a1
	finalize = 3
	load     = 4
	abort    = 5
	unload   = 6 // ShortID a0
)

// Subscribe numbers: status, and what else is said.
const (
	setUpDone    = 0
	writeDone    = 1 // bytes
	finalizeDone = 2
	loadDone     = 3
	abortDone    = 4
	unloadDone   = 5 // handle
	upcalls      = 6
)

const (
	source   = 0    // read-only allow number: what is written
	maxWrite = 4096 // bytes at once, as in Tock
)

// AppLoader is the driver.
type AppLoader struct {
	kernel   *kernel.Kernel
	loader   *kernel.Loader
	tasks    capability.TaskManagement
	everyone bool                         // may use it; else those whose objects list it
	grant    kernel.Grant[kernel.Pending] // the upcall that the loader is to cause

	owner  kernel.TaskID // who uses it, of a stage other than free
	stage  stage
	size   uint32 // of the object
	handle uint32 // of the task that is unloaded
	piece  [256]byte
}

// stage is what its owner has come to.
type stage uint8

const (
	free      stage = iota // nobody uses it
	settingUp              // the loader makes room
	writing
	finalized // all is written
	loading   // the loader makes a task
	unloading // the loader gives back memory
)

// Init ties the driver to a loader, of which it is the only client. With everyone any task may use it, else those whose objects list
// it among the drivers that they may use.
func (d *AppLoader) Init(k *kernel.Kernel, loader *kernel.Loader, everyone bool, c capability.Set) {
	d.kernel, d.loader, d.everyone, d.tasks = k, loader, everyone, c.TaskManagement
	d.grant.Init(k, abi.DriverAppLoader, kernel.SlotCounts{Upcalls: upcalls, ReadOnly: source + 1,
		Ends: kernel.EndsFailed(setUpDone) | kernel.EndsFailed(writeDone) | kernel.EndsFailed(finalizeDone) |
			kernel.EndsFailed(loadDone) | kernel.EndsFailed(abortDone) | kernel.EndsFailed(unloadDone)}, c.MemoryAllocation)
	loader.SetLoaderClient(d)
}

// Slots implements kernel.Driver.
func (d *AppLoader) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *AppLoader) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch {
	case !d.everyone && !d.kernel.Lists(id, abi.DriverAppLoader):
		return kernel.Failed(abi.NODEVICE)
	case command == exists:
		return kernel.Done()
	case command > unload:
		return kernel.Failed(abi.NOSUPPORT)
	case d.stage != free && d.owner != id, d.pending() && command != abort:
		return kernel.Failed(abi.BUSY)
	}
	return kernel.Outcome(d.obey(id, command, a0, a1))
}

// pending reports whether the loader is to say yet that something is done.
func (d *AppLoader) pending() bool {
	return d.stage == settingUp || d.stage == loading || d.stage == unloading
}

// obey carries out a command of a task that may use the driver now.
func (d *AppLoader) obey(id kernel.TaskID, command, a0, a1 uint32) abi.ErrorCode {
	switch command {
	case setUp:
		return d.setUp(id, a0)
	case write:
		return d.write(id, a0, a1)
	case finalize:
		if d.stage != writing {
			return abi.INVAL
		}
		d.stage = finalized
		d.tell(finalizeDone, abi.OK, 0)
		return abi.OK
	case load:
		if d.stage != finalized {
			return abi.INVAL
		}
		return d.begin(id, loading, loadDone, d.loader.Load)
	case abort:
		if d.stage != settingUp && d.stage != writing {
			return abi.INVAL
		}
		e := d.loader.Abort()
		d.tell(abortDone, e, 0)
		d.stage = free
		return abi.OK
	}
	return d.unload(id, a0)
}

// setUp begins to make room for an object of so many bytes. It returns abi.INVAL if there is one, abi.FAIL if there is no room.
func (d *AppLoader) setUp(id kernel.TaskID, size uint32) abi.ErrorCode {
	if d.stage != free {
		return abi.INVAL
	}
	d.size = size
	return d.begin(id, settingUp, setUpDone, func() abi.ErrorCode {
		if d.loader.SetUp(uint64(size)) != abi.OK {
			return abi.FAIL
		}
		return abi.OK
	})
}

// begin has the loader begin with what the task is told the end of, by upcall n. Without room for the grant nothing is begun.
func (d *AppLoader) begin(id kernel.TaskID, s stage, n uint32, first func() abi.ErrorCode) abi.ErrorCode {
	if e := d.grant.Enter(id, func(p *kernel.Pending, _ *kernel.TaskData) { *p |= 1 << n }); e != abi.OK {
		return e
	}
	before := d.stage
	d.owner, d.stage = id, s
	e := first()
	if e != abi.OK {
		d.stage = before
		d.grant.Enter(id, func(p *kernel.Pending, _ *kernel.TaskData) { *p &^= 1 << n })
	}
	return e
}

// write copies a piece of the task's buffer into the object. It returns abi.INVAL for bytes outside of the object, and for what is no
// header of it at its start, and abi.RESERVE without a buffer.
func (d *AppLoader) write(id kernel.TaskID, offset, length uint32) abi.ErrorCode {
	size := uint32(0)
	if d.stage == writing || d.stage == finalized {
		size = d.size
	}
	if uint64(offset)+uint64(length) > uint64(size) {
		return abi.INVAL
	}
	result := abi.OK
	e := d.grant.Enter(id, func(_ *kernel.Pending, task *kernel.TaskData) {
		b := task.ReadOnly(source)
		if b.Len() == 0 {
			result = abi.RESERVE
			return
		}
		if d.stage != writing {
			result = abi.INVAL
			return
		}
		n := min(uint64(length), b.Len(), maxWrite)
		if result = d.copy(b, uint64(offset), n); result == abi.OK {
			task.ScheduleUpcall(writeDone, abi.OK.Status(), uint32(n), 0)
		}
	})
	if e != abi.OK {
		return e
	}
	return result
}

// copy copies n bytes of a buffer to an offset of the object. What is wrong with them is found out with the first ones.
func (d *AppLoader) copy(b kernel.ReadOnlyBuffer, offset, n uint64) abi.ErrorCode {
	for done := uint64(0); ; {
		piece := d.piece[:min(n-done, uint64(len(d.piece)))]
		if b.ReadAt(piece, done) < len(piece) {
			return abi.RESERVE
		}
		if e := d.loader.Write(offset+done, piece); e != abi.OK {
			return e
		}
		if done += uint64(len(piece)); done == n {
			return abi.OK
		}
	}
}

// unload unloads the task with a ShortID. It returns abi.INVAL if there is none, and abi.BUSY if an object is being written.
func (d *AppLoader) unload(id kernel.TaskID, shortID uint32) abi.ErrorCode {
	target, ok := d.kernel.WithShortID(shortID, d.tasks)
	switch {
	case shortID == 0:
		return abi.INVAL
	case d.stage != free:
		return abi.BUSY
	case !ok:
		return abi.INVAL
	}
	d.handle = uint32(target.Number())
	return d.begin(id, unloading, unloadDone, func() abi.ErrorCode { return d.loader.Unload(target) })
}

// tell tells the owner that something is done.
func (d *AppLoader) tell(n uint32, e abi.ErrorCode, more uint32) {
	d.grant.Enter(d.owner, func(p *kernel.Pending, task *kernel.TaskData) {
		*p &^= 1 << n
		task.ScheduleUpcall(n, e.Status(), more, 0)
	})
}

// SetUpDone implements kernel.LoaderClient.
func (d *AppLoader) SetUpDone() {
	if d.stage == settingUp {
		d.stage = writing
		d.tell(setUpDone, abi.OK, 0)
	}
}

// LoadDone implements kernel.LoaderClient.
func (d *AppLoader) LoadDone(_ kernel.TaskID, e abi.ErrorCode) {
	if d.stage == loading {
		d.stage = free
		d.tell(loadDone, e, 0)
	}
}

// UnloadDone implements kernel.LoaderClient.
func (d *AppLoader) UnloadDone() {
	if d.stage == unloading {
		d.stage = free
		d.tell(unloadDone, abi.OK, d.handle)
	}
}

// TaskEnded implements kernel.TaskEndCallback, as which the board has it called: what the task did not finish is given up.
func (d *AppLoader) TaskEnded(id kernel.TaskID) {
	if d.stage == free || d.owner != id {
		return
	}
	if d.stage != unloading { // that goes on by itself
		d.loader.Abort()
	}
	d.stage = free
}
