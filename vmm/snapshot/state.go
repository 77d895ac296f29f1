// Package snapshot has a machine as a value: its state as plain data (State) and its memory (Memory), and keeps both on disk, as an OCI image
// layout. Package vmm takes and starts snapshots (docs/decisions/0030-snapshots.md).
package snapshot

import (
	"time"

	"kapsel/vmm/device"
	"kapsel/vmm/kvm"
	"kapsel/vmm/virtio"
)

// State is all of a machine but its memory. What comes from disk is checked where it is restored.
type State struct {
	Guest     Guest
	Processor Processor
	Serial    device.SerialState
	IOAPIC    device.IOAPICState
	CMOS      device.CMOSState
	Devices   []Device
	Taken     time.Time
}

// Guest is what the machine was made as.
type Guest struct {
	Memory    uint64 // bytes
	Heartbeat uint64 // physical address of the kernel's heartbeat, 0 for none (abi.NoteHeartbeat)
	Identity  uint64 // likewise, of the word that is another in each fork (abi.NoteGeneration)
	Vendor    string // the processor's, by CPUID: "GenuineIntel"
	CPUID     []kvm.CPUIDEntry
	TSCKHz    uint32
}

// Device is a virtio device in its place.
type Device struct {
	Name  string // vmm.Device's String, for messages
	State virtio.State
}

// Processor is the state of the processor between two instructions, by KVM's structures.
type Processor struct {
	Regs    kvm.Regs
	Sregs   kvm.Sregs
	XSave   kvm.XSave
	XCRs    kvm.XCRs
	Debug   kvm.DebugRegs
	LAPIC   kvm.LAPIC
	MSRs    []kvm.MSR
	Events  kvm.Events
	MPState uint32
	TSC     uint64 // the guest's time-stamp counter
}
