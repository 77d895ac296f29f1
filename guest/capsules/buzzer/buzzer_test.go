package buzzer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverBuzzer

// fake is a buzzer on the machine's alarm.
type fake struct {
	machine *kerneltest.Machine
	client  hil.BuzzerClient
	tones   []string
	on      bool
	refuse  abi.ErrorCode
}

func (f *fake) SetBuzzerClient(c hil.BuzzerClient) { f.client = c }

func (f *fake) Buzz(frequency, milliseconds uint32) abi.ErrorCode {
	switch {
	case f.refuse != abi.OK:
		return f.refuse
	case frequency == 0:
		return abi.INVAL
	}
	f.on = true
	f.tones = append(f.tones, fmt.Sprint(frequency, " ", milliseconds))
	f.machine.Alarm.SetAlarm(f.machine.Alarm.Now() + 1000*uint64(milliseconds))
	return abi.OK
}

func (f *fake) Stop() abi.ErrorCode {
	if !f.on {
		return abi.OFF
	}
	f.machine.Alarm.SetAlarm(f.machine.Alarm.Now())
	return abi.OK
}

func (f *fake) AlarmFired() {
	f.on = false
	f.client.BuzzerDone(abi.OK)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *fake, *Buzzer) {
	m := kerneltest.New(t, capability.Mint())
	f := &fake{machine: m}
	m.Alarm.SetAlarmClient(f)
	b := new(Buzzer)
	b.Init(&m.Kernel, f, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = b
	return m, f, b
}

var (
	done128 = [4]uint64{128}
	ended   = [4]uint64{}
)

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

// TestCommands: those of Tock's capsules/extra/src/buzzer_driver.rs.
func TestCommands(t *testing.T) {
	m, f, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, done128, k.Command(driver, 0, 0, 0), "0: it is there")
		assert.Equal(t, failed(abi.OFF), k.Command(driver, 3, 0, 0), "3: nothing to stop")
		assert.Equal(t, done128, k.Command(driver, 1, 440, 100), "1: buzz")
		assert.Equal(t, done128, k.Command(driver, 1, 880, 60_000), "one may wait")
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, 1, 1, 1), "and no more")
		assert.Equal(t, ended, k.WaitFor(driver, done))
		assert.Equal(t, done128, k.Command(driver, 3, 0, 0), "3: stop")
		assert.Equal(t, ended, k.WaitFor(driver, done))
		assert.Equal(t, done128, k.Command(driver, 2, 500, 60_000), "2: at once")
		assert.Equal(t, done128, k.Command(driver, 2, 600, 10), "in the place of its own")
		assert.Equal(t, ended, k.WaitFor(driver, done))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, 1, 0, 10))
		assert.Equal(t, failed(abi.OFF), k.Command(driver, 3, 0, 0), "what failed does not go on")
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 4, 0, 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"440 100", "880 5000", "500 60000", "600 10"}, f.tones, "1 has 5000 ms at the most; 2 leaves that to the buzzer")
}

// TestSharing: a task's tone is its own, and those that wait take turns.
func TestSharing(t *testing.T) {
	m, f, _ := newMachine(t)
	m.AddTask("first", func(k *kerneltest.Task) {
		k.Command(driver, buzz, 1, 50)
		k.Command(driver, buzz, 2, 50)
		k.WaitFor(driver, done)
		k.Command(driver, buzz, 5, 50)
		k.WaitFor(driver, done)
		k.WaitFor(driver, done)
	}, nil)
	m.AddTask("second", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.RESERVE), k.Command(driver, buzzNow, 9, 50))
		assert.Equal(t, failed(abi.RESERVE), k.Command(driver, stop, 0, 0))
		assert.Equal(t, done128, k.Command(driver, buzz, 3, 50))
		assert.Equal(t, ended, k.WaitFor(driver, done))
	}, nil)
	m.AddTask("ends", func(k *kerneltest.Task) { k.Command(driver, buzz, 4, 50) }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"1 50", "2 50", "3 50", "5 50"}, f.tones, "the tone of a task that has ended is not made")
}

// TestToneThatWaitedFails: its task is told, and the next has its turn.
func TestToneThatWaitedFails(t *testing.T) {
	m, f, b := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Command(driver, buzz, 440, 100)
		k.Command(driver, buzz, 0, 100)
		assert.Equal(t, ended, k.WaitFor(driver, done))
		assert.Equal(t, uint64(abi.INVAL), k.WaitFor(driver, done)[0])
		f.refuse = abi.OFF
		assert.Equal(t, failed(abi.OFF), k.Command(driver, buzz, 440, 100))
	}, nil)
	assert.False(t, m.Run())
	b.BuzzerDone(abi.OK)
	assert.False(t, b.busy, "an end that nobody waits for")
}
