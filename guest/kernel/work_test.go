package kernel_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

// pieceTime is how long a piece of kernel work of these tests takes, in microseconds.
const pieceTime = 40

// work is kernel work that causes itself, for ever, once it is begun.
type work struct {
	m      *machine
	begin  func()
	pieces int
}

// piece does one piece, and causes the next.
func (w *work) piece() {
	w.pieces++
	w.m.CPU.Advance(pieceTime)
	w.begin()
}

func (w *work) AlarmFired()         { w.piece() }
func (w *work) HandleDeferredCall() { w.piece() }

// endless are kinds of endless work, by what causes it: how to make it.
var endless = map[string]func(m *machine) []*work{
	"a device that is ready at once": func(m *machine) []*work {
		const line = 9
		w := &work{m: m, begin: func() { m.CPU.Raise(line) }}
		m.Lines[line] = w.piece
		return []*work{w}
	},
	"an alarm that is due at once": func(m *machine) []*work {
		w := &work{m: m, begin: func() { m.Alarm.SetAlarm(m.Alarm.Now()) }}
		m.Alarm.SetAlarmClient(w)
		return []*work{w}
	},
	"a deferred call that sets itself": func(m *machine) []*work {
		call := new(kernel.DeferredCall)
		w := &work{m: m, begin: call.Set}
		call.Register(&m.Kernel, w)
		return []*work{w}
	},
	"capsules that call each other": func(m *machine) []*work {
		calls := new([2]kernel.DeferredCall)
		ping, pong := &work{m: m, begin: calls[1].Set}, &work{m: m, begin: calls[0].Set}
		calls[0].Register(&m.Kernel, ping)
		calls[1].Register(&m.Kernel, pong)
		return []*work{ping, pong}
	},
}

func init() {
	one := make(map[string]func(m *machine) []*work)
	for name, kind := range endless {
		one[name] = kind
	}
	endless["all of these"] = func(m *machine) (all []*work) {
		for _, kind := range one {
			all = append(all, kind(m)...)
		}
		return all
	}
}

// newBusyMachine makes a machine with that scheduler and work, which the task in slot 0 begins
// before it waits for ever.
func newBusyMachine(t *testing.T, s kernel.Scheduler, kind func(m *machine) []*work) (*machine, []*work) {
	m := newMachine(t)
	m.Kernel.Rewire(kernel.Config{CPU: &m.CPU, Platform: m.Machine, Scheduler: s, Policy: m.Machine, Debug: &m.Log,
		Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)}})
	all := kind(m)
	m.probe.hook = func(kernel.TaskID, uint32, uint32) kernel.Result {
		for _, w := range all {
			w.begin()
		}
		return kernel.Done()
	}
	m.AddTask("beginner", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeHook, 0, 0)
		k.Wait()
	}, nil)
	return m, all
}

// stopped ends a run of the machine.
type stopped struct{}

func run(m *machine) {
	defer func() {
		if r := recover(); r != (stopped{}) {
			panic(r)
		}
	}()
	m.Run()
}

// TestEndlessWorkLeavesHalf: whatever causes work without end, a task that computes has half of
// the time, without long gaps, and all of the work goes on.
func TestEndlessWorkLeavesHalf(t *testing.T) {
	for kind, makeWork := range endless {
		for name, scheduler := range schedulers {
			t.Run(kind+", "+name, func(t *testing.T) {
				const length = 1_000_000
				m, all := newBusyMachine(t, scheduler(), makeWork)
				var computed, gap, last uint64
				m.AddTask("computing", func(k *kerneltest.Task) {
					for last < length {
						k.Spin(1)
						computed++
						now := m.Alarm.Now()
						if last != 0 {
							gap = max(gap, now-last)
						}
						last = now
					}
					panic(stopped{})
				}, nil)
				run(m)
				assert.InDelta(t, length/2, computed, length/50, "of %d", length)
				assert.LessOrEqual(t, gap, uint64(1000+10*pieceTime), "without an instruction")
				for i, w := range all {
					assert.Greater(t, w.pieces, length/2/1000*9/10, "work %d: once in each of its turns at the least", i)
				}
			})
		}
	}
}

