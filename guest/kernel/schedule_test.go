package kernel_test

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

func TestRoundRobin(t *testing.T) {
	preempted := func(slot int) kernel.Stop { return kernel.Stop{Slot: slot, Reason: kernel.StopPreempted} }
	stopped := func(slot int) kernel.Stop { return kernel.Stop{Slot: slot, Reason: kernel.StopExpired} }
	for name, c := range map[string]struct {
		ready uint64
		last  kernel.Stop
		want  int
	}{
		"first of all":                    {0b1010, kernel.Stop{}, 1},
		"slot 0 first of all":             {0b0011, kernel.Stop{}, 0},
		"the next":                        {0b1011, stopped(1), 3},
		"around the end":                  {0b0011, stopped(1), 0},
		"the only one again":              {0b0010, stopped(1), 1},
		"the last slot":                   {1 << 15, stopped(15), 15},
		"after the last slot":             {0b1, stopped(15), 0},
		"a preempted one goes on":         {0b1111, preempted(2), 2},
		"unless it is not ready any more": {0b1011, preempted(2), 3},
	} {
		slot, slice := (&kernel.RoundRobin{}).Next(c.ready, c.last)
		assert.Equal(t, c.want, slot, name)
		assert.Equal(t, uint64(kernel.DefaultSlice), slice, name)
	}
	_, slice := (&kernel.RoundRobin{Slice: 5}).Next(1, kernel.Stop{})
	assert.Equal(t, uint64(5), slice)
}

func TestSpinningTaskDoesNotStopOthers(t *testing.T) {
	m := newMachine(t)
	done := false
	m.AddTask("spinner", func(k *kerneltest.Task) {
		for !done {
			k.Spin(1000)
		}
	}, nil)
	m.AddTask("worker", func(k *kerneltest.Task) {
		for range 30 {
			k.Spin(1000)
			k.Command(probeDriver, probeExists, 0, 0)
		}
		done = true
	}, nil)
	assert.False(t, m.Run())
	assert.Regexp(t, `spinner +Terminated +0 +\d+ +0 +[2-9] `, m.Tasks(), "its slices expire")
}

func TestSystemCallsCostNoTimerWrite(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		for range 1000 {
			k.Command(probeDriver, probeExists, 0, 0)
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 1, m.CPU.Slices)
}

func TestTaskThatOnlyCallsIsPreempted(t *testing.T) {
	m := newMachine(t)
	var order []int
	for i := range 2 {
		m.AddTask("task", func(k *kerneltest.Task) {
			for range 15_000 {
				k.Command(probeDriver, probeExists, 0, 0)
			}
			order = append(order, i)
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Equal(t, []int{0, 1}, order)
	assert.Regexp(t, `task +Terminated +0 +15001 +0 +1 `, m.Tasks())
}

// cooperative runs the lowest ready slot without a limit.
type cooperative struct{}

func (cooperative) Next(ready uint64, _ kernel.Stop) (int, uint64) {
	return bits.TrailingZeros64(ready), 0
}

func (cooperative) Timed() bool      { return false }
func (cooperative) InTurn() bool     { return false }
func (cooperative) Preemptive() bool { return false }

func TestNoSlice(t *testing.T) {
	m := newMachine(t)
	m.Kernel.Rewire(kernel.Config{
		CPU: &m.CPU, Platform: m.Machine, Scheduler: cooperative{}, Policy: m.Machine, Debug: &m.Log, Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
	})
	var order []string
	m.AddTask("first", func(k *kerneltest.Task) {
		k.Spin(100_000)
		order = append(order, "first")
	}, nil)
	m.AddTask("second", func(*kerneltest.Task) { order = append(order, "second") }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"first", "second"}, order)
	assert.Zero(t, m.CPU.Slices)
	assert.Regexp(t, `first +Terminated +0 +1 +0 +0 `, m.Tasks())
}

// deferrer sets a deferred call from a command, and schedules an upcall when it runs.
type deferrer struct {
	probe *probe
	call  kernel.DeferredCall
	id    kernel.TaskID
	order *[]string
	name  string
}

func (d *deferrer) HandleDeferredCall() {
	*d.order = append(*d.order, d.name)
	d.probe.schedule(d.id, 0, 0)
}

func TestDeferredCalls(t *testing.T) {
	m := newMachine(t)
	var order []string
	first := deferrer{probe: &m.probe, order: &order, name: "first"}
	second := deferrer{probe: &m.probe, order: &order, name: "second"}
	first.call.Register(&m.Kernel, &first)
	second.call.Register(&m.Kernel, &second)
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		first.id, second.id = id, id
		second.call.Set()
		first.call.Set()
		first.call.Set()
		order = append(order, "command ends")
		return kernel.Done()
	}
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) { order = append(order, "upcall") }), 0)
		k.Command(probeDriver, probeHook, 0, 0)
		order = append(order, "task goes on")
		k.Wait()
		k.Wait()
		assert.False(t, k.NoWait())
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"command ends", "first", "second", "task goes on", "upcall", "upcall"}, order)
}

// ticker is an alarm client that counts, and wakes a task.
type ticker struct {
	m     *machine
	id    kernel.TaskID
	fired int
}

func (c *ticker) AlarmFired() {
	c.fired++
	c.m.probe.schedule(c.id, 0, 0)
	if c.fired < 5 {
		c.m.Alarm.SetAlarm(c.m.Alarm.Now() + 3000)
	}
}

