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
	Guest     Guest              `json:"guest"`
	Processor Processor          `json:"processor"`
	Serial    device.SerialState `json:"serial"`
	IOAPIC    device.IOAPICState `json:"ioapic"`
	CMOS      device.CMOSState   `json:"cmos"`
	Devices   []Device           `json:"devices"`
	Taken     time.Time          `json:"taken"`
}

// PrivateDisks returns the private disks among the devices, those that can be written: a machine with another has no snapshots.
func (s *State) PrivateDisks() (disks []*virtio.BlockState) {
	for i := range s.Devices {
		if b := s.Devices[i].State.Block; b != nil && !b.ReadOnly {
			disks = append(disks, b)
		}
	}
	return disks
}

// Guest is what the machine was made as.
type Guest struct {
	Memory    uint64           `json:"memory"`    // bytes
	Heartbeat uint64           `json:"heartbeat"` // physical address of the kernel's heartbeat, 0 for none (abi.NoteHeartbeat)
	Identity  uint64           `json:"identity"`  // likewise, of the word that is another in each fork (abi.NoteGeneration)
	Vendor    string           `json:"vendor"`    // the processor's, by CPUID: "GenuineIntel"
	CPUID     []kvm.CPUIDEntry `json:"cpuid"`
	TSCKHz    uint32           `json:"tscKHz"`
}

// Device is a virtio device in its place.
type Device struct {
	Name  string       `json:"name"` // vmm.Device's String, for messages
	State virtio.State `json:"state"`
}

// Processor is the state of the processor between two instructions, by KVM's structures.
type Processor struct {
	Regs    kvm.Regs      `json:"regs"`
	Sregs   kvm.Sregs     `json:"sregs"`
	XSave   kvm.XSave     `json:"xsave"`
	XCRs    kvm.XCRs      `json:"xcrs"`
	Debug   kvm.DebugRegs `json:"debugRegs"`
	LAPIC   kvm.LAPIC     `json:"lapic"`
	MSRs    []kvm.MSR     `json:"msrs"`
	Events  kvm.Events    `json:"events"`
	MPState uint32        `json:"mpState"`
	TSC     uint64        `json:"tsc"` // the guest's time-stamp counter
}
