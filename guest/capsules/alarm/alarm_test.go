package alarm

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

func newMachine(t *testing.T) (*kerneltest.Machine, *Alarm) {
	m := kerneltest.New(t, capability.Mint())
	a := new(Alarm)
	a.Init(&m.Kernel, &m.Alarm, m.Capabilities.MemoryAllocation)
	m.Drivers[abi.DriverAlarm] = a
	return m, a
}

// await sets an alarm and waits for it. It returns the upcall's arguments.
func await(k *kerneltest.Task, command, a0, a1 uint64) (expiry uint64, args [3]uint32) {
	k.Subscribe(abi.DriverAlarm, fired, k.Function(func(a [3]uint32, _ uint64) { args = a }), 0)
	r := k.Command(abi.DriverAlarm, command, a0, a1)
	if r[0] != uint64(abi.SuccessU32) {
		panic(abi.ErrorCode(r[1]).Error())
	}
	k.Wait()
	return r[1], args
}

func TestCommands(t *testing.T) {
	m, _ := newMachine(t)
	m.CPU.Advance(1<<32 + 500)
	m.AddTask("task", func(k *kerneltest.Task) {
		const driver = abi.DriverAlarm
		assert.Equal(t, [4]uint64{128}, k.Command(driver, exists, 0, 0))
		assert.Equal(t, [4]uint64{129, 1_000_000}, k.Command(driver, frequency, 0, 0))
		ticks := k.Command(driver, now, 0, 0)
		assert.Equal(t, uint64(129), ticks[0])
		assert.InDelta(t, 510, ticks[1], 20, "32 bits that wrapped")
		nosupport := [4]uint64{0, uint64(abi.NOSUPPORT)}
		assert.Equal(t, nosupport, k.Command(driver, 4, 0, 0))
		assert.Equal(t, nosupport, k.Command(driver, 7, 0, 0))
		already := [4]uint64{0, uint64(abi.ALREADY)}
		assert.Equal(t, already, k.Command(driver, stop, 0, 0), "none is set")
		k.Command(driver, setRelative, 1000, 0)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, stop, 0, 0))
		assert.Equal(t, already, k.Command(driver, stop, 0, 0))
		k.Spin(3000)
		assert.False(t, k.NoWait(), "a stopped alarm does not fire")
	}, nil)
	assert.False(t, m.Run())
}

func TestReferenceAndInterval(t *testing.T) {
	const start = 1<<32 - 1000 // soon to wrap
	for name, c := range map[string]struct {
		before, interval uint32 // the reference is so long before now
		wait             uint64 // microseconds until it fires
	}{
		"ahead":                             {0, 500, 500},
		"across the wrap":                   {0, 5000, 5000},
		"reference in the past":             {300, 500, 200},
		"expired just now":                  {500, 500, 0},
		"expired before":                    {600, 500, 0},
		"interval 0":                        {0, 0, 0},
		"longest interval":                  {0, 1<<32 - 1, 1<<32 - 1},
		"reference ahead of now is expired": {1<<32 - 100, 500, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newMachine(t)
			m.CPU.Advance(start)
			m.AddTask("task", func(k *kerneltest.Task) {
				called := m.Alarm.Now()
				reference := uint32(called) - c.before
				expiry, args := await(k, setAbsolute, uint64(reference), uint64(c.interval))
				assert.Equal(t, uint64(reference+c.interval), expiry)
				assert.Equal(t, [2]uint32{reference + c.interval, 0}, [2]uint32{args[1], args[2]})
				assert.InDelta(t, c.wait, m.Alarm.Now()-called, 10)
			}, nil)
			assert.False(t, m.Run())
		})
	}
}

func TestTasksHaveAlarmsOfTheirOwn(t *testing.T) {
	m, _ := newMachine(t)
	var order []uint64
	for _, interval := range []uint64{5000, 1000, 2500} {
		m.AddTask("task", func(k *kerneltest.Task) {
			for range 3 {
				await(k, setRelative, interval, 0)
				order = append(order, interval)
			}
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Equal(t, []uint64{1000, 1000, 2500, 1000}, order[:4])
	assert.Len(t, order, 9)
}

func TestLaterAlarmReplacesEarlier(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Command(abi.DriverAlarm, setRelative, 1000, 0)
		begin := m.Alarm.Now()
		await(k, setRelative, 5000, 0)
		assert.InDelta(t, 5000, m.Alarm.Now()-begin, 20)
	}, nil)
	assert.False(t, m.Run())
}

func TestTaskThatEndedIsNotCalled(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) { k.Command(abi.DriverAlarm, setRelative, 1000, 0) }, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) { await(k, setRelative, 2000, 0) }, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		nomem := [4]uint64{0, uint64(abi.NOMEM)}
		assert.Equal(t, nomem, k.Command(abi.DriverAlarm, setRelative, 1, 0))
		assert.Equal(t, nomem, k.Command(abi.DriverAlarm, stop, 0, 0))
	}, nil)
	assert.False(t, m.Run())
}

// TestResume: an alarm that went on when its task was saved rings when it would have, as the task knows it, or at once if that has passed. Whatever
// the words are, an alarm that is set behind that rings.
func TestResume(t *testing.T) {
	for name, c := range map[string]struct {
		left   uint64 // of the alarm, which was saved after 100 microseconds, when it is resumed
		change uint64 // of the deadline that is saved
	}{
		"in time":               {left: 400},
		"its time has come":     {left: 0},
		"words of no alarm":     {left: 400, change: 1 << 63},
		"words of an old alarm": {left: 400, change: ^uint64(1<<40) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := newMachine(t)
			m.CPU.Advance(1 << 41)
			var rang [3]uint32
			m.AddTask("task", func(k *kerneltest.Task) {
				var seen kernel.Task
				var id kernel.TaskID
				m.Kernel.EachTask(m.Capabilities.TaskManagement, &seen, func() { id = seen.ID() })
				_, _, ok := a.Ongoing(id)
				assert.False(t, ok)
				k.Subscribe(abi.DriverAlarm, fired, k.Function(func(args [3]uint32, _ uint64) { rang = args }), 0)
				begun := m.Alarm.Now()
				expiry := k.Command(abi.DriverAlarm, setRelative, 1000, 0)[1]
				deadline, word, ok := a.Ongoing(id)
				assert.True(t, ok)
				assert.Equal(t, expiry, word)
				assert.InDelta(t, begun+1000, deadline, 5)
				k.Command(abi.DriverAlarm, stop, 0, 0)
				k.Spin(1000 - c.left)
				a.Resume(id, deadline+c.change, word)
				k.Spin(1000)
				assert.True(t, k.NoWait())
				assert.EqualValues(t, expiry, rang[1])
				if c.change == 0 && c.left != 0 {
					assert.InDelta(t, deadline, uint64(rang[0])|1<<41, 10)
				}
				_, _, ok = a.Ongoing(id)
				assert.False(t, ok)
				await(k, setRelative, 100, 0)
			}, nil)
			assert.False(t, m.Run())
		})
	}
}
