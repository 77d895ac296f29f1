package mc146818

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/mmio"
)

// chip models the device. A read takes it a microsecond.
type chip struct {
	t        *testing.T
	cpu      *kerneltest.CPU
	at       register
	memory   [128]byte
	busy     int // reads of register A that show an update
	ticks    int // seconds still to pass, one at each read of them
	absent   bool
	accesses int
	running  []byte // what was written to register B
}

func (c *chip) Read(offset, width uint16) uint32 {
	assert.EqualValues(c.t, 1, width)
	assert.EqualValues(c.t, 1, offset, "the index is not read")
	c.accesses++
	c.cpu.Advance(1)
	if c.absent {
		return 0xff
	}
	v := c.memory[c.at]
	switch {
	case c.at == statusA && c.busy > 0:
		c.busy--
		v |= updating
	case c.at == seconds && c.ticks > 0:
		c.ticks--
		c.memory[seconds]++
	}
	return uint32(v)
}

func (c *chip) Write(offset, width uint16, v uint32) {
	assert.EqualValues(c.t, 1, width)
	c.accesses++
	switch {
	case offset == 0:
		require.Less(c.t, v, uint32(128), "NMIs are not masked")
		c.at = register(v)
		return
	case c.at == statusB:
		c.running = append(c.running, byte(v))
	case c.at <= year || c.at == century:
		assert.NotZero(c.t, c.memory[statusB]&setting, "the clock stands still while it is written")
	default:
		c.t.Errorf("write of %#x to register %#x", v, c.at)
	}
	c.memory[c.at] = byte(v)
}

func (c *chip) WriteBytes(uint16, []byte) { c.t.Error("no register takes bytes") }

// client notes what it is told.
type client struct {
	got   []hil.DateTimeValues
	ends  []abi.ErrorCode
	again func()
}

func (c *client) GetDateTimeDone(v hil.DateTimeValues, e abi.ErrorCode) {
	c.got, c.ends = append(c.got, v), append(c.ends, e)
	if c.again != nil {
		c.again()
	}
}
func (c *client) SetDateTimeDone(e abi.ErrorCode) { c.ends = append(c.ends, e) }

// newClock is a driver of a chip that has a time: seconds to century as register B has them.
func newClock(t *testing.T, control byte, at [timeSize]byte) (*kerneltest.Machine, *chip, *Clock, *client) {
	m := kerneltest.New(t, capability.Mint())
	c := &chip{t: t, cpu: &m.CPU}
	c.memory[statusB], c.memory[statusD] = control, valid
	for i, b := range at {
		c.memory[timeRegister(i)] = b
	}
	d, told := new(Clock), new(client)
	require.Equal(t, abi.OK, d.Init(&m.Kernel, mmio.NewDevice[Registers](c, m.Capabilities.Hardware), &m.Alarm))
	d.SetDateTimeClient(told)
	return m, c, d, told
}

// run lets the kernel work for 50 ms.
func run(m *kerneltest.Machine) {
	m.AddTask("idle", func(k *kerneltest.Task) { k.Spin(300_000) }, nil)
	m.Run()
}

func TestProbe(t *testing.T) {
	for status, want := range map[byte]abi.ErrorCode{0x80: abi.OK, 0x9f: abi.OK, 0xff: abi.NODEVICE, 0: abi.NODEVICE, 0x40: abi.NODEVICE} {
		m := kerneltest.New(t, capability.Mint())
		c := &chip{t: t, cpu: &m.CPU}
		c.memory[statusD] = status
		got := new(Clock).Init(&m.Kernel, mmio.NewDevice[Registers](c, m.Capabilities.Hardware), &m.Alarm)
		assert.Equal(t, want, got, "%#x", status)
		assert.Equal(t, 2, c.accesses, "one register is read")
	}
}

// TestForms: the same date in each form that the device can have it in.
func TestForms(t *testing.T) {
	want := hil.DateTimeValues{Year: 2026, Month: 11, Day: 29, DayOfWeek: 0, Hour: 23, Minute: 59, Second: 58}
	for _, tt := range []struct {
		name    string
		control byte
		at      [timeSize]byte
	}{
		{"BCD, 24 hours", hours24, [...]byte{0x58, 0x59, 0x23, 1, 0x29, 0x11, 0x26, 0x20}},
		{"binary, 24 hours", hours24 | binary, [...]byte{58, 59, 23, 1, 29, 11, 26, 20}},
		{"BCD, 12 hours", 0, [...]byte{0x58, 0x59, 0x91, 1, 0x29, 0x11, 0x26, 0x20}},
		{"binary, 12 hours", binary, [...]byte{58, 59, 0x80 | 11, 1, 29, 11, 26, 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, c, d, told := newClock(t, tt.control, tt.at)
			require.Equal(t, abi.OK, d.GetDateTime())
			assert.Equal(t, abi.BUSY, d.GetDateTime())
			assert.Equal(t, abi.BUSY, d.SetDateTime(want))
			told.again = func() {
				told.again = nil
				for i := range tt.at {
					c.memory[timeRegister(i)] = 0xee
				}
				assert.Equal(t, abi.OK, d.SetDateTime(want))
			}
			run(m)
			assert.Equal(t, []hil.DateTimeValues{want}, told.got)
			assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OK}, told.ends)
			for i, b := range tt.at {
				assert.Equal(t, b, c.memory[timeRegister(i)], "register %#x, set", timeRegister(i))
			}
			assert.Equal(t, []byte{tt.control | setting, tt.control}, c.running)
		})
	}
}

