package kernel_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

func TestCooperative(t *testing.T) {
	s := &kernel.Cooperative{}
	for name, c := range map[string]struct {
		ready uint64
		last  kernel.Stop
		want  int
	}{
		"first of all":            {0b1010, kernel.Stop{}, 1},
		"the next":                {0b1011, kernel.Stop{Slot: 1, Reason: kernel.StopNoWork}, 3},
		"around the end":          {0b0011, kernel.Stop{Slot: 1, Reason: kernel.StopNoWork}, 0},
		"a preempted one goes on": {0b1111, kernel.Stop{Slot: 2, Reason: kernel.StopPreempted}, 2},
	} {
		slot, slice := s.Next(c.ready, c.last)
		assert.Equal(t, c.want, slot, name)
		assert.Zero(t, slice, "no limit")
	}
}

func TestPriority(t *testing.T) {
	s := &kernel.Priority{}
	for name, c := range map[string]struct {
		ready uint64
		last  kernel.Stop
		want  int
	}{
		"the lowest slot":                {0b1010, kernel.Stop{}, 1},
		"again":                          {0b1010, kernel.Stop{Slot: 1, Reason: kernel.StopNoWork}, 1},
		"before one that was preempted":  {0b1011, kernel.Stop{Slot: 1, Reason: kernel.StopPreempted}, 0},
		"a preempted one, if the lowest": {0b1010, kernel.Stop{Slot: 1, Reason: kernel.StopPreempted}, 1},
	} {
		slot, slice := s.Next(c.ready, c.last)
		assert.Equal(t, c.want, slot, name)
		assert.Zero(t, slice, "no limit")
	}
}

// turn is what a feedback queue chose, and what the test then lets happen.
type turn struct {
	ready uint64
	slot  int    // wanted
	slice uint64 // wanted, microseconds
	runs  uint64 // microseconds of it that pass
	how   kernel.StopReason
}

func TestFeedbackQueue(t *testing.T) {
	const ms = 1000
	const expired, noWork, preempted = kernel.StopExpired, kernel.StopNoWork, kernel.StopPreempted
	for name, turns := range map[string][]turn{
		"in turns at the top": {
			{0b111, 0, 10 * ms, 1 * ms, noWork}, {0b111, 1, 10 * ms, 1 * ms, noWork}, {0b111, 2, 10 * ms, 1 * ms, noWork}, {0b111, 0, 9 * ms, 0, noWork},
		},
		"down the levels": {
			{0b1, 0, 10 * ms, 10 * ms, expired}, {0b1, 0, 20 * ms, 20 * ms, expired}, {0b1, 0, 50 * ms, 50 * ms, expired}, {0b1, 0, 50 * ms, 0, noWork},
		},
		"higher levels first": {
			{0b11, 0, 10 * ms, 10 * ms, expired}, {0b11, 1, 10 * ms, 2 * ms, noWork}, {0b01, 0, 20 * ms, 5 * ms, preempted}, {0b11, 1, 8 * ms, 1 * ms, noWork}, {0b01, 0, 15 * ms, 0, noWork},
		},
		"who waits just before the end moves down too": {
			{0b1, 0, 10 * ms, 6 * ms, noWork}, {0b1, 0, 4 * ms, 3600, noWork}, {0b1, 0, 20 * ms, 0, noWork},
		},
		"a preempted one goes on with its rest": {
			{0b11, 0, 10 * ms, 4 * ms, preempted}, {0b11, 0, 6 * ms, 5900, preempted}, {0b11, 0, 100, 100, expired}, {0b11, 1, 10 * ms, 0, noWork}, {0b01, 0, 20 * ms, 0, noWork},
		},
		"preempted at the very end, and not chosen": {
			{0b10, 1, 10 * ms, 10 * ms, expired}, {0b10, 1, 20 * ms, 20 * ms, preempted}, {0b11, 0, 10 * ms, 0, noWork}, {0b10, 1, 50 * ms, 0, noWork},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := &kernel.FeedbackQueue{}
			last := kernel.Stop{}
			for i, turn := range turns {
				slot, slice := q.Next(turn.ready, last)
				require.Equal(t, turn.slot, slot, "turn %d", i)
				require.Equal(t, turn.slice, slice, "turn %d", i)
				last = kernel.Stop{Slot: slot, Reason: turn.how, Left: slice - turn.runs}
			}
		})
	}
}

