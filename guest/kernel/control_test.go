package kernel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// byName finds a task.
func (m *machine) byName(name string) *kernel.Task {
	var found *kernel.Task
	for _, t := range m.Kernel.Records() {
		if t.NameIs([]byte(name)) {
			found = t
		}
	}
	return found
}

// TestStoppedTasks stops a task in each state, lets an event happen, and starts it again.
func TestStoppedTasks(t *testing.T) {
	for name, c := range map[string]struct {
		wait        func(k *kerneltest.Task)
		state, then string // while it is stopped, before and behind the event
	}{
		"Running": {func(k *kerneltest.Task) { k.Spin(50_000) }, "Stopped(Running)", "Stopped(Running)"},
		"Yielded": {func(k *kerneltest.Task) { k.Wait() }, "Stopped(Yielded)", "Stopped(Yielded)"},
		"YieldedFor": {func(k *kerneltest.Task) {
			assert.Equal(t, [4]uint64{7, 8, 9}, k.WaitFor(probeDriver, 0))
		}, "Stopped(YieldedFor)", "Stopped(Running)"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			can := m.Capabilities.TaskManagement
			woken, went := 0, false
			m.AddTask("task", func(k *kerneltest.Task) {
				k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) { woken++ }), 0)
				c.wait(k)
				went = true
			}, nil)
			m.probe.hook = func(_ kernel.TaskID, step, _ uint32) kernel.Result {
				task := m.byName("task")
				switch step {
				case 0:
					assert.Equal(t, name, task.StateName())
					assert.Equal(t, abi.OK, m.Kernel.Stop(task.ID(), can))
					assert.Equal(t, abi.ALREADY, m.Kernel.Stop(task.ID(), can))
					assert.Equal(t, c.state, task.StateName())
				case 1:
					assert.Equal(t, abi.OK, m.probe.schedule(task.ID(), 0, 7))
					assert.True(t, task.Stopped())
					assert.Equal(t, c.then, task.StateName())
					assert.Contains(t, m.Tasks(), c.then)
				case 2:
					assert.False(t, went, "it must not run while it is stopped")
					assert.Zero(t, woken)
					assert.Equal(t, abi.OK, m.Kernel.Start(task.ID(), can))
					assert.Equal(t, abi.ALREADY, m.Kernel.Start(task.ID(), can))
				}
				return kernel.Done()
			}
			m.AddTask("operator", func(k *kerneltest.Task) {
				for step := range uint64(3) {
					k.Spin(30_000)
					k.Command(probeDriver, probeHook, step, 0)
				}
			}, nil)
			assert.False(t, m.Run())
			assert.True(t, went)
			if name == "Yielded" {
				assert.Equal(t, 1, woken)
			}
		})
	}
}

func TestTaskStopsItself(t *testing.T) {
	m := newMachine(t)
	can := m.Capabilities.TaskManagement
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		m.Kernel.Stop(id, can)
		return kernel.Value(5)
	}
	answer := [4]uint64{}
	m.AddTask("task", func(k *kerneltest.Task) { answer = k.Command(probeDriver, probeHook, 0, 0) }, nil)
	assert.True(t, m.Run(), "a stopped task may go on: the machine waits")
	assert.Equal(t, "Stopped(Running)", m.byName("task").StateName())
	assert.Zero(t, answer)
	m.Kernel.Start(m.byName("task").ID(), can)
	assert.False(t, m.Continue())
	assert.Equal(t, [4]uint64{value, 5}, answer, "the answer waited for it")
}

