package device

import "time"

// CMOS is a PC's real-time clock, a Motorola MC146818A (its data sheet; Intel 300 Series PCH datasheet, "RTC Indexed Registers"), with
// 114 bytes of RAM of which one is the century. It tells a host's time in UTC until the guest sets it, and goes on from there. The day of
// the week is that of the date. There are no interrupts: no flag of register C is ever set.
type CMOS struct {
	now   func() time.Time
	ahead int64 // seconds of the guest's clock before the host's

	index   byte
	control byte // register B
	memory  [128]byte
	// held is the time while the clock stands still, as the guest has left it.
	held [cmosCentury + 1]byte
}

// CMOSSize is how many ports the clock has, from an even one on: the index, which is not read, and the register that it names.
const CMOSSize = 2

// Registers (MC146818A, figure 10). Those of the alarm are RAM here.
const (
	cmosSeconds  = 0x00
	cmosMinutes  = 0x02
	cmosHours    = 0x04
	cmosWeekday  = 0x06 // 1 is Sunday
	cmosDay      = 0x07
	cmosMonth    = 0x08
	cmosYear     = 0x09
	cmosControlA = 0x0a
	cmosControlB = 0x0b
	cmosFlags    = 0x0c
	cmosValid    = 0x0d
	cmosCentury  = 0x32 // as QEMU and ACPI's FADT have it
)

// Bits of registers A, B and D.
const (
	cmosUpdating = 0x80 // in A
	cmosDivider  = 0x26 // in A: 32,768 Hz, and the rate after reset
	cmosSet      = 0x80 // in B: the time stands still
	cmosBinary   = 0x04 // in B
	cmos24Hours  = 0x02 // in B
	cmosIsValid  = 0x80 // in D
	cmosPM       = 0x80 // in the hours
)

// cmosWarning is how long before each second A says that the time is about to change.
const cmosWarning = 244 * time.Microsecond

// NewCMOS makes a clock by a host's, in 24 hours and decimal digits as after a PC's firmware.
func NewCMOS(now func() time.Time) *CMOS { return &CMOS{now: now, control: cmos24Hours} }

// ReadPort reads a register, by an access of 8 bits. Other accesses read all ones.
func (c *CMOS) ReadPort(port uint16, size int, data []byte) {
	ones(data)
	if size != 1 || port%CMOSSize == 0 {
		return
	}
	for i := range data {
		data[i] = c.read()
	}
}

// WritePort takes an index or what goes into a register, by accesses of 8 bits. Others do nothing.
func (c *CMOS) WritePort(port uint16, size int, data []byte) {
	if size != 1 {
		return
	}
	for _, b := range data {
		if port%CMOSSize == 0 {
			c.index = b & 0x7f // the bit above masks NMIs on a PC
		} else {
			c.write(b)
		}
	}
}

// read is what the register says that the index names.
func (c *CMOS) read() byte {
	switch {
	case c.isTime() && c.control&cmosSet != 0:
		return c.held[c.index]
	case c.isTime():
		return c.registers()[c.index]
	case c.index == cmosControlA:
		a := byte(cmosDivider)
		if c.control&cmosSet == 0 && time.Second-time.Duration(c.now().Nanosecond()) <= cmosWarning {
			a |= cmosUpdating
		}
		return a
	case c.index == cmosControlB:
		return c.control
	case c.index == cmosFlags:
		return 0
	case c.index == cmosValid:
		return cmosIsValid
	}
	return c.memory[c.index]
}

// write gives the register a value that the index names.
func (c *CMOS) write(b byte) {
	switch {
	case c.isTime() && c.control&cmosSet != 0:
		c.held[c.index] = b
	case c.isTime():
		registers := c.registers()
		registers[c.index] = b
		c.setTo(&registers)
	case c.index == cmosControlB:
		c.setControl(b)
	case c.index >= cmosControlA && c.index <= cmosValid:
	default:
		c.memory[c.index] = b
	}
}

// setControl takes register B: the clock stops, or goes on from where the guest set it.
func (c *CMOS) setControl(b byte) {
	stood := c.control&cmosSet != 0
	if !stood && b&cmosSet != 0 {
		c.held = c.registers()
	}
	c.control = b
	if stood && b&cmosSet == 0 {
		c.setTo(&c.held)
	}
}

// isTime reports whether the index names a part of the date or the time.
func (c *CMOS) isTime() bool {
	switch c.index {
	case cmosSeconds, cmosMinutes, cmosHours, cmosWeekday, cmosDay, cmosMonth, cmosYear, cmosCentury:
		return true
	}
	return false
}

// registers is the guest's time in the form that register B asks for.
func (c *CMOS) registers() (r [cmosCentury + 1]byte) {
	t := time.Unix(c.now().Unix()+c.ahead, 0).UTC()
	hour, late := t.Hour(), byte(0)
	if c.control&cmos24Hours == 0 {
		if hour >= 12 {
			late = cmosPM
		}
		hour = (hour+11)%12 + 1
	}
	r[cmosSeconds], r[cmosMinutes] = c.encode(t.Second()), c.encode(t.Minute())
	r[cmosHours], r[cmosWeekday] = c.encode(hour)|late, c.encode(int(t.Weekday())+1)
	r[cmosDay], r[cmosMonth] = c.encode(t.Day()), c.encode(int(t.Month()))
	r[cmosYear], r[cmosCentury] = c.encode(t.Year()%100), c.encode(t.Year()/100%100)
	return r
}

// setTo sets the guest's time to what registers say. Those that say what there is not count on, as of the 32nd of a month.
func (c *CMOS) setTo(r *[cmosCentury + 1]byte) {
	number := func(register int) int { return c.decode(r[register]) }
	hour := number(cmosHours)
	if c.control&cmos24Hours == 0 {
		hour = c.decode(r[cmosHours]&^cmosPM) % 12
		if r[cmosHours]&cmosPM != 0 {
			hour += 12
		}
	}
	t := time.Date(100*number(cmosCentury)+number(cmosYear), time.Month(number(cmosMonth)), number(cmosDay),
		hour, number(cmosMinutes), number(cmosSeconds), 0, time.UTC)
	c.ahead = t.Unix() - c.now().Unix()
}

// encode is a number from 0 to 99 as register B asks for.
func (c *CMOS) encode(n int) byte {
	if c.control&cmosBinary != 0 {
		return byte(n)
	}
	return byte(n/10<<4 | n%10)
}

// decode is the number in a register. Digits are not checked.
func (c *CMOS) decode(b byte) int {
	if c.control&cmosBinary != 0 {
		return int(b)
	}
	return int(b>>4)*10 + int(b&0xf)
}
