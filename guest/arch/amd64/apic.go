package amd64

import "kapsel/guest/abi"

// The local APIC (SDM vol. 3, 11) takes interrupts to the CPU and has the timer. Registers
// are named by their offset in memory; in x2APIC mode each is an MSR.
const (
	apicID           = 0x20
	apicTaskPriority = 0x80
	apicEOI          = 0xb0
	apicSpurious     = 0xf0
	apicTimer        = 0x320
	apicLINT0        = 0x350
	apicLINT1        = 0x360
	apicInitialCount = 0x380
	apicCurrentCount = 0x390
	apicDivide       = 0x3e0

	apicEnabled     = 1 << 8  // in apicSpurious
	apicMasked      = 1 << 16 // in a vector register
	apicNMI         = 4 << 8  // in a vector register: delivery mode
	apicTSCDeadline = 2 << 17 // in apicTimer
	apicDivideBy1   = 0xb

	lapicBase = ioapicBase + pageSize // virtual

	apicBaseEnable = 1 << 11 // in msrAPICBase
	apicBaseX2     = 1 << 10
)

type localAPIC struct{ x2 bool }

// Ports of a PC's two 8259s: their masks of interrupts, a bit for each (8259A data sheet, OCW1).
const (
	masterMask = 0x21
	slaveMask  = 0xa1
	maskedAll  = 0xff
)

// mask8259 keeps what firmware left unmasked, the tick of its timer above all, from raising the
// line to the processor. Once that is masked in the local APIC, QEMU takes a tick that waited for
// an interrupt without a vector, a fault of whatever runs then.
func mask8259() {
	outb(masterMask, maskedAll)
	outb(slaveMask, maskedAll)
}

// enable switches the APIC on, with the timer and the 8259's line masked. The other line is
// the NMI's, as on every PC: QEMU's watchdog comes by it.
func (a *localAPIC) enable(x2 bool) {
	a.x2 = x2
	base := rdmsr(msrAPICBase) | apicBaseEnable
	if x2 {
		base |= apicBaseX2
	}
	wrmsr(msrAPICBase, base)
	a.write(apicSpurious, apicEnabled|vectorSpurious)
	a.write(apicTaskPriority, 0)
	a.write(apicTimer, apicMasked)
	a.write(apicLINT0, apicMasked) // the 8259, where there is one
	a.write(apicLINT1, apicNMI)
	a.write(apicDivide, apicDivideBy1)
}

func (a *localAPIC) read(reg uint32) uint32 {
	if a.x2 {
		return uint32(rdmsr(msrX2APIC + reg>>4))
	}
	return load32(lapicBase + uintptr(reg))
}

//go:nosplit
func (a *localAPIC) write(reg, v uint32) {
	if a.x2 {
		wrmsr(msrX2APIC+reg>>4, uint64(v))
		return
	}
	store32(lapicBase+uintptr(reg), v)
}

// id is this CPU's number on the interrupt bus.
func (a *localAPIC) id() uint32 {
	if a.x2 {
		return a.read(apicID)
	}
	return a.read(apicID) >> 24
}

// The I/O APIC (82093AA data sheet) takes device lines to the local APIC, through two
// registers in memory: which register, and its value.
const (
	ioapicSelect   = 0x00
	ioapicWindow   = 0x10
	ioapicRedirect = 0x10 // first of two registers for each pin
	ioapicMasked   = 1 << 16

	ioapicBase = abi.KernelEnd // virtual

	// IOAPICPins is the number of lines that devices can have.
	IOAPICPins = 24
	// DevicePins is the number of them that can be routed, from 0 on.
	DevicePins = (vectorLine0+LineTimer)&^15 - vectorLine0
)

func ioapicWrite(reg, v uint32) {
	store32(ioapicBase+ioapicSelect, reg)
	store32(ioapicBase+ioapicWindow, v)
}

// route sends an edge-triggered pin to the interrupt line of the same number. A pin from 16 on
// would be of the timer's priority class, and a device that is not served yet would hold the
// timer back (CPU.Rest): a wiring error.
func (a *localAPIC) route(pin uint32) {
	if pin >= DevicePins {
		panic("amd64: a device's pin is not below 16")
	}
	ioapicWrite(ioapicRedirect+2*pin+1, a.id()<<24)
	ioapicWrite(ioapicRedirect+2*pin, vectorLine0+pin)
}

// unroute masks a pin.
func (a *localAPIC) unroute(pin uint32) { ioapicWrite(ioapicRedirect+2*pin, ioapicMasked) }
