package kvm

import (
	"fmt"
	"runtime"
	"unsafe"
)

// The state of a processor, as KVM gives it out and takes it back. A value that KVM refuses is an error, and what was
// set before it stays set. The order in which they are set matters (docs/decisions/0030-snapshots.md).

// XSave is the extended state, the XSAVE area in its standard format (struct kvm_xsave, Intel SDM vol. 1, chapter 13):
// as many bytes as the VM's processors have.
type XSave []byte

// minXSave is the size of struct kvm_xsave without what a processor with larger state has behind it.
const minXSave = 4096

// XCRs are the extended control registers (struct kvm_xcrs).
type XCRs struct {
	Count     uint32
	Flags     uint32
	Registers [16]XCR
	_         [16]uint64
}

// XCR is one of them (struct kvm_xcr).
type XCR struct {
	Number uint32
	_      uint32
	Value  uint64
}

// DebugRegs are the debug registers (struct kvm_debugregs).
type DebugRegs struct {
	DB    [4]uint64 // DR0 to DR3
	DR6   uint64
	DR7   uint64
	Flags uint64
	_     [9]uint64
}

// LAPIC is the local APIC's page of registers (struct kvm_lapic_state), lapicSize bytes.
type LAPIC []byte

const lapicSize = 1024

// MSR is a model-specific register with its value (struct kvm_msr_entry).
type MSR struct {
	Index uint32
	_     uint32
	Data  uint64
}

// Events are the exceptions and interrupts on their way (struct kvm_vcpu_events).
type Events struct {
	Exception struct {
		Injected, Vector, HasErrorCode, Pending uint8
		ErrorCode                               uint32
	}
	Interrupt   struct{ Injected, Vector, Soft, Shadow uint8 }
	NMI         struct{ Injected, Pending, Masked, Pad uint8 }
	SIPIVector  uint32
	Flags       uint32
	SMI         struct{ SMM, Pending, InsideNMI, LatchedINIT uint8 }
	TripleFault uint8
	_           [26]uint8
	HasPayload  uint8
	Payload     uint64
}

// XSaveSize returns the bytes of an XSave of this VM's processors.
func (v *VM) XSaveSize() (int, error) {
	n, err := v.call(checkExtension, uintptr(CapXSave2))
	return max(n, minXSave), err
}

// XSave fills x, of XSaveSize bytes.
func (c *VCPU) XSave(x XSave) error {
	r := getXSave
	if len(x) > minXSave {
		r = getXSave2
	}
	if len(x) < minXSave {
		return fmt.Errorf("an extended state of %d bytes: want at least %d", len(x), minXSave)
	}
	_, err := c.callPointer(r, unsafe.Pointer(&x[0]))
	return err
}

// SetXSave sets the extended state, of XSaveSize bytes: KVM reads as many.
func (c *VCPU) SetXSave(x XSave) error {
	if len(x) < minXSave {
		return fmt.Errorf("an extended state of %d bytes: want at least %d", len(x), minXSave)
	}
	_, err := c.callPointer(setXSave, unsafe.Pointer(&x[0]))
	return err
}

// XCRs reads the extended control registers.
func (c *VCPU) XCRs(x *XCRs) error {
	_, err := c.callPointer(getXCRs, unsafe.Pointer(x))
	return err
}

// SetXCRs sets them.
func (c *VCPU) SetXCRs(x *XCRs) error {
	_, err := c.callPointer(setXCRs, unsafe.Pointer(x))
	return err
}

// DebugRegs reads the debug registers.
func (c *VCPU) DebugRegs(d *DebugRegs) error {
	_, err := c.callPointer(getDebugRegs, unsafe.Pointer(d))
	return err
}

// SetDebugRegs sets them.
func (c *VCPU) SetDebugRegs(d *DebugRegs) error {
	_, err := c.callPointer(setDebugRegs, unsafe.Pointer(d))
	return err
}

// LAPIC returns the local APIC's registers.
func (c *VCPU) LAPIC() (LAPIC, error) {
	l := make(LAPIC, lapicSize)
	_, err := c.callPointer(getLAPIC, unsafe.Pointer(&l[0]))
	return l, err
}

// SetLAPIC sets them, and starts its timer by what they say. Its base and mode are SetSregs'.
func (c *VCPU) SetLAPIC(l LAPIC) error {
	if len(l) != lapicSize {
		return fmt.Errorf("a local APIC of %d bytes: want %d", len(l), lapicSize)
	}
	_, err := c.callPointer(setLAPIC, unsafe.Pointer(&l[0]))
	return err
}

// Events reads the events on their way.
func (c *VCPU) Events(e *Events) error {
	_, err := c.callPointer(getEvents, unsafe.Pointer(e))
	return err
}

// SetEvents sets them.
func (c *VCPU) SetEvents(e *Events) error {
	_, err := c.callPointer(setEvents, unsafe.Pointer(e))
	return err
}

