package kvm

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// VM is a virtual machine.
type VM struct {
	handle
	runSize int // bytes of the page shared with each processor
}

// Close closes the VM. The host's kernel frees it when its processors are closed too.
// Calling it again does nothing.
func (v *VM) Close() error { return closeFD(&v.fd, "VM") }

// SetMemory makes mem the guest's memory from physical address on. The address and the
// size are page multiples. mem must stay mapped until the VM and its processors are closed.
// With log KVM keeps a DirtyLog of the slot. It may be called again to begin or end that.
func (v *VM) SetMemory(slot uint32, address uint64, mem []byte, log bool) error {
	if len(mem) == 0 {
		return fmt.Errorf("memory slot %d is empty", slot)
	}
	region := &MemoryRegion{
		Slot:          slot,
		GuestPhysAddr: address,
		MemorySize:    uint64(len(mem)),
		UserspaceAddr: uint64(uintptr(unsafe.Pointer(&mem[0]))), // mapped memory does not move
	}
	if log {
		region.Flags = memoryLog
	}
	_, err := v.callPointer(setUserMemoryRegion, unsafe.Pointer(region))
	return err
}

// SetTSSAddress gives KVM three pages of physical addresses, where the guest has nothing, for its own use: VT-x
// wants them for real mode if it cannot run that by itself. It comes before the processor.
func (v *VM) SetTSSAddress(address uint64) error {
	_, err := v.call(setTSSAddr, uintptr(address))
	return err
}

// SplitIRQChip gives every processor made from now on a local APIC in the host's kernel;
// the I/O APIC, with the given number of pins, remains the monitor's.
func (v *VM) SplitIRQChip(pins int) error {
	c := &capability{Cap: uint32(CapSplitIRQChip), Args: [4]uint64{uint64(pins)}}
	_, err := v.callPointer(enableCap, unsafe.Pointer(c))
	return err
}

// SetRoutes tells KVM the message that each I/O APIC pin sends, at most MaxRoutes. KVM
// looks there for level-triggered vectors: their end of interrupt becomes an ExitEOI.
func (v *VM) SetRoutes(messages []MSI) error {
	if len(messages) > MaxRoutes {
		return fmt.Errorf("%d interrupt routes, %d are possible", len(messages), MaxRoutes)
	}
	t := &routeTable{Count: uint32(len(messages))}
	for i, m := range messages {
		t.Entries[i] = route{GSI: uint32(i), Type: routingMSI,
			AddressLow: m.AddressLow, AddressHigh: m.AddressHigh, Data: m.Data}
	}
	_, err := v.callPointer(setGSIRouting, unsafe.Pointer(t))
	return err
}

// Signal delivers a message-signalled interrupt. It may be called from any thread. It
// reports whether a local APIC took it: none does if the message names none that exists,
// which KVM answers with -1, read as EPERM.
func (v *VM) Signal(m *MSI) (bool, error) {
	n, err := v.callPointer(signalMSI, unsafe.Pointer(m))
	if errors.Is(err, unix.EPERM) {
		return false, nil
	}
	return n > 0, err
}

// PortEvent makes KVM signal the eventfd at each 32-bit write to an I/O port; such a write
// is no exit to the monitor any more. It ends with the VM. The host must have CapIOEventFD.
func (v *VM) PortEvent(port uint16, eventfd int) error {
	return v.addEvent(&ioEvent{Address: uint64(port), Length: 4, FD: int32(eventfd), Flags: ioEventPort})
}

// MemoryEvent makes KVM signal the eventfd at each 32-bit write of a value to a physical address that is not memory,
// likewise.
func (v *VM) MemoryEvent(address uint64, value uint32, eventfd int) error {
	return v.addEvent(&ioEvent{Address: address, DataMatch: uint64(value), Length: 4, FD: int32(eventfd), Flags: ioEventMatch})
}

func (v *VM) addEvent(e *ioEvent) error {
	_, err := v.callPointer(ioeventfd, unsafe.Pointer(e))
	return err
}

// CreateVCPU makes the processor with the given number. It belongs to the calling thread,
// which must be locked to its goroutine and make all further calls but Kick.
func (v *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := v.call(createVCPU, uintptr(id))
	if err != nil {
		return nil, err
	}
	run, err := unix.Mmap(fd, 0, v.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		closeFD(&fd, "processor")
		return nil, fmt.Errorf("mapping the processor's kvm_run: %w", err)
	}
	if len(run) < int(unsafe.Sizeof(runHeader{})) {
		closeFD(&fd, "processor")
		unix.Munmap(run)
		return nil, fmt.Errorf("kvm_run has %d bytes, %d are needed", len(run), unsafe.Sizeof(runHeader{}))
	}
	return &VCPU{handle: handle{fd, v.calls}, run: run, pid: unix.Getpid(), tid: unix.Gettid()}, nil
}
