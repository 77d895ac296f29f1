// Package appflash is driver 0x50000: a task writes to the writeable flash regions of its own object. Numbers are Tock's
// (capsules/extra/src/app_flash_driver.rs). Tasks that write take turns, a piece each.
package appflash

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Commands.
const (
	exists = 0
	write  = 1 // address a0
)

const (
	buffer    = 0 // read-only allow number: what is written, all of it
	written   = 0 // subscribe number: status, 0, 0
	pieceSize = 512
)

// AppFlash is the driver.
type AppFlash struct {
	grant    kernel.Grant[request]
	writing  capability.FlashWriting
	deferred kernel.DeferredCall
	piece    [pieceSize]byte
	tickets  uint64 // turns ever waited for
}

// request is what a task writes.
type request struct {
	ticket  uint64 // order of turns; 0: nothing is written
	address uint64 // of the rest
	offset  uint64 // of the rest in the buffer
	length  uint64 // of the rest
}

// Init ties the driver to the kernel.
func (a *AppFlash) Init(k *kernel.Kernel, c capability.MemoryAllocation, writing capability.FlashWriting) {
	a.writing = writing
	a.grant.Init(k, abi.DriverAppFlash, kernel.SlotCounts{Upcalls: written + 1, ReadOnly: buffer + 1, Ends: kernel.EndsFailed(written)}, c)
	a.deferred.Register(k, a)
}

// Slots implements kernel.Driver.
func (a *AppFlash) Slots() *kernel.Slots { return a.grant.Slots() }

// Command implements kernel.Driver.
func (a *AppFlash) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case write:
		return kernel.Outcome(a.begin(id, uint64(a0)))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// begin has the task's buffer wait for its turn to be written. It returns abi.INVAL unless there is room for all of it in one region,
// abi.RESERVE without a buffer, and abi.NOMEM while the task's last write goes on.
func (a *AppFlash) begin(id kernel.TaskID, address uint64) abi.ErrorCode {
	result := abi.OK
	e := a.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		length := task.ReadOnly(buffer).Len()
		switch {
		case !task.HasWriteableFlash(address, length):
			result = abi.INVAL
		case length == 0:
			result = abi.RESERVE
		case q.ticket != 0:
			result = abi.NOMEM
		default:
			*q = request{ticket: a.ticket(), address: address, length: length}
			a.deferred.Set()
		}
	})
	if e == abi.OK {
		e = result
	}
	return e
}

// ticket is the next turn's.
func (a *AppFlash) ticket() uint64 {
	a.tickets++
	return a.tickets
}

// HandleDeferredCall implements kernel.DeferredClient: it writes a piece for the task that waits longest.
func (a *AppFlash) HandleDeferredCall() {
	id, ticket := a.grant.Oldest(func(q *request) uint64 { return q.ticket })
	if ticket == 0 {
		return
	}
	a.grant.Enter(id, a.writePiece)
	a.deferred.Set()
}

// writePiece writes the next piece of a request, or ends it. One whose buffer was taken back, or became shorter, ends where that does.
func (a *AppFlash) writePiece(q *request, task *kernel.TaskData) {
	piece := a.piece[:min(q.length, pieceSize)]
	if task.ReadOnly(buffer).ReadAt(piece, q.offset) < len(piece) {
		finish(q, task, abi.RESERVE)
		return
	}
	e := task.WriteFlash(q.address, piece, a.writing)
	n := uint64(len(piece))
	q.ticket, q.address, q.offset, q.length = a.ticket(), q.address+n, q.offset+n, q.length-n
	if e != abi.OK || q.length == 0 {
		finish(q, task, e)
	}
}

// finish ends a request and tells the task.
func finish(q *request, task *kernel.TaskData, e abi.ErrorCode) {
	*q = request{}
	task.ScheduleUpcall(written, e.Status(), 0, 0)
}