// TestWorkIsNotChargedToTasks: tasks have whole slices, although endless work takes half of the
// time.
func TestWorkIsNotChargedToTasks(t *testing.T) {
	for name, c := range map[string]struct {
		scheduler kernel.Scheduler
		slices    []uint64 // of each task, microseconds
	}{
		"round robin":    {&kernel.RoundRobin{}, []uint64{10_000, 10_000, 10_000, 10_000, 10_000}},
		"feedback queue": {&kernel.FeedbackQueue{}, []uint64{10_000, 20_000, 50_000, 50_000, 50_000}},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newBusyMachine(t, c.scheduler, endless["all of these"])
			var slices [2][]uint64
			running := -1
			for i := range slices {
				m.AddTask(fmt.Sprint("computing ", i), func(k *kerneltest.Task) {
					for {
						k.Spin(1)
						if running != i {
							running = i
							slices[i] = append(slices[i], 0)
						}
						slices[i][len(slices[i])-1]++
						if len(slices[1]) > len(c.slices)+1 {
							panic(stopped{})
						}
					}
				}, nil)
			}
			run(m)
			for i := range slices {
				for n, want := range c.slices {
					require.InEpsilon(t, want, slices[i][n], 0.01, "slice %d of task %d", n, i)
				}
			}
		})
	}
}

// TestWorkGoesOnWhileNoTaskIsReady: it is bounded for tasks' sake alone.
func TestWorkGoesOnWhileNoTaskIsReady(t *testing.T) {
	m, all := newBusyMachine(t, &kernel.RoundRobin{}, endless["a deferred call that sets itself"])
	begin := all[0].begin
	all[0].begin = func() {
		if all[0].pieces < 10_000 {
			begin()
		}
	}
	assert.True(t, m.Run())
	assert.Equal(t, 10_000, all[0].pieces)
	assert.InDelta(t, 10_000*pieceTime, m.Alarm.Now(), 10, "one after another")
}

// TestAlarmBesideEndlessWork: an alarm comes in time, although work never ends and no task is
// ready between.
func TestAlarmBesideEndlessWork(t *testing.T) {
	for kind, makeWork := range map[string]func(m *machine) []*work{
		"a deferred call that sets itself": endless["a deferred call that sets itself"],
		"capsules that call each other":    endless["capsules that call each other"],
	} {
		t.Run(kind, func(t *testing.T) {
			m, _ := newBusyMachine(t, &kernel.RoundRobin{}, makeWork)
			tick := &ticker{m: m}
			m.Alarm.SetAlarmClient(tick)
			m.AddTask("asleep", func(k *kerneltest.Task) {
				tick.id = m.byName("asleep").ID()
				k.Subscribe(probeDriver, 0, k.Function(nil), 0) // so that events queue
				at := m.Alarm.Now() + 50_000
				m.Alarm.SetAlarm(at)
				k.WaitFor(probeDriver, 0)
				assert.LessOrEqual(t, m.Alarm.Now()-at, uint64(1000+5*pieceTime), "late")
				panic(stopped{})
			}, nil)
			run(m)
			assert.Equal(t, 1, tick.fired)
		})
	}
}

// TestWokenTaskWaitsForLongPiecesOnce: where pieces of work are long, a task that an alarm wakes
// waits for the piece in which it was due, and for one that is taken from it.
func TestWokenTaskWaitsForLongPiecesOnce(t *testing.T) {
	const longPiece = 5000 // microseconds
	m, all := newBusyMachine(t, &kernel.RoundRobin{}, endless["a deferred call that sets itself"])
	begin := all[0].begin
	all[0].begin = func() {
		m.CPU.Advance(longPiece - pieceTime)
		begin()
	}
	tick := &ticker{m: m, fired: 5} // it sets no alarm by itself
	m.Alarm.SetAlarmClient(tick)
	var late []uint64
	m.AddTask("asleep", func(k *kerneltest.Task) {
		tick.id = m.byName("asleep").ID()
		k.Subscribe(probeDriver, 0, k.Function(nil), 0) // so that events queue
		for len(late) < 20 {
			at := m.Alarm.Now() + 1000
			m.Alarm.SetAlarm(at)
			k.WaitFor(probeDriver, 0)
			late = append(late, m.Alarm.Now()-at)
		}
		panic(stopped{})
	}, nil)
	run(m)
	assert.Less(t, slices.Max(late), uint64(2*longPiece+100), "microseconds")
}