// TestEndedByItsOwnCommand: a driver that ends or restarts the calling task leaves no trace
// of the call's answer in what follows.
func TestEndedByItsOwnCommand(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(m *machine, id kernel.TaskID) abi.ErrorCode
		runs int
		end  string
	}{
		"terminate": {func(m *machine, id kernel.TaskID) abi.ErrorCode {
			return m.Kernel.Terminate(id, m.Capabilities.TaskManagement)
		}, 1, "Terminated +0 .* terminated from outside"},
		"restart": {func(m *machine, id kernel.TaskID) abi.ErrorCode {
			return m.Kernel.Restart(id, m.Capabilities.TaskManagement)
		}, 2, "Terminated +1 .* exit with code 0"},
		"fault": {func(m *machine, id kernel.TaskID) abi.ErrorCode {
			return m.Kernel.Fault(id, "a test", m.Capabilities.TaskManagement)
		}, 1, "Faulted +0 .* a test"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			var first kernel.TaskID
			m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
				first = id
				assert.Equal(t, abi.OK, c.act(m, id))
				assert.Equal(t, abi.INVAL, c.act(m, id), "the run is over")
				assert.Equal(t, abi.INVAL, m.Kernel.Stop(id, m.Capabilities.TaskManagement))
				assert.Equal(t, abi.INVAL, m.Kernel.Start(id, m.Capabilities.TaskManagement))
				return kernel.Value(0x1234)
			}
			runs := 0
			m.AddTask("task", func(k *kerneltest.Task) {
				if runs++; runs == 1 {
					k.Command(probeDriver, probeHook, 0, 0)
					t.Error("the run goes on")
				}
			}, nil)
			assert.False(t, m.Run())
			assert.Equal(t, c.runs, runs)
			assert.Regexp(t, `task +`+c.end, m.Tasks())
			if c.runs == 2 {
				assert.Equal(t, abi.INVAL, m.Kernel.Boot(first, m.Capabilities.TaskManagement), "a stale identifier boots nothing")
			}
		})
	}
}

func TestBoot(t *testing.T) {
	for name, end := range map[string]func(k *kerneltest.Task){
		"Terminated": func(k *kerneltest.Task) { k.Syscall(abi.Exit, abi.ExitTerminate, 3) },
		"Faulted":    func(k *kerneltest.Task) { k.Syscall(99) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			can := m.Capabilities.TaskManagement
			runs := 0
			m.AddTask("task", func(k *kerneltest.Task) {
				if runs++; runs == 1 {
					end(k)
				}
				k.WaitFor(probeDriver, 0)
			}, nil)
			assert.False(t, m.Run())
			task := m.byName("task")
			id := task.ID()
			assert.Equal(t, name, task.StateName())
			assert.Equal(t, abi.OK, m.Kernel.Boot(id, can))
			assert.Equal(t, abi.INVAL, m.Kernel.Boot(id, can), "that run's identifier is stale")
			assert.Equal(t, abi.ALREADY, m.Kernel.Boot(task.ID(), can))
			assert.True(t, m.Continue())
			assert.Equal(t, 2, runs)
			assert.EqualValues(t, 1, task.Restarts())
			assert.Equal(t, "YieldedFor", task.StateName())
			assert.Equal(t, abi.INVAL, m.Kernel.Boot(kernel.TaskID{}, can), "nobody's identifier")
		})
	}
}

// TestTerminatedByForce: a completion code of an earlier run is not that of the last one.
func TestTerminatedByForce(t *testing.T) {
	m := newMachine(t)
	runs := 0
	m.AddTask("task", func(k *kerneltest.Task) {
		if runs++; runs == 1 {
			k.Restart(7)
		}
		k.Wait()
	}, nil)
	assert.True(t, m.Run())
	assert.Equal(t, abi.OK, m.Kernel.Terminate(m.byName("task").ID(), m.Capabilities.TaskManagement))
	assert.False(t, m.Continue())
	assert.Equal(t, uint32(abi.ExitOK), m.Kernel.ExitStatus())
}

func TestTaskControlNeedsTheCapability(t *testing.T) {
	m := newMachine(t)
	forged := capability.TaskManagement{}
	for name, call := range map[string]func(){
		"EachTask":  func() { m.Kernel.EachTask(forged, new(kernel.Task), func() {}) },
		"Look":      func() { m.Kernel.Look(forged, new(kernel.Task)) },
		"OnTaskEnd": func() { m.Kernel.OnTaskEnd(nil, forged) },
		"Stop":      func() { m.Kernel.Stop(kernel.TaskID{}, forged) },
		"Start":     func() { m.Kernel.Start(kernel.TaskID{}, forged) },
		"Terminate": func() { m.Kernel.Terminate(kernel.TaskID{}, forged) },
		"Restart":   func() { m.Kernel.Restart(kernel.TaskID{}, forged) },
		"Boot":      func() { m.Kernel.Boot(kernel.TaskID{}, forged) },
		"Fault":     func() { m.Kernel.Fault(kernel.TaskID{}, "", forged) },
	} {
		assert.Panics(t, call, name)
	}
}

