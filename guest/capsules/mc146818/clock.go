// Package mc146818 drives the real-time clock of PCs, a Motorola MC146818A or what stands for one (data sheet MC146818A, "Memory",
// "Registers"; Intel 300 Series Chipset Family PCH datasheet, "RTC Indexed Registers"). It uses no interrupt.
package mc146818

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// patience is how long a read waits for the clock, in parts of a second: an update, which takes 2 ms, and the read behind it take much
// less, but a virtual clock may be late.
const patience = 4

// leastLooks is how often a read looks before it gives up, though its time is over: the machine may have stood still meanwhile.
const leastLooks = 32

// Years that the clock has. The byte for the century is one of RAM on old machines: any that is not of these years says 20.
const (
	firstYear = 1900
	lastYear  = 4095 // as far as the date and time driver's words go
)

// Clock is the device's driver.
type Clock struct {
	device   mmio.Device[Registers]
	time     hil.Time
	client   hil.DateTimeClient
	deferred kernel.DeferredCall
	state    state
	giveUp   uint64             // when a read does
	looks    uint32             // of a read
	last     reading            // what it read last, of which the second time it is sure
	to       hil.DateTimeValues // what the clock is to be set to
}

// state is what the driver does.
type state uint8

const (
	idle state = iota
	reads
	sets
)

// reading is the registers of date and time, and register B. The day of the week in it says nothing: firmware often leaves it wrong.
type reading struct {
	at      [timeSize]byte
	control byte
	known   bool
}

// Places in a reading.
const (
	atSeconds = iota
	atMinutes
	atHours
	atWeekday
	atDay
	atMonth
	atYear
	atCentury
)

// timeRegister is the register whose value has place i in a reading.
func timeRegister(i int) register {
	return [timeSize]register{atSeconds: seconds, atMinutes: minutes, atHours: hours, atWeekday: weekday,
		atDay: day, atMonth: month, atYear: year, atCentury: century}[i]
}

// Init ties the driver to the device and to a clock that ticks. It returns abi.NODEVICE if there is no such device.
func (c *Clock) Init(k *kernel.Kernel, device mmio.Device[Registers], time hil.Time) abi.ErrorCode {
	c.device, c.time = device, time
	if c.read(statusD)&validMask != valid {
		return abi.NODEVICE
	}
	c.deferred.Register(k, c)
	return abi.OK
}

// SetDateTimeClient implements hil.DateTime.
func (c *Clock) SetDateTimeClient(client hil.DateTimeClient) { c.client = client }

// GetDateTime implements hil.DateTime.
func (c *Clock) GetDateTime() abi.ErrorCode {
	if c.state != idle {
		return abi.BUSY
	}
	c.giveUp = c.time.Now() + uint64(c.time.Frequency())/patience
	c.last, c.looks = reading{}, 0
	return c.begin(reads)
}

// SetDateTime implements hil.DateTime. The day of the week is that of the date, whatever v says.
func (c *Clock) SetDateTime(v hil.DateTimeValues) abi.ErrorCode {
	switch {
	case c.state != idle:
		return abi.BUSY
	case !isDate(&v):
		return abi.INVAL
	}
	c.to = v
	return c.begin(sets)
}

func (c *Clock) begin(s state) abi.ErrorCode {
	c.state = s
	c.deferred.Set()
	return abi.OK
}

// HandleDeferredCall implements kernel.DeferredClient.
func (c *Clock) HandleDeferredCall() {
	switch c.state {
	case reads:
		c.tryRead()
	case sets:
		c.setNow()
	}
}

// tryRead reads the registers, and ends the read when they are the same twice and no update is near: so none was in between. Else it
// tries again.
func (c *Clock) tryRead() {
	if c.read(statusA)&updating == 0 {
		now := c.readTime()
		v, ok := now.values()
		if ok && now == c.last {
			c.state = idle
			c.client.GetDateTimeDone(v, abi.OK)
			return
		}
		c.last = now
	}
	if c.looks++; c.looks >= leastLooks && c.time.Now() >= c.giveUp {
		c.state = idle
		c.client.GetDateTimeDone(hil.DateTimeValues{}, abi.FAIL)
		return
	}
	c.deferred.Set()
}

// readTime reads the registers of date and time.
func (c *Clock) readTime() (r reading) {
	for i := range r.at {
		r.at[i] = c.read(timeRegister(i))
	}
	r.control, r.known = c.read(statusB), true
	return r
}

