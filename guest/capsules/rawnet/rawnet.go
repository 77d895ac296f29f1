// Package rawnet is driver 0xf0101, on boards built for tests and benchmarks alone: a task sends and receives frames as they are.
// Its commands stand in guest/abi/rawnet.go. One task at a time sends, and one receives.
package rawnet

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Subscribe and allow numbers.
const (
	sent     = 0 // upcall: status, 0, 0
	received = 1 // upcall: status, bytes, 0
	out      = 0 // read-only
	in       = 0 // read-write
)

// RawNet is the driver.
type RawNet struct {
	device   hil.Ethernet
	grant    kernel.Grant[uint32] // nothing is kept in it
	sender   kernel.TaskID
	receiver kernel.TaskID
	out, in  [hil.MaxFrame]byte
}

// Init ties the driver to its device, of which it is the only client.
func (r *RawNet) Init(k *kernel.Kernel, device hil.Ethernet, c capability.MemoryAllocation) {
	r.device = device
	r.grant.Init(k, abi.DriverRawNet, kernel.SlotCounts{Upcalls: received + 1, ReadOnly: out + 1, ReadWrite: in + 1,
		Ends: kernel.EndsFailed(sent) | kernel.EndsFailed(received)}, c)
	device.SetEthernetClient(r)
}

// Slots implements kernel.Driver.
func (r *RawNet) Slots() *kernel.Slots { return r.grant.Slots() }

// Command implements kernel.Driver.
func (r *RawNet) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case 0:
		return kernel.Done()
	case abi.RawNetAddress:
		return kernel.Value64(r.address())
	case abi.RawNetSend:
		return kernel.Outcome(r.send(id, uint64(a0)))
	case abi.RawNetReceive:
		return kernel.Outcome(r.receive(id))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// address is the device's address as a number.
func (r *RawNet) address() (n uint64) {
	for i, b := range r.device.Address() {
		n |= uint64(b) << (8 * i)
	}
	return n
}

// send sends a frame of so many bytes, or as many as the task shares.
func (r *RawNet) send(id kernel.TaskID, n uint64) abi.ErrorCode {
	if r.sender != (kernel.TaskID{}) {
		return abi.BUSY
	}
	size := 0
	e := r.grant.Enter(id, func(_ *uint32, task *kernel.TaskData) {
		size = task.ReadOnly(out).ReadAt(r.out[:min(n, hil.MaxFrame)], 0)
	})
	if e == abi.OK {
		e = r.device.SendFrame(r.out[:], size)
	}
	if e == abi.OK {
		r.sender = id
	}
	return e
}

// receive waits for a frame.
func (r *RawNet) receive(id kernel.TaskID) abi.ErrorCode {
	e := r.grant.Enter(id, func(*uint32, *kernel.TaskData) {})
	if e == abi.OK {
		e = r.device.ReceiveFrame(r.in[:])
	}
	if e == abi.OK {
		r.receiver = id
	}
	return e
}

// FrameSent implements hil.EthernetClient.
func (r *RawNet) FrameSent(_ []byte, e abi.ErrorCode) {
	id := r.sender
	r.sender = kernel.TaskID{}
	r.grant.Enter(id, func(_ *uint32, task *kernel.TaskData) { task.ScheduleUpcall(sent, e.Status(), 0, 0) })
}

// FrameReceived implements hil.EthernetClient.
func (r *RawNet) FrameReceived(buf []byte, n int, e abi.ErrorCode) {
	r.grant.Enter(r.receiver, func(_ *uint32, task *kernel.TaskData) {
		task.ReadWrite(in).WriteAt(buf[:n], 0)
		task.ScheduleUpcall(received, e.Status(), uint32(n), 0)
	})
}

// LinkChanged implements hil.EthernetClient.
func (r *RawNet) LinkChanged() {}
