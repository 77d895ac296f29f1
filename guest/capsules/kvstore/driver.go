// Package kvstore is driver 0x50003: a key-value store for tasks, which their storage permissions divide. Numbers and answers are
// Tock's (capsules/extra/src/kv_driver.rs). Tasks that ask take turns.
package kvstore

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists         = 0
	get            = 1
	set            = 2
	remove         = 3
	add            = 4
	update         = 5
	garbageCollect = 6
)

// Subscribe and allow numbers.
const (
	done      = 0 // upcall: status, bytes of the value, 0
	keyBuffer = 0 // read-only
	input     = 1 // read-only: the value to set
	output    = 0 // read-write: the value that was got
)

// MemorySize is how much memory the driver needs, in bytes.
const MemorySize = storePages*storage.PageSize + storage.MaxKey + storage.MaxValue

// KVStore is the driver.
type KVStore struct {
	kernel  *kernel.Kernel
	grant   kernel.Grant[request]
	store   store
	key     []byte
	value   []byte
	busy    bool
	asker   kernel.TaskID // whose operation goes on, while busy
	rights  kernel.StoragePermissions
	tickets uint64 // turns ever waited for
}

// request is what a task asked for.
type request struct {
	ticket  uint64 // order of turns; 0: nothing is asked for
	command uint32
}

// Init ties the driver to its disk, which has the buckets that the layout says and no other client, and to MemorySize bytes.
func (d *KVStore) Init(k *kernel.Kernel, disk hil.NonvolatileStorage, layout *storage.Superblock, memory []byte, c capability.MemoryAllocation) {
	d.kernel = k
	d.grant.Init(k, abi.DriverKeyValue, kernel.SlotCounts{Upcalls: done + 1, ReadOnly: input + 1, ReadWrite: output + 1,
		Ends: kernel.EndsFailed(done)}, c)
	pages, rest := memory[:storePages*storage.PageSize], memory[storePages*storage.PageSize:]
	d.key, d.value = rest[:storage.MaxKey], rest[storage.MaxKey:][:storage.MaxValue]
	d.store.init(disk, layout, pages, d)
}

// Slots implements kernel.Driver.
func (d *KVStore) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *KVStore) Command(id kernel.TaskID, command, _, _ uint32) kernel.Result {
	switch {
	case command == exists:
		return kernel.Done()
	case command > garbageCollect:
		return kernel.Failed(abi.NOSUPPORT)
	}
	return kernel.Outcome(d.ask(id, command))
}

// ask takes a request, if it can be one now, and begins it if its turn has come.
func (d *KVStore) ask(id kernel.TaskID, command uint32) abi.ErrorCode {
	var why abi.ErrorCode
	e := d.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		switch {
		case q.ticket != 0:
			why = abi.NOMEM
		case command == garbageCollect: // there is none
			task.ScheduleUpcall(done, abi.OK.Status(), 0, 0)
		default:
			if why = d.acceptable(command, task); why == abi.OK {
				d.tickets++
				*q = request{d.tickets, command}
			}
		}
	})
	if e != abi.OK {
		return e
	}
	if why == abi.OK {
		d.serveOldest()
	}
	return why
}

// acceptable checks a request: its buffers first, as Tock does.
func (d *KVStore) acceptable(command uint32, task *kernel.TaskData) abi.ErrorCode {
	if task.ReadOnly(keyBuffer).Len() > storage.MaxKey || sets(command) && task.ReadOnly(input).Len() > storage.MaxValue {
		return abi.SIZE
	}
	rights, ok := d.kernel.StoragePermissions(task.ID())
	if ok && sets(command) {
		_, ok = rights.WriteID()
	}
	if !ok {
		return abi.INVAL
	}
	return abi.OK
}

// sets reports whether a command has a value.
func sets(command uint32) bool { return command == set || command == add || command == update }

// serveOldest begins the request of the task that waits longest for its turn, if the store is free.
func (d *KVStore) serveOldest() {
	for !d.busy {
		id, ticket := d.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		d.busy, d.asker = true, id
		if e := d.begin(id); e != abi.OK {
			d.deliver(nil, e)
		}
	}
}

// begin begins a task's request, of what its buffers have now.
func (d *KVStore) begin(id kernel.TaskID) abi.ErrorCode {
	var command uint32
	var keySize, valueSize int
	why := abi.OK
	e := d.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		command = q.command
		if why = d.acceptable(command, task); why != abi.OK {
			return
		}
		keySize, why = take(d.key, task.ReadOnly(keyBuffer))
		if why == abi.OK && sets(command) {
			valueSize, why = take(d.value, task.ReadOnly(input))
		}
	})
	if e != abi.OK {
		return e
	}
	if why != abi.OK {
		return why
	}
	d.rights, _ = d.kernel.StoragePermissions(id)
	return d.store.begin(command, d.key[:keySize], d.value[:valueSize], &d.rights)
}

// take copies all of a task's buffer, which fits, and returns its length, or abi.RESERVE if the task cannot use it any more.
func take(to []byte, from kernel.ReadOnlyBuffer) (int, abi.ErrorCode) {
	n := from.ReadAt(to, 0)
	if uint64(n) != from.Len() {
		return 0, abi.RESERVE
	}
	return n, abi.OK
}

// storeDone implements storeClient.
func (d *KVStore) storeDone(value []byte, e abi.ErrorCode) {
	d.deliver(value, e)
	d.serveOldest()
}

// deliver ends the request that goes on, if its task is still there: it gets as much of the value as its buffer has room for, and
// is told the value's whole length.
func (d *KVStore) deliver(value []byte, e abi.ErrorCode) {
	d.busy = false
	d.grant.Enter(d.asker, func(q *request, task *kernel.TaskData) {
		*q = request{}
		if task.ReadWrite(output).WriteAt(value, 0) < len(value) {
			e = abi.SIZE
		}
		task.ScheduleUpcall(done, e.Status(), uint32(len(value)), 0)
	})
}