// TestEventForAnotherTaskEndsTheTurn: an event for another task ends the turn, so that the
// scheduler is asked; round robin goes on with the task that it was.
func TestEventForAnotherTaskEndsTheTurn(t *testing.T) {
	m := newMachine(t)
	var turns []kernel.Stop
	m.Kernel.Rewire(kernel.Config{
		CPU: &m.CPU, Platform: m.Machine, Policy: m.Machine, Debug: &m.Log, Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
		Scheduler: schedulerFunc(func(ready uint64, last kernel.Stop) (int, uint64) {
			turns = append(turns, last)
			return (&kernel.RoundRobin{}).Next(ready, last)
		}),
	})
	m.probe.hook = func(kernel.TaskID, uint32, uint32) kernel.Result {
		return kernel.Outcome(m.probe.schedule(m.byName("waiter").ID(), 0, 1))
	}
	var order []string
	m.AddTask("waiter", func(k *kerneltest.Task) {
		k.WaitFor(probeDriver, 0)
		order = append(order, "waiter")
	}, nil)
	m.AddTask("waker", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeHook, 0, 0)
		order = append(order, "waker")
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"waker", "waiter"}, order)
	assert.Equal(t, kernel.StopPreempted, turns[2].Reason)
}

// schedulerFunc is a scheduler that is a function.
type schedulerFunc func(ready uint64, last kernel.Stop) (int, uint64)

func (f schedulerFunc) Next(ready uint64, last kernel.Stop) (int, uint64) { return f(ready, last) }

func (schedulerFunc) Timed() bool      { return true }
func (schedulerFunc) InTurn() bool     { return false }
func (schedulerFunc) Preemptive() bool { return true }

func TestRunForever(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(*kerneltest.Task) {}, nil)
	m.Load()
	type bored struct{}
	m.CPU.OnIdle = func() { panic(bored{}) }
	assert.PanicsWithValue(t, bored{}, func() { m.Kernel.RunForever(m.Capabilities.MainLoop) }, "it sleeps when all have ended")
	assert.Equal(t, "Terminated", m.byName("task").StateName())
}

func TestPrintTask(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Subscribe(probeDriver, 0, k.Function(nil), 0)
		k.Command(probeDriver, probeSchedule, 0, 0)
		k.WaitFor(otherDriver, 0)
	}, nil)
	m.AddTask("", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
	task := m.byName("task")
	assert.Equal(t, kernel.Statistics{Syscalls: 3, Queued: 1, Grants: 1}, task.Statistics())
	assert.Equal(t, 2, m.Kernel.Grants())
	_, short := task.ShortID()
	assert.False(t, short)
	var out kerneltest.Log
	task.Print(&out)
	assert.True(t, strings.HasPrefix(out.String(), `Task: task, PID 1
 State: YieldedFor; ended by: -
 ShortID: Unique
 Events queued: 1
 Syscall count: 3
 Dropped upcall count: 0
 Restart count: 0
  0x8000`), out.String())
	out.Reset()
	task.PrintName(&out, 8)
	m.byName("").PrintName(&out, 12)
	assert.Equal(t, "task    (no name)   ", out.String())
}

// TestIdentitiesDoNotRecur: behind 2^32 runs of tasks an identity of an early run names none,
// and numbers go on.
func TestIdentitiesDoNotRecur(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.Run()
	task := m.byName("task")
	early := task.ID()
	assert.EqualValues(t, 1, early.Number())
	for _, runs := range []uint64{1 << 24, 1 << 32, 1 << 48, 1<<56 - 2} {
		m.Kernel.SetRuns(runs)
		assert.Equal(t, abi.OK, m.Kernel.Restart(task.ID(), m.Capabilities.TaskManagement))
		assert.Equal(t, runs+1, task.ID().Number())
		assert.Zero(t, task.ID().Slot())
		assert.NotEqual(t, early, task.ID())
		assert.Equal(t, abi.INVAL, m.Kernel.Restart(early, m.Capabilities.TaskManagement), "an identity of an early run")
		assert.Equal(t, abi.INVAL, m.probe.schedule(early, 0, 0))
	}
}