// MPState returns whether the processor runs, halts or waits for another (KVM_MP_STATE_*).
func (c *VCPU) MPState() (uint32, error) {
	var state uint32 // struct kvm_mp_state
	_, err := c.callPointer(getMPState, unsafe.Pointer(&state))
	return state, err
}

// SetMPState sets that.
func (c *VCPU) SetMPState(state uint32) error {
	_, err := c.callPointer(setMPState, unsafe.Pointer(&state))
	return err
}

// MSRs reads the registers that list names, at most 32, into it: all of them, or the error names one that KVM
// refuses.
func (c *VCPU) MSRs(list []MSR) error {
	t, err := c.msrs(getMSRs, list)
	if err == nil {
		copy(list, t.Entries[:])
	}
	return err
}

// SetMSRs sets the registers of list, at most 32, in its order. The error names the first that KVM refuses: those behind it
// are not set.
func (c *VCPU) SetMSRs(list []MSR) error {
	_, err := c.msrs(setMSRs, list)
	return err
}

func (c *VCPU) msrs(r request, list []MSR) (*msrTable, error) {
	if len(list) > maxMSRs {
		return nil, fmt.Errorf("%d model-specific registers, %d are possible", len(list), maxMSRs)
	}
	t := &msrTable{Count: uint32(len(list))}
	copy(t.Entries[:], list)
	n, err := c.callPointer(r, unsafe.Pointer(t))
	if err == nil && n < len(list) {
		err = refusedMSR(r, list[n])
	}
	return t, err
}

func refusedMSR(r request, m MSR) error {
	if r == getMSRs {
		return fmt.Errorf("%v: KVM does not read the model-specific register %#x", r, m.Index)
	}
	return fmt.Errorf("%v: KVM does not take %#x for the model-specific register %#x", r, m.Data, m.Index)
}

// TSCOffset returns what KVM adds to the host's time-stamp counter to make the guest's. The host must have
// CapVCPUAttributes.
func (c *VCPU) TSCOffset() (uint64, error) {
	err := c.tscOffset(getDeviceAttr)
	return c.word, err
}

// SetTSCOffset sets it. A counter that is written as an MSR KVM would correct, if it takes that for a synchronisation of
// several.
func (c *VCPU) SetTSCOffset(offset uint64) error {
	c.word = offset
	return c.tscOffset(setDeviceAttr)
}

func (c *VCPU) tscOffset(r request) error {
	// c is on Go's heap, which does not move.
	a := &deviceAttr{Group: groupTSC, Attr: attrTSCOffset, Address: uint64(uintptr(unsafe.Pointer(&c.word)))}
	_, err := c.callPointer(r, unsafe.Pointer(a))
	runtime.KeepAlive(c)
	return err
}

// DirtyLog fills bitmap, one bit for each page of a slot with SetMemory's log, with the pages that the guest has written
// since the call before, and forgets them. KVM does not see what the monitor itself writes.
func (v *VM) DirtyLog(slot uint32, bitmap []uint64) error {
	if len(bitmap) == 0 {
		return fmt.Errorf("a log of no pages of memory slot %d", slot)
	}
	l := &dirtyLog{Slot: slot, Bitmap: uint64(uintptr(unsafe.Pointer(&bitmap[0])))}
	_, err := v.callPointer(getDirtyLog, unsafe.Pointer(l))
	runtime.KeepAlive(bitmap)
	return err
}

// MSRRange is a number of model-specific registers, at most 64, and what a guest may do with them.
type MSRRange struct {
	Base, Count uint32
	Read, Write bool
}

// AllowMSRs refuses the guest all model-specific registers but those in ranges, at most 16, and x2APIC's: an access
// to another is a general-protection exception. The host must have CapMSRFilter.
func (v *VM) AllowMSRs(ranges []MSRRange) error {
	f, all, err := newMSRFilter(ranges)
	if err != nil {
		return err
	}
	_, err = v.callPointer(setMSRFilter, unsafe.Pointer(f))
	runtime.KeepAlive(all)
	return err
}

// newMSRFilter returns the filter, and the bits that all its ranges point to: registers that are allowed.
func newMSRFilter(ranges []MSRRange) (*msrFilter, *uint64, error) {
	if len(ranges) > maxFilterRanges {
		return nil, nil, fmt.Errorf("%d ranges of model-specific registers, %d are possible", len(ranges), maxFilterRanges)
	}
	all := new(uint64)
	*all = ^uint64(0)
	f := &msrFilter{Flags: filterDefaultDeny}
	for i, r := range ranges {
		if r.Count < 1 || r.Count > 64 {
			return nil, nil, fmt.Errorf("a range of %d model-specific registers: want 1 to 64", r.Count)
		}
		f.Ranges[i] = msrFilterRange{Flags: filterFlags(r), Count: r.Count, Base: r.Base, Bitmap: uint64(uintptr(unsafe.Pointer(all)))}
	}
	return f, all, nil
}

func filterFlags(r MSRRange) (flags uint32) {
	if r.Read {
		flags |= filterRead
	}
	if r.Write {
		flags |= filterWrite
	}
	return flags
}