// TestHours12: noon and midnight are 12, and what is no hour of 12 is none.
func TestHours12(t *testing.T) {
	for hour := range uint8(24) {
		h, late := to12(hour)
		assert.Equal(t, hour, from12(h, late != 0))
		assert.Equal(t, time.Date(2000, 1, 1, int(hour), 0, 0, 0, time.UTC).Format("3 PM") == fmt.Sprint(h, " PM"), late != 0)
	}
	for _, none := range []uint8{0, 13, 255} {
		assert.EqualValues(t, 255, from12(none, false))
	}
}

// TestDays: which days there are and of what week, compared with the standard library's, in each year that the clock has.
func TestDays(t *testing.T) {
	for y := uint16(firstYear); y <= lastYear; y++ {
		for m := uint8(1); m <= 12; m++ {
			last := time.Date(int(y), time.Month(m)+1, 0, 0, 0, 0, 0, time.UTC)
			v := hil.DateTimeValues{Year: y, Month: m, Day: uint8(last.Day())}
			if !isDate(&v) || dayOfWeek(&v) != uint8(last.Weekday()) {
				t.Fatalf("%v: isDate %v, day of week %d", last, isDate(&v), dayOfWeek(&v))
			}
			if v.Day++; isDate(&v) {
				t.Fatalf("%d-%d has %d days", y, m, v.Day)
			}
		}
	}
}

func TestNoDates(t *testing.T) {
	good := hil.DateTimeValues{Year: 2024, Month: 2, Day: 29, Hour: 23, Minute: 59, Second: 59}
	m, c, d, told := newClock(t, hours24, [timeSize]byte{})
	for name, change := range map[string]func(v *hil.DateTimeValues){
		"year": func(v *hil.DateTimeValues) { v.Year = 1899 }, "late year": func(v *hil.DateTimeValues) { v.Year = 4096 },
		"month 0": func(v *hil.DateTimeValues) { v.Month = 0 }, "month 13": func(v *hil.DateTimeValues) { v.Month = 13 },
		"day 0": func(v *hil.DateTimeValues) { v.Day = 0 }, "day 30": func(v *hil.DateTimeValues) { v.Day = 30 },
		"hour": func(v *hil.DateTimeValues) { v.Hour = 24 }, "minute": func(v *hil.DateTimeValues) { v.Minute = 60 },
		"second": func(v *hil.DateTimeValues) { v.Second = 60 },
	} {
		v := good
		change(&v)
		assert.Equal(t, abi.INVAL, d.SetDateTime(v), name)
	}
	run(m)
	assert.Empty(t, told.ends)
	assert.Empty(t, c.running)
}

// TestUpdates: what is read while the time changes is read again.
func TestUpdates(t *testing.T) {
	m, c, d, told := newClock(t, hours24|binary, [...]byte{10, 0, 0, 1, 1, 1, 0, 20})
	c.busy, c.ticks = 5, 3
	require.Equal(t, abi.OK, d.GetDateTime())
	run(m)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, told.ends)
	assert.EqualValues(t, 13, told.got[0].Second, "the same twice")
	assert.Equal(t, 6, int(told.got[0].DayOfWeek), "2000-01-01 was a Saturday, whatever the device says")
}

// TestGivesUp: a device that is always about to change, never the same, or never a date ends the read with FAIL, soon.
func TestGivesUp(t *testing.T) {
	for name, spoil := range map[string]func(c *chip){
		"updating for ever": func(c *chip) { c.busy = 1 << 30 },
		"never the same":    func(c *chip) { c.ticks = 1 << 30 },
		"no digits":         func(c *chip) { c.memory[month] = 0x1f },
		"all ones":          func(c *chip) { c.absent = true },
		"no month":          func(c *chip) { c.memory[month] = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			m, c, d, told := newClock(t, hours24, [...]byte{0, 0, 0, 1, 1, 1, 0, 0x20})
			spoil(c)
			require.Equal(t, abi.OK, d.GetDateTime())
			run(m)
			assert.Equal(t, []abi.ErrorCode{abi.FAIL}, told.ends)
			c.busy, c.ticks, c.absent, c.memory[month], c.memory[seconds] = 0, 0, false, 1, 0
			require.Equal(t, abi.OK, d.GetDateTime(), "another may begin")
		})
	}
}

// TestCentury: a byte that is no century of the clock's years says 20.
func TestCentury(t *testing.T) {
	for b, want := range map[byte]uint16{0x19: 1999, 0x20: 2099, 0x40: 2099, 0: 2099, 0xff: 2099, 0x39: 3999} {
		r := reading{control: hours24, at: [...]byte{0, 0, 0, 0, 1, 1, 0x99, b}}
		v, ok := r.values()
		assert.True(t, ok)
		assert.Equal(t, want, v.Year, "%#x", b)
	}
}

// TestLateCall: a deferred call that comes when nothing is asked for does nothing.
func TestLateCall(t *testing.T) {
	_, c, d, told := newClock(t, hours24, [timeSize]byte{})
	n := c.accesses
	d.HandleDeferredCall()
	assert.Equal(t, n, c.accesses)
	assert.Empty(t, told.ends)
}