// setNow stops the clock, writes the registers of date and time in the form that the clock has, and lets it go on.
func (c *Clock) setNow() {
	r := readingOf(&c.to, c.read(statusB))
	c.write(statusB, r.control|setting)
	for i := range r.at {
		c.write(timeRegister(i), r.at[i])
	}
	c.write(statusB, r.control&^setting)
	c.state = idle
	c.client.SetDateTimeDone(abi.OK)
}

func (c *Clock) read(r register) byte {
	index.Write(&c.device, r)
	return data.Read(&c.device)
}

func (c *Clock) write(r register, v byte) {
	index.Write(&c.device, r)
	data.Write(&c.device, v)
}

// values is the date of a reading. It reports false if it is none.
func (r *reading) values() (v hil.DateTimeValues, ok bool) {
	hour := r.at[atHours]
	late := r.control&hours24 == 0 && hour&afternoon != 0
	if late {
		hour &^= afternoon
	}
	v = hil.DateTimeValues{
		Month: r.number(r.at[atMonth]), Day: r.number(r.at[atDay]),
		Hour: r.number(hour), Minute: r.number(r.at[atMinutes]), Second: r.number(r.at[atSeconds]),
	}
	if r.control&hours24 == 0 {
		v.Hour = from12(v.Hour, late)
	}
	v.Year = 100*uint16(r.number(r.at[atCentury])) + uint16(r.number(r.at[atYear]))
	if v.Year < firstYear || v.Year > lastYear {
		v.Year = 2000 + uint16(r.number(r.at[atYear]))
	}
	if !isDate(&v) {
		return v, false
	}
	v.DayOfWeek = dayOfWeek(&v)
	return v, true
}

// number is what a register says, 255 for what is no number.
func (r *reading) number(b byte) uint8 {
	if r.control&binary != 0 {
		return b
	}
	if b&0xf > 9 || b>>4 > 9 {
		return 255
	}
	return b>>4*10 + b&0xf
}

// from12 is an hour of 24 from one of 1 to 12, 255 for what is none.
func from12(hour uint8, late bool) uint8 {
	switch {
	case hour < 1 || hour > 12:
		return 255
	case hour == 12:
		hour = 0
	}
	if late {
		hour += 12
	}
	return hour
}

// readingOf is a date as the registers have it, by register B.
func readingOf(v *hil.DateTimeValues, control byte) (r reading) {
	r.control = control
	hour, late := v.Hour, byte(0)
	if control&hours24 == 0 {
		hour, late = to12(hour)
	}
	r.at = [timeSize]byte{
		atSeconds: r.digits(v.Second), atMinutes: r.digits(v.Minute), atHours: r.digits(hour) | late, atWeekday: dayOfWeek(v) + 1,
		atDay: r.digits(v.Day), atMonth: r.digits(v.Month), atYear: r.digits(uint8(v.Year % 100)), atCentury: r.digits(uint8(v.Year / 100)),
	}
	return r
}

// digits is a number as a register has it.
func (r *reading) digits(n uint8) byte {
	if r.control&binary != 0 {
		return n
	}
	return n/10<<4 | n%10
}

// to12 is an hour of 24 as one of 1 to 12, and afternoon or 0.
func to12(hour uint8) (_ uint8, late byte) {
	if hour >= 12 {
		hour, late = hour-12, afternoon
	}
	if hour == 0 {
		hour = 12
	}
	return hour, late
}

// isDate reports whether there is such a day and such a time of day, in a year that the clock has.
func isDate(v *hil.DateTimeValues) bool {
	return v.Year >= firstYear && v.Year <= lastYear && v.Month >= 1 && v.Month <= 12 && v.Day >= 1 && v.Day <= daysOf(v.Month, v.Year) &&
		v.Hour <= 23 && v.Minute <= 59 && v.Second <= 59
}

// dayOfWeek is that of a date, Sunday 0: by Zeller's congruence, in which a year begins in March.
func dayOfWeek(v *hil.DateTimeValues) uint8 {
	y, m := uint32(v.Year), uint32(v.Month)
	if m < 3 {
		y, m = y-1, m+12
	}
	return uint8((y + y/4 - y/100 + y/400 + (13*m+8)/5 + uint32(v.Day)) % 7)
}

// daysOf is how many days a month has.
func daysOf(month uint8, year uint16) uint8 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}
