package device

// Power is what a guest powers the machine off and resets it by: the sleep control, sleep status and reset
// registers of hardware-reduced ACPI (ACPI 6.5, sections 4.8.3.6 and 4.8.3.7), a byte each, from a multiple
// of PowerSize on. Accesses of other widths do nothing and read all ones.
type Power struct {
	// Off reports that the guest has powered the machine off.
	Off bool
	// Reset reports that the guest has reset the machine.
	Reset bool
}

// Registers, from the first port on.
const (
	PowerSleepControl = 0
	PowerSleepStatus  = 1
	PowerReset        = 2
	PowerSize         = 4
)

// What goes into the registers.
const (
	// SleepS5 is the type of sleep that is power off. No other is entered.
	SleepS5 = 5
	// ResetValue resets.
	ResetValue = 1

	sleepTypeShift = 2
	sleepTypeMask  = 7
	sleepEnable    = 1 << 5
)

// ReadPort reads a register: each is 0, for what ends a machine is not seen by it.
func (p *Power) ReadPort(_ uint16, size int, data []byte) {
	ones(data)
	if size == 1 {
		clear(data)
	}
}

// WritePort takes the first byte. What comes behind an end has no effect.
func (p *Power) WritePort(port uint16, size int, data []byte) {
	if size != 1 || len(data) == 0 || p.Off || p.Reset {
		return
	}
	switch port % PowerSize {
	case PowerSleepControl:
		p.Off = data[0]&sleepEnable != 0 && data[0]>>sleepTypeShift&sleepTypeMask == SleepS5
	case PowerReset:
		p.Reset = data[0] == ResetValue
	}
}