func TestInterruptedTaskGoesOnWithItsSlice(t *testing.T) {
	m := newMachine(t)
	tick := &ticker{m: m}
	m.Alarm.SetAlarmClient(tick)
	m.Alarm.SetAlarm(3000)
	m.AddTask("spinner", func(k *kerneltest.Task) { k.Spin(9000) }, nil)
	m.AddTask("other", func(k *kerneltest.Task) {}, nil)
	assert.False(t, m.Run())
	assert.GreaterOrEqual(t, tick.fired, 2)
	assert.Equal(t, 1, m.CPU.Slices, "one write, for the other has what the first left")
	assert.Regexp(t, `spinner +Terminated +0 +1 +0 +0 `, m.Tasks())
}

// laggard is an alarm client that takes its time.
type laggard struct{ cpu *kerneltest.CPU }

func (c laggard) AlarmFired() { c.cpu.Advance(100) }

// TestSliceStandsStillWhileTheKernelWorks: a task that an interrupt stops just before the end of
// its slice has the rest of it behind that.
func TestSliceStandsStillWhileTheKernelWorks(t *testing.T) {
	m := newMachine(t)
	m.Alarm.SetAlarmClient(laggard{&m.CPU})
	m.Alarm.SetAlarm(kernel.DefaultSlice - 50)
	var order []string
	m.AddTask("spinner", func(k *kerneltest.Task) {
		k.Spin(kernel.DefaultSlice - 10)
		order = append(order, "spinner")
		k.Spin(kernel.DefaultSlice)
	}, nil)
	m.AddTask("other", func(*kerneltest.Task) { order = append(order, "other") }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"spinner", "other"}, order)
	assert.Regexp(t, `spinner +Terminated +0 +1 +0 +1 `, m.Tasks())
}

func TestSleepUntilAnInterrupt(t *testing.T) {
	m := newMachine(t)
	tick := &ticker{m: m}
	m.Alarm.SetAlarmClient(tick)
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		tick.id = id
		m.Alarm.SetAlarm(m.Alarm.Now() + 1_000_000)
		return kernel.Done()
	}
	woken := 0
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) { woken++ }), 0)
		k.Command(probeDriver, probeHook, 0, 0)
		for range 5 {
			k.Wait()
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 5, woken)
	assert.Greater(t, m.Alarm.Now(), uint64(1_000_000))
	assert.Equal(t, uint32(abi.ExitOK), m.Kernel.ExitStatus())
}

// idleFunc is a function that is told before each sleep.
type idleFunc func()

func (f idleFunc) Idle() { f() }

// TestIdleIsToldBehindInterrupts: an interrupt that came while the kernel worked is served before somebody is told that there is nothing to do.
func TestIdleIsToldBehindInterrupts(t *testing.T) {
	m := newMachine(t)
	var order []string
	m.Lines = map[int]func(){
		5: func() { order = append(order, "first"); m.CPU.Raise(6) },
		6: func() { order = append(order, "second") },
	}
	m.Idle = idleFunc(func() {
		if order = append(order, "idle"); len(order) == 1 {
			m.CPU.Raise(5)
		}
	})
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run(), "it sleeps for ever")
	assert.Equal(t, []string{"idle", "first", "second", "idle"}, order)
}

// TestHandedOnTurns: beside tasks that hand their turns on, and at random wake, stop, start and restart each
// other and themselves, a task that computes gets at least half of its share, and waits at most for a slice
// of each other task and one more.
func TestHandedOnTurns(t *testing.T) {
	const end = 30_000
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		slice, others := 20+random.Uint64N(1000), 1+random.IntN(4)
		m := newMachine(t)
		m.scheduled(&kernel.RoundRobin{Slice: slice})
		ids := make([]kernel.TaskID, others)
		m.probe.hook = func(id kernel.TaskID, what, whom uint32) kernel.Result {
			ids[id.Slot()] = id
			switch can := m.Capabilities.TaskManagement; what {
			case 0:
				m.Kernel.Stop(ids[whom], can)
			case 1:
				m.Kernel.Restart(ids[whom], can)
			default:
				m.Kernel.Start(ids[whom], can)
				m.probe.schedule(ids[whom], 0, 0)
			}
			return kernel.Done()
		}
		m.Lines[5] = func() {
			for _, id := range ids {
				m.Kernel.Start(id, m.Capabilities.TaskManagement)
				m.probe.schedule(id, 0, 0)
			}
		}
		for range others {
			m.AddTask("waits", func(k *kerneltest.Task) {
				k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) {}), 0)
				for m.Alarm.Now() < end {
					k.Spin([]uint64{1, slice - 15, random.Uint64N(2 * slice), 9 * slice}[random.IntN(4)])
					k.Command(probeDriver, probeHook, random.Uint64N(20), random.Uint64N(uint64(others)))
					switch random.IntN(10) {
					case 0:
						k.Restart(0)
					case 1:
					default:
						k.Wait()
					}
				}
			}, nil)
		}
		computed, longest := uint64(0), uint64(0)
		m.AddTask("computes", func(k *kerneltest.Task) {
			for last := m.Alarm.Now(); m.Alarm.Now() < end; last = m.Alarm.Now() {
				k.Spin(1)
				computed++
				longest = max(longest, m.Alarm.Now()-last)
				if random.IntN(2000) == 0 {
					m.CPU.Raise(5)
				}
			}
		}, nil)
		m.Run()
		const work = 100 // more than system calls and the line take
		assert.LessOrEqual(t, longest, slice*uint64(others+1)+work, "seed %d", seed)
		assert.Greater(t, computed, uint64(end/2/(others+1)), "seed %d", seed)
	}
}
