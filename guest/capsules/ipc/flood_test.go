package ipc

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/capsules/benchmark"
	"kapsel/guest/capsules/console"
	"kapsel/guest/kernel/kerneltest"
)

// newBoard is a machine with IPC and all drivers that have upcalls.
func newBoard(t *testing.T) *kerneltest.Machine {
	m := newMachine(t)
	a, c, b := &alarm.Alarm{}, &console.Console{}, &benchmark.Benchmark{}
	a.Init(&m.Kernel, &m.Alarm, m.Capabilities.MemoryAllocation)
	c.Init(&m.Kernel, &m.Line, make([]byte, 256), m.Capabilities.MemoryAllocation)
	b.Init(&m.Kernel, benchmark.Devices{Storage: kerneltest.NewStorage(m, 0, nil)}, nil, m.Capabilities.MemoryAllocation)
	m.Drivers[abi.DriverAlarm], m.Drivers[abi.DriverConsole], m.Drivers[abi.DriverBenchmark] = a, c, b
	return m
}

// TestFloodOfNotifications: a task that is notified more often than it yields misses no event of
// a driver, and no other peer's notification, however often it waits for them.
func TestFloodOfNotifications(t *testing.T) {
	const rounds = 50
	for _, c := range []struct {
		name           string
		driver, number uint64
		begin          func(m *kerneltest.Machine, k *kerneltest.Task) // what makes the event happen
	}{
		{"alarm", abi.DriverAlarm, 0, func(_ *kerneltest.Machine, k *kerneltest.Task) {
			assert.Equal(t, uint64(abi.SuccessU32), k.Command(abi.DriverAlarm, 5, 1000, 0)[0])
		}},
		{"console write", abi.DriverConsole, 1, func(_ *kerneltest.Machine, k *kerneltest.Task) {
			k.AllowRO(abi.DriverConsole, 1, k.Start.RAMStart, 10)
			assert.Equal(t, done, k.Command(abi.DriverConsole, 1, 10, 0))
		}},
		{"console read", abi.DriverConsole, 2, func(m *kerneltest.Machine, k *kerneltest.Task) {
			k.AllowRW(abi.DriverConsole, 1, k.Start.RAMStart, 10)
			assert.Equal(t, done, k.Command(abi.DriverConsole, 2, 3, 0))
			m.Line.Type("abc")
		}},
		{"benchmark", abi.DriverBenchmark, 0, func(_ *kerneltest.Machine, k *kerneltest.Task) {
			assert.Equal(t, done, k.Command(abi.DriverBenchmark, abi.BenchmarkEvent, 1, 2))
		}},
		{"another peer", driver, 2, func(_ *kerneltest.Machine, k *kerneltest.Task) {
			assert.Equal(t, done, k.Command(driver, notifyService, 2, 0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newBoard(t)
			told, notified := 0, 0
			m.AddTask("victim", func(k *kerneltest.Task) {
				k.Subscribe(c.driver, c.number, k.Function(func([3]uint32, uint64) { told++ }), 0)
				k.Subscribe(driver, 0, k.Function(func([3]uint32, uint64) { notified++ }), 0)
				for round := range rounds {
					c.begin(m, k)
					k.Spin(50_000) // while others fill its queue
					for waited := 0; told == round && waited < 30; waited++ {
						k.Wait()
					}
					assert.Equal(t, round+1, told)
				}
			}, nil)
			m.AddTask("flooder", func(k *kerneltest.Task) {
				for k.Command(driver, notifyService, 0, 0) == done {
					k.Spin(100)
				}
			}, nil)
			m.AddTask("peer", func(k *kerneltest.Task) {
				for {
					k.Command(driver, notifyClient, k.WaitFor(driver, 2)[0], 0)
				}
			}, nil)
			m.Run()
			assert.Equal(t, rounds, told)
			assert.Greater(t, notified, rounds, "the flood is told too")
		})
	}
}
