package datetime

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverDateTime

// clock takes 100 microseconds for each call. Each read finds the next second of its minute.
type clock struct {
	machine *kerneltest.Machine
	client  hil.DateTimeClient
	now     hil.DateTimeValues
	refuse  abi.ErrorCode // what calls return
	end     abi.ErrorCode // how calls end
	sets    bool
	calls   int
}

func (c *clock) SetDateTimeClient(client hil.DateTimeClient) { c.client = client }

func (c *clock) GetDateTime() abi.ErrorCode { return c.begin(false) }

func (c *clock) SetDateTime(v hil.DateTimeValues) abi.ErrorCode {
	e := c.begin(true)
	if e == abi.OK {
		c.now = v
	}
	return e
}

func (c *clock) begin(sets bool) abi.ErrorCode {
	if c.refuse == abi.OK {
		c.calls, c.sets = c.calls+1, sets
		c.machine.Alarm.SetAlarm(c.machine.Alarm.Now() + 100)
	}
	return c.refuse
}

func (c *clock) AlarmFired() {
	if c.sets {
		c.client.SetDateTimeDone(c.end)
		return
	}
	c.now.Second++
	c.client.GetDateTimeDone(c.now, c.end)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *clock, *DateTime) {
	m := kerneltest.New(t, capability.Mint())
	c := &clock{machine: m}
	m.Alarm.SetAlarmClient(c)
	d := new(DateTime)
	d.Init(&m.Kernel, c, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = d
	return m, c, d
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

var success = [4]uint64{128}

// date and time are the words of a date, by the text of Tock's date_time.rs.
func date(year, month, day uint64) uint64 { return year<<9 + month<<5 + day }
func clockTime(weekday, hour, minute, second uint64) uint64 {
	return weekday<<17 + hour<<12 + minute<<6 + second
}

// TestCommands: answers and upcalls of capsules/extra/src/date_time.rs.
func TestCommands(t *testing.T) {
	m, c, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, success, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 3, 0, 0))
		assert.Equal(t, success, k.Command(driver, set, date(2026, 11, 29), clockTime(0, 20, 15, 58)))
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done))
		assert.Equal(t, hil.DateTimeValues{Year: 2026, Month: 11, Day: 29, Hour: 20, Minute: 15, Second: 58}, c.now)
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		assert.Equal(t, [4]uint64{0, date(2026, 11, 29), clockTime(0, 20, 15, 59)}, k.WaitFor(driver, done))
		assert.Equal(t, success, k.Command(driver, set, 1<<21|date(4095, 12, 31), 1<<20|clockTime(6, 24, 60, 60)), "as Tock's checks are")
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done))
		assert.Equal(t, hil.DateTimeValues{Year: 4095, Month: 12, Day: 31, DayOfWeek: 6, Hour: 24, Minute: 60, Second: 60}, c.now)
	}, nil)
	assert.False(t, m.Run())
}

// TestRefusedDates: what date_from_u32_tuple refuses, without a word to the clock.
func TestRefusedDates(t *testing.T) {
	m, c, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		day, noon := date(2026, 11, 29), clockTime(0, 12, 0, 0)
		for name, words := range map[string][2]uint64{
			"month 0": {date(2026, 0, 1), noon}, "month 13": {date(2026, 13, 1), noon}, "month 15": {date(2026, 15, 1), noon},
			"day of the week 7": {day, clockTime(7, 0, 0, 0)}, "hour 25": {day, clockTime(0, 25, 0, 0)},
			"minute 61": {day, clockTime(0, 0, 61, 0)}, "second 61": {day, clockTime(0, 0, 0, 61)},
		} {
			assert.Equal(t, failed(abi.INVAL), k.Command(driver, set, words[0], words[1]), name)
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Zero(t, c.calls)
}

// TestClockRefuses: the clock's error is the command's, and nothing is left of the request.
func TestClockRefuses(t *testing.T) {
	m, c, d := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		c.refuse = abi.INVAL
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, get, 0, 0))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, set, date(2026, 2, 31), 0))
		c.refuse = abi.OK
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		assert.Zero(t, k.WaitFor(driver, done)[0])
		c.end = abi.FAIL
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, done))
		assert.Equal(t, success, k.Command(driver, set, date(2026, 2, 1), 0))
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, done))
	}, nil)
	assert.False(t, m.Run())
	assert.False(t, d.busy)
}

// TestOneRequestATask: who reads may ask again and gets one answer, as on Tock; else BUSY.
func TestOneRequestATask(t *testing.T) {
	m, c, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		upcalls := 0
		k.Subscribe(driver, done, k.Function(func([3]uint32, uint64) { upcalls++ }), 0)
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		assert.Equal(t, failed(abi.BUSY), k.Command(driver, set, date(2026, 1, 1), 0))
		k.Wait()
		assert.Equal(t, success, k.Command(driver, set, date(2026, 1, 1), 0))
		assert.Equal(t, failed(abi.BUSY), k.Command(driver, get, 0, 0))
		k.Wait()
		k.Spin(1000)
		assert.False(t, k.NoWait())
		assert.Equal(t, 2, upcalls)
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 2, c.calls)
}

// TestTasksTakeTurns: each task gets the end of what it asked for itself, in the order in which they asked, whatever ends in between.
func TestTasksTakeTurns(t *testing.T) {
	m, c, _ := newMachine(t)
	var order []string
	for _, name := range []string{"a", "b", "c"} {
		m.AddTask(name, func(k *kerneltest.Task) {
			for n := range uint64(3) {
				if name == "b" {
					k.Command(driver, set, date(2026, 1, 1+n), 0)
					assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done))
				} else {
					k.Command(driver, get, 0, 0)
					assert.NotZero(t, k.WaitFor(driver, done)[2])
				}
				order = append(order, name)
			}
		}, nil)
	}
	m.AddTask("ends", func(k *kerneltest.Task) { k.Command(driver, get, 0, 0) }, nil)
	c.now.Second = 1
	assert.False(t, m.Run())
	assert.Equal(t, []string{"a", "b", "c", "a", "b", "c", "a", "b", "c"}, order)
}

// TestClockRefusesAtItsTurn: who waited is told by the upcall.
func TestClockRefusesAtItsTurn(t *testing.T) {
	m, c, d := newMachine(t)
	m.AddTask("first", func(k *kerneltest.Task) {
		k.Command(driver, get, 0, 0)
		c.refuse = abi.FAIL
		assert.Zero(t, k.WaitFor(driver, done)[0])
	}, nil)
	m.AddTask("second", func(k *kerneltest.Task) {
		c.refuse = abi.OK
		assert.Equal(t, success, k.Command(driver, get, 0, 0))
		c.refuse = abi.FAIL
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, done))
	}, nil)
	assert.False(t, m.Run())
	assert.False(t, d.busy)
}

// TestUninvitedEnds: what the clock tells and nobody asked for is ignored.
func TestUninvitedEnds(t *testing.T) {
	m, c, d := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		d.SetDateTimeDone(abi.OK)
		d.GetDateTimeDone(hil.DateTimeValues{}, abi.OK)
		k.Command(driver, get, 0, 0)
		d.SetDateTimeDone(abi.OK)
		got := k.WaitFor(driver, done)
		assert.NotZero(t, got[2], "the end of the read, not the other")
		d.GetDateTimeDone(hil.DateTimeValues{}, abi.OK)
		k.Spin(10)
	}, nil)
	c.now.Second = 7
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, c, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, get, 0, 0))
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, set, date(2026, 1, 1), 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Zero(t, c.calls)
}