// TestMachineThatStoodStill: when the host stops the machine for long in a piece of work, work
// does not wait as long.
func TestMachineThatStoodStill(t *testing.T) {
	m, all := newBusyMachine(t, &kernel.RoundRobin{}, endless["a device that is ready at once"])
	begin, pieces := all[0].begin, 0
	const still, later = 1_000_000_000, 1_000_000 // microseconds
	all[0].begin = func() {
		if all[0].pieces == 10 {
			m.CPU.Advance(still)
		}
		begin()
	}
	m.AddTask("computing", func(k *kerneltest.Task) {
		for m.Alarm.Now() < still+later {
			k.Spin(1)
		}
		pieces = all[0].pieces
		panic(stopped{})
	}, nil)
	run(m)
	assert.Greater(t, pieces, later/2/pieceTime/2)
}

// TestServeUntil: before tasks are loaded the kernel serves interrupts and deferred calls, and sleeps between them, as long as
// the board waits for something.
func TestServeUntil(t *testing.T) {
	m := newMachine(t)
	call := new(kernel.DeferredCall)
	var order []string
	device := &work{m: m, begin: func() {}}
	step := func(name string, next func()) func() {
		return func() {
			order = append(order, name)
			next()
		}
	}
	m.Lines[9] = step("interrupt", call.Set)
	call.Register(&m.Kernel, deferredFunc(step("deferred call", func() { m.Alarm.SetAlarm(m.Alarm.Now() + 100) })))
	m.Alarm.SetAlarmClient(device)
	m.CPU.Raise(9)
	for _, name := range [...]string{"first task", "second task"} {
		m.AddTask(name, func(*kerneltest.Task) { order = append(order, name) }, nil)
	}
	m.Kernel.ServeUntil(func() bool { return device.pieces != 0 }, m.Capabilities.MainLoop)
	assert.Equal(t, []string{"interrupt", "deferred call"}, order)
	assert.GreaterOrEqual(t, m.Alarm.Now(), uint64(100), "it slept")
	m.Kernel.ServeUntil(func() bool { return true }, m.Capabilities.MainLoop)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"interrupt", "deferred call", "first task", "second task"}, order)
	assert.Panics(t, func() { m.Kernel.ServeUntil(func() bool { return true }, m.Capabilities.MainLoop) }, "tasks were loaded")
}

// deferredFunc is a function as a kernel.DeferredClient.
type deferredFunc func()

func (f deferredFunc) HandleDeferredCall() { f() }

// TestTaskThatWorkStopsBeginsASlice: a task that kernel work interrupts and stops, and that more work starts again while none is ready,
// begins a slice. The fake processor refuses one that stands still.
func TestTaskThatWorkStopsBeginsASlice(t *testing.T) {
	for name, scheduler := range schedulers {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.scheduled(scheduler())
			const line = 9
			var order []string
			call := new(kernel.DeferredCall)
			m.Lines[line] = call.Set
			call.Register(&m.Kernel, deferredFunc(func() {
				id, can := m.byName("task").ID(), m.Capabilities.TaskManagement
				if m.Kernel.Start(id, can) == abi.OK {
					order = append(order, "started")
					return
				}
				assert.Equal(t, abi.OK, m.Kernel.Stop(id, can))
				order = append(order, "stopped")
				call.Set()
			}))
			m.AddTask("task", func(k *kerneltest.Task) {
				k.Spin(10)
				m.CPU.Raise(line)
				k.Spin(10)
				order = append(order, "task")
			}, nil)
			assert.False(t, m.Run())
			assert.Equal(t, []string{"stopped", "started", "task"}, order)
		})
	}
}
