// Package rawblock is driver 0xf0100, on boards built for tests and benchmarks alone: a task reads and writes a block device as
// it is, all of it. Its commands stand in guest/abi/rawblock.go.
package rawblock

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Subscribe and allow numbers.
const (
	done   = 0 // upcall: status, piece, 0
	buffer = 0 // read-write: what is read; read-only: what is written
)

// RawBlock is the driver.
type RawBlock struct {
	device   hil.BlockDevice
	grant    kernel.Grant[uint32] // nothing is kept in it
	requests [abi.RawBlockRequests]request
}

// request is a request that can go on.
type request struct {
	busy    bool
	task    kernel.TaskID
	command uint32
	piece   uint32
	bytes   [abi.RawBlockPiece]byte
}

// Init ties the driver to its device, of which it is the only client.
func (r *RawBlock) Init(k *kernel.Kernel, device hil.BlockDevice, c capability.MemoryAllocation) {
	r.device = device
	r.grant.Init(k, abi.DriverRawBlock, kernel.SlotCounts{Upcalls: done + 1, ReadOnly: buffer + 1, ReadWrite: buffer + 1,
		Ends: kernel.EndsFailed(done)}, c)
	device.SetBlockClient(r)
}

// Slots implements kernel.Driver.
func (r *RawBlock) Slots() *kernel.Slots { return r.grant.Slots() }

// Command implements kernel.Driver.
func (r *RawBlock) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch {
	case command == 0:
		return kernel.Done()
	case command == abi.RawBlockSectors:
		return kernel.Value64(r.device.Sectors())
	case command > abi.RawBlockZero:
		return kernel.Failed(abi.NOSUPPORT)
	}
	for i := range r.requests {
		if q := &r.requests[i]; !q.busy {
			q.task, q.command, q.piece = id, command, a1
			e := r.begin(uint32(i), uint64(a0))
			q.busy = e == abi.OK
			return kernel.Outcome(e)
		}
	}
	return kernel.Failed(abi.BUSY)
}

// begin begins a request.
func (r *RawBlock) begin(tag uint32, sector uint64) abi.ErrorCode {
	q := &r.requests[tag]
	n := uint64(0)
	e := r.grant.Enter(q.task, func(_ *uint32, task *kernel.TaskData) {
		at := uint64(q.piece) * abi.RawBlockPiece
		if q.command == abi.RawBlockWrite {
			n = uint64(task.ReadOnly(buffer).ReadAt(q.bytes[:], at))
		} else if length := task.ReadWrite(buffer).Len(); length > at {
			n = min(length-at, abi.RawBlockPiece)
		}
	})
	if e != abi.OK {
		return e
	}
	switch q.command {
	case abi.RawBlockRead:
		return r.device.Read(tag, q.bytes[:n], sector)
	case abi.RawBlockWrite:
		return r.device.Write(tag, q.bytes[:n], sector)
	case abi.RawBlockFlush:
		return r.device.Flush(tag)
	case abi.RawBlockIdentify:
		return r.device.Identify(tag, q.bytes[:n])
	case abi.RawBlockDiscard:
		return r.device.Discard(tag, sector, uint64(q.piece))
	}
	return r.device.WriteZeroes(tag, sector, uint64(q.piece))
}

// BlockDone implements hil.BlockClient.
func (r *RawBlock) BlockDone(tag uint32, buf []byte, e abi.ErrorCode) {
	q := &r.requests[tag]
	q.busy = false
	r.grant.Enter(q.task, func(_ *uint32, task *kernel.TaskData) {
		if e == abi.OK && (q.command == abi.RawBlockRead || q.command == abi.RawBlockIdentify) {
			task.ReadWrite(buffer).WriteAt(buf, uint64(q.piece)*abi.RawBlockPiece)
		}
		task.ScheduleUpcall(done, e.Status(), q.piece, 0)
	})
}
