// Package ipc is driver 0x10000: tasks find each other by name, notify each other, and lend
// each other memory. A task that serves others is a service, the others are its clients; a
// peer is known by its slot.
package ipc

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Commands.
const (
	exists        = 0
	discover      = 1 // the name is in nameBuffer
	notifyService = 2 // slot of the service
	notifyClient  = 3 // slot of the client
)

// Upcall and read-write allow numbers are slots of peers: upcalls of the service, with
// (slot of who notifies, length, address); buffers of the task that they are lent to.
const (
	nameBuffer = 0 // read-only
	maxName    = 64
)

// IPC is the driver.
type IPC struct {
	kernel  *kernel.Kernel
	sharing capability.MemorySharing
	grant   kernel.Grant[struct{}]
}

// Init ties the driver to the kernel.
func (d *IPC) Init(k *kernel.Kernel, m capability.MemoryAllocation, s capability.MemorySharing) {
	s.Require()
	d.kernel, d.sharing = k, s
	counts := kernel.SlotCounts{Upcalls: kernel.MaxTasks, ReadOnly: nameBuffer + 1, ReadWrite: kernel.MaxTasks, Ends: kernel.EndsNothing}
	d.grant.Init(k, abi.DriverIPC, counts, m)
}

// Slots implements kernel.Driver.
func (d *IPC) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *IPC) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case discover:
		return d.discover(id)
	case notifyService:
		return kernel.Outcome(d.grant.Slots().Notify(id, a0, a0, a0, d.sharing))
	case notifyClient:
		return kernel.Outcome(d.grant.Slots().Notify(id, a0, id.Slot(), a0, d.sharing))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// discover finds the task whose name the caller shares: abi.INVAL if it shares none or more
// than 64 bytes, abi.NODEVICE if no task of that name is alive, abi.FAIL if several have it.
func (d *IPC) discover(id kernel.TaskID) kernel.Result {
	var name [maxName]byte
	var length uint64
	e := d.grant.Enter(id, func(_ *struct{}, task *kernel.TaskData) {
		b := task.ReadOnly(nameBuffer)
		length = b.Len()
		b.ReadAt(name[:], 0)
	})
	switch {
	case e != abi.OK:
		return kernel.Failed(e)
	case length == 0 || length > maxName:
		return kernel.Failed(abi.INVAL)
	}
	peer, e := d.kernel.TaskNamed(name[:length], id)
	if e != abi.OK {
		return kernel.Failed(e)
	}
	return kernel.Value(peer.Slot())
}
