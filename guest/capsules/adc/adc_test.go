package adc

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverADC

// converter has channels whose n-th sample is 256 times the channel plus n. A sample takes it 100 microseconds.
type converter struct {
	machine    *kerneltest.Machine
	client     hil.ADCClient
	channels   uint32
	millivolts uint32
	asked      []uint32
	n          [4]uint16
	end        abi.ErrorCode // how samples end
}

func (c *converter) SetADCClient(client hil.ADCClient) { c.client = client }
func (c *converter) Channels() uint32                  { return c.channels }
func (c *converter) ResolutionBits() uint32            { return 12 }
func (c *converter) ReferenceMillivolts() uint32       { return c.millivolts }

func (c *converter) Sample(channel uint32) abi.ErrorCode {
	if channel >= c.channels {
		return abi.NODEVICE
	}
	c.asked = append(c.asked, channel)
	c.machine.Alarm.SetAlarm(c.machine.Alarm.Now() + 100)
	return abi.OK
}

func (c *converter) AlarmFired() {
	channel := c.asked[len(c.asked)-1]
	c.n[channel]++
	if c.end != abi.OK {
		c.channels = 0
	}
	c.client.Sampled(uint16(channel)<<8+c.n[channel], c.end)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *converter, *ADC) {
	m := kerneltest.New(t, capability.Mint())
	c := &converter{machine: m, channels: 4, millivolts: 3300}
	m.Alarm.SetAlarmClient(c)
	a := new(ADC)
	a.Init(&m.Kernel, c, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = a
	return m, c, a
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

// TestCommands: the commands of AdcVirtualized in Tock's capsules/core/src/adc.rs.
func TestCommands(t *testing.T) {
	m, c, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{129, 4}, k.Command(driver, 0, 0, 0), "0: how many channels")
		assert.Equal(t, [4]uint64{128}, k.Command(driver, 1, 2, 0), "1: sample")
		assert.Equal(t, failed(abi.BUSY), k.Command(driver, 1, 2, 0), "one under way")
		assert.Equal(t, [4]uint64{0, 2, 2<<8 + 1}, k.WaitFor(driver, sampled), "SingleSample, channel, sample")
		assert.Equal(t, [4]uint64{128}, k.Command(driver, 1, 2, 0))
		assert.Equal(t, [4]uint64{0, 2, 2<<8 + 2}, k.WaitFor(driver, sampled))
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, 1, 4, 0))
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, 1, 1<<32-1, 0))
		for number := uint64(2); number <= 5; number++ {
			assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, number, 0, 100), "%d: of AdcDedicated alone", number)
		}
		assert.Equal(t, [4]uint64{129, 12}, k.Command(driver, 101, 3, 0), "101: resolution")
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, 101, 4, 0))
		assert.Equal(t, [4]uint64{129, 3300}, k.Command(driver, 102, 3, 0), "102: reference voltage")
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, 102, 4, 0))
		c.millivolts = 0
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 102, 0, 0), "not known")
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 103, 0, 0))
		assert.EqualValues(t, abi.FailureFnUserdata, k.Subscribe(driver, 1, 0, 0)[0], "one upcall")
		assert.EqualValues(t, abi.FailureAddrLen, k.AllowRW(driver, 0, 0, 0)[0], "no buffers")
	}, nil)
	assert.False(t, m.Run())
}

// TestTasksTakeTurns: who asks again and again holds nobody up.
func TestTasksTakeTurns(t *testing.T) {
	m, _, _ := newMachine(t)
	var order []uint64
	for channel := range uint64(3) {
		m.AddTask("task", func(k *kerneltest.Task) {
			for range 5 {
				assert.Equal(t, [4]uint64{128}, k.Command(driver, sample, channel, 0))
				got := k.WaitFor(driver, sampled)
				assert.Equal(t, channel, got[1])
				assert.Equal(t, channel, got[2]>>8)
				order = append(order, channel)
			}
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Len(t, order, 15)
	for i := 3; i < len(order); i++ {
		assert.Equal(t, order[i-3], order[i])
	}
}

// TestConverterFails: every task that waits is told, and then the driver is as if it were not there.
func TestConverterFails(t *testing.T) {
	m, c, a := newMachine(t)
	c.end = abi.FAIL
	for channel := range uint64(2) {
		m.AddTask("task", func(k *kerneltest.Task) {
			k.Command(driver, sample, channel, 0)
			got := k.WaitFor(driver, sampled)
			assert.Equal(t, []uint64{noMode, channel}, got[:2])
			assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, channels, 0, 0))
		}, nil)
	}
	assert.False(t, m.Run())
	a.Sampled(1, abi.OK)
	assert.False(t, a.busy, "a sample that nobody asked for")
}

// TestTaskThatEnds while it waits: its sample goes to nobody, and others are served.
func TestTaskThatEnds(t *testing.T) {
	m, _, a := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) { k.Command(driver, sample, 0, 0) }, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		k.Command(driver, sample, 1, 0)
		assert.Equal(t, [4]uint64{0, 1, 1<<8 + 1}, k.WaitFor(driver, sampled))
	}, nil)
	assert.False(t, m.Run())
	assert.False(t, a.busy)
}