// TestFeedbackQueueNeverStarves: whatever happens, slices are in range, and a task at the
// bottom runs again and again although others never let the CPU go.
func TestFeedbackQueueNeverStarves(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := &kernel.FeedbackQueue{}
	last, now, ran := kernel.Stop{}, uint64(0), uint64(0)
	for range 100_000 {
		ready := random.Uint64()>>(64-kernel.MaxTasks) | 0b1 // slot 0 always wants to run
		slot, slice := q.Next(ready, last)
		require.NotZero(t, ready>>slot&1, "slot %d is not ready", slot)
		goesOn := last.Reason == kernel.StopPreempted && last.Slot == slot
		if !goesOn {
			require.GreaterOrEqual(t, slice, uint64(500))
		}
		require.LessOrEqual(t, slice, uint64(50_000))
		last = kernel.Stop{Slot: slot, Reason: kernel.StopExpired}
		if slot != 0 {
			switch random.IntN(3) {
			case 0:
				last.Reason, last.Left = kernel.StopNoWork, random.Uint64N(slice+1)
			case 1:
				last.Reason, last.Left = kernel.StopPreempted, random.Uint64N(slice+1)
			}
		}
		now += slice - last.Left
		if slot == 0 {
			ran = now
		}
		require.Less(t, now-ran, 2*uint64(kernel.DefaultPeriod), "slot 0 starves")
	}
}

func TestFeedbackQueuePeriod(t *testing.T) {
	q := &kernel.FeedbackQueue{Period: 30_000}
	q.Next(1, kernel.Stop{})
	_, slice := q.Next(1, kernel.Stop{Reason: kernel.StopExpired})
	assert.Equal(t, uint64(20_000), slice)
	_, slice = q.Next(1, kernel.Stop{Reason: kernel.StopExpired})
	assert.Equal(t, uint64(10_000), slice, "back at the top")
}

// runOrder runs a spinner in slot 0, one in slot 1, and a task in slot 2 that sleeps and
// wakes, and returns the order in which they ended.
func runOrder(t *testing.T, s kernel.Scheduler) []string {
	m := &machine{Machine: kerneltest.New(t, capability.Mint())}
	m.scheduled(s)
	m.probe.grant.Init(&m.Kernel, probeDriver, kernel.SlotCounts{Upcalls: 1}, m.Capabilities.MemoryAllocation)
	m.Drivers[probeDriver] = &m.probe
	tick := &ticker{m: m}
	m.Alarm.SetAlarmClient(tick)
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		tick.id = id
		m.Alarm.SetAlarm(m.Alarm.Now() + 3000)
		return kernel.Done()
	}
	var order []string
	sleeper := func(k *kerneltest.Task) {
		k.Subscribe(probeDriver, 0, k.Function(nil), 0) // so that events queue
		k.Command(probeDriver, probeHook, 0, 0)
		for range 5 {
			k.WaitFor(probeDriver, 0)
		}
		order = append(order, "sleeper")
	}
	spinner := func(name string, length uint64) kerneltest.Program {
		return func(k *kerneltest.Task) {
			k.Spin(length)
			order = append(order, name)
		}
	}
	m.AddTask("long", spinner("long", 200_000), nil)
	m.AddTask("short", spinner("short", 60_000), nil)
	m.AddTask("sleeper", sleeper, nil)
	assert.False(t, m.Run())
	return order
}

func TestSchedulersInTheKernel(t *testing.T) {
	for name, c := range map[string]struct {
		scheduler kernel.Scheduler
		want      []string
	}{
		"cooperative":    {&kernel.Cooperative{}, []string{"long", "short", "sleeper"}},
		"priority":       {&kernel.Priority{}, []string{"long", "short", "sleeper"}},
		"round robin":    {&kernel.RoundRobin{}, []string{"sleeper", "short", "long"}},
		"feedback queue": {&kernel.FeedbackQueue{}, []string{"sleeper", "short", "long"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, runOrder(t, c.scheduler)) })
	}
}

// TestPriorityPreempts: a task that a lower one wakes, by its own call, runs at once.
func TestPriorityPreempts(t *testing.T) {
	m := newMachine(t)
	m.Kernel.Rewire(kernel.Config{
		CPU: &m.CPU, Platform: m.Machine, Scheduler: &kernel.Priority{}, Policy: m.Machine, Debug: &m.Log, Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
	})
	m.probe.hook = func(kernel.TaskID, uint32, uint32) kernel.Result {
		return kernel.Outcome(m.probe.schedule(m.byName("first").ID(), 0, 1))
	}
	var order []string
	m.AddTask("first", func(k *kerneltest.Task) {
		k.WaitFor(probeDriver, 0)
		order = append(order, "first")
	}, nil)
	m.AddTask("second", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeHook, 0, 0)
		order = append(order, "second")
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []string{"first", "second"}, order)
}
