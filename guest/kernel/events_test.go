package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const (
	eventTasks = 5
	eventSteps = 3000 // how long a run of the test is, mostly in system calls
)

var schedulers = map[string]func() kernel.Scheduler{
	"round robin":    func() kernel.Scheduler { return &kernel.RoundRobin{} },
	"cooperative":    func() kernel.Scheduler { return &kernel.Cooperative{} },
	"priority":       func() kernel.Scheduler { return &kernel.Priority{} },
	"feedback queue": func() kernel.Scheduler { return &kernel.FeedbackQueue{} },
}

// An eventWorld is a machine whose tasks, drivers and interrupts act at random, and what the
// kernel makes of it is compared with models.
type eventWorld struct {
	*machine
	t      *testing.T
	random *rand.Rand
	tasks  []*kernel.Task
	models map[kernel.TaskID]*eventModel
	runs   [eventTasks]kernel.TaskID // that began last
	loans  loansModel
	lost   [eventTasks]uint64 // events, by slot
	serial uint32             // makes arguments of events differ
	steps  int
	counts map[string]int // of what happened
}

func newEventWorld(t *testing.T, s kernel.Scheduler, seed uint64) *eventWorld {
	m := newMachine(t)
	m.Policy = &kernel.FaultLimit{Restarts: kernel.AlwaysRestart}
	m.scheduled(s)
	w := &eventWorld{machine: m, t: t, random: rand.New(rand.NewPCG(seed, 0)),
		models: map[kernel.TaskID]*eventModel{}, counts: map[string]int{}}
	w.probe.hook = func(caller kernel.TaskID, _, _ uint32) kernel.Result {
		w.actSome(caller)
		return kernel.Done()
	}
	w.other.hook = w.probe.hook
	w.Alarm.SetAlarmClient(w)
	for slot := range eventTasks {
		w.AddTask(fmt.Sprint("task ", slot), w.program(slot), func(s *tbfbuild.Spec) {
			s.MinimumRAM = 8 * abi.PageSize
			s.ABI64 = slot != 1
		})
	}
	w.Load()
	w.tasks = w.Kernel.Records()
	return w
}

// run runs tasks, and acts when none can run, until there were enough steps.
func (w *eventWorld) run() {
	for w.steps < eventSteps {
		if w.Continue() {
			w.checkAsleep()
		}
		w.steps++
		for range 8 {
			w.act(kernel.TaskID{})
		}
	}
}

// checkAsleep asserts that no task can run.
func (w *eventWorld) checkAsleep() {
	w.follow()
	w.counts["slept"]++
	for _, task := range w.tasks {
		ready := task.State() == kernel.Running || task.State() == kernel.Yielded && len(w.model(task.ID()).queue) != 0
		require.False(w.t, ready && !task.Stopped(), "sleeps although %v could run", task.ID())
	}
}

func (w *eventWorld) model(run kernel.TaskID) *eventModel {
	if w.models[run] == nil {
		w.models[run] = newEventModel(int(run.Slot()), &w.loans)
	}
	return w.models[run]
}

// follow lets the models know what the kernel did since: which runs ended and began, and whose
// Yield has taken a call.
func (w *eventWorld) follow() {
	for slot, task := range w.tasks {
		if !w.goesOn(w.runs[slot]) {
			w.loans.ends(slot)
		}
		if w.goesOn(task.ID()) && task.ID() != w.runs[slot] {
			for _, run := range w.runs {
				w.model(run).peerStarts(slot)
			}
			w.runs[slot] = task.ID()
		}
	}
	for _, run := range w.runs {
		if m := w.model(run); m.yields && w.goesOn(run) && w.tasks[run.Slot()].State() == kernel.Running {
			m.call()
		}
	}
}

// event is any event, with arguments that no other has.
func (w *eventWorld) event() (eventName, [3]uint32) {
	w.serial++
	driver := []uint32{probeDriver, otherDriver}[w.random.IntN(2)]
	return eventName{driver, uint32(w.random.IntN(3))}, [3]uint32{w.serial, w.serial + 1, w.serial + 2}
}

// goesOn reports whether a run is not over.
func (w *eventWorld) goesOn(run kernel.TaskID) bool {
	task := w.tasks[run.Slot()]
	return task.ID() == run && task.State() >= kernel.Running && task.State() <= kernel.YieldedFor
}

// AlarmFired implements hil.AlarmClient. It takes its time, so that kernel work waits for tasks.
func (w *eventWorld) AlarmFired() {
	w.actSome(kernel.TaskID{})
	w.CPU.Advance(w.random.Uint64N(3000))
}

func (w *eventWorld) actSome(caller kernel.TaskID) {
	for range w.random.IntN(5) {
		w.act(caller)
	}
}

// act is what a driver does, perhaps for a task that called it.
func (w *eventWorld) act(caller kernel.TaskID) {
	w.follow()
	task := w.tasks[w.random.IntN(eventTasks)]
	switch n := w.random.IntN(24); {
	case n < 2:
		w.control(task)
	case n < 5:
		w.notify(caller, task)
	case n < 7 && w.steps < eventSteps:
		w.Alarm.SetAlarm(w.Alarm.Now() + 1 + w.random.Uint64N(3000))
	case n < 11:
		w.enter(task)
	default:
		w.schedule(task.ID())
	}
}

// controls are what may be done to a task: to keep it going more often than to end it.
var controls = []func(*kernel.Kernel, kernel.TaskID, capability.TaskManagement) abi.ErrorCode{
	(*kernel.Kernel).Stop, (*kernel.Kernel).Start, (*kernel.Kernel).Start, (*kernel.Kernel).Restart,
	(*kernel.Kernel).Terminate, (*kernel.Kernel).Boot, (*kernel.Kernel).Boot, (*kernel.Kernel).Boot,
}

func (w *eventWorld) control(task *kernel.Task) {
	run := task.ID()
	controls[w.random.IntN(len(controls))](&w.Kernel, run, w.Capabilities.TaskManagement)
	w.follow()
	if task.ID() != run {
		require.False(w.t, task.Stopped(), "a new run is stopped")
		w.counts["restarted"]++
	}
}

// schedule makes an event happen to a task.
func (w *eventWorld) schedule(run kernel.TaskID) {
	e, args := w.event()
	got := w.Drivers[e.driver].Slots().ScheduleUpcall(run, e.number, args[0], args[1], args[2])
	w.happened(run, e, happened{args, noPeer}, got)
}

// enter does the same from within the grant, where the task may end first.
func (w *eventWorld) enter(task *kernel.Task) {
	run, result := task.ID(), abi.OK
	e, args := w.event()
	got := w.Drivers[e.driver].(*probe).grant.Enter(run, func(_ *counter, d *kernel.TaskData) {
		if w.random.IntN(6) == 0 {
			w.control(task)
		}
		result = d.ScheduleUpcall(e.number, args[0], args[1], args[2])
	})
	w.happened(run, e, happened{args, noPeer}, max(got, result))
}

// notify makes an event happen to a peer of the caller, and lends what the caller shares.
func (w *eventWorld) notify(caller kernel.TaskID, peer *kernel.Task) {
	e, _ := w.event()
	buffer := uint32(w.random.IntN(2))
	got := w.Drivers[e.driver].Slots().Notify(caller, peer.ID().Slot(), e.number, buffer, w.Capabilities.MemorySharing)
	switch {
	case !w.goesOn(caller) || caller == peer.ID():
		require.Equal(w.t, abi.INVAL, got, "%v notifies %v", caller, peer.ID())
		return
	case !w.goesOn(peer.ID()):
		require.Equal(w.t, abi.NODEVICE, got, "%v notifies %v", caller, peer.ID())
		return
	}
	of := eventName{e.driver, buffer}
	if size := w.model(caller).shared[of]; size != 0 {
		w.loans.lend(int(caller.Slot()), int(peer.ID().Slot()), of, size)
		w.counts["lent"]++
	}
	w.happened(peer.ID(), e, happened{from: int(caller.Slot())}, got)
	w.counts["notified"]++
}

// happened compares what the kernel made of an event with the model.
func (w *eventWorld) happened(run kernel.TaskID, e eventName, what happened, got abi.ErrorCode) {
	if !w.goesOn(run) {
		require.Equal(w.t, abi.INVAL, got, "%v happened to a run that is over", e)
		w.counts["stale"]++
		return
	}
	task, m := w.tasks[run.Slot()], w.model(run)
	became := m.happen(e, what)
	if became == "replaced" {
		w.lost[run.Slot()]++
	}
	w.counts[became]++
	require.Equal(w.t, abi.OK, got, "%v of slot %d is %s", e, run.Slot(), became)
	require.Equal(w.t, w.lost[run.Slot()], task.Statistics().Dropped, "lost events")
	require.Equal(w.t, len(m.queue)+len(m.late()), task.Statistics().Queued, "calls that wait")
}

// An eventRun is a run of a task, as its program sees it.
type eventRun struct {
	*eventWorld
	*eventModel
	k        *kerneltest.Task
	function uint64
	page     uint64 // it shares this page and the next
}

// program makes random system calls.
func (w *eventWorld) program(slot int) kerneltest.Program {
	return func(k *kerneltest.Task) {
		task := w.tasks[slot]
		r := &eventRun{w, w.model(task.ID()), k, 0, k.Start.RAMStart + abi.PageSize}
		r.function = k.Function(r.upcall)
		k.Memop(abi.MemopBrk, r.page+2*abi.PageSize)
		for i := range uint64(2) {
			k.Store(r.page+i*abi.PageSize, mark(slot))
		}
		for w.steps < eventSteps {
			w.steps++
			require.False(w.t, task.Stopped(), "a stopped task runs")
			r.step()
		}
	}
}

// step is mostly a system call.
func (r *eventRun) step() {
	r.follow()
	for lender := range eventTasks {
		r.touch(lender)
	}
	e, _ := r.event()
	switch n := r.random.IntN(100); {
	case n < 18:
		r.swapUpcall(e)
	case n < 24:
		some := len(r.queue) != 0
		r.yields = some
		require.Equal(r.t, some, r.k.NoWait())
	case n < 30:
		r.yields = true
		r.k.Wait()
		require.False(r.t, r.yields, "no upcall ran")
	case n < 42:
		r.yieldWaitFor(e)
	case n < 48:
		r.k.Spin(r.random.Uint64N(4000))
	case n < 54:
		buffer, size := eventName{e.driver, e.number % 2}, uint32(r.random.IntN(3))*abi.PageSize
		r.shared[buffer] = size
		r.eventModel.loans.takeBack(r.slot, buffer)
		r.k.AllowRW(uint64(e.driver), uint64(buffer.number), r.page, uint64(size))
	case n == 54:
		r.k.Restart(1)
	case n == 55:
		r.k.Fault(kernel.Fault{Vector: 6, Name: "invalid opcode"})
	default:
		r.k.Command(uint64(e.driver), probeHook, 0, 0)
	}
}

// upcall is the function of all events: their userdata tells them apart.
func (r *eventRun) upcall(args [3]uint32, userdata uint64) {
	r.follow()
	require.NotNil(r.t, r.called, "an upcall runs unasked")
	want := *r.called
	require.Equal(r.t, want, queuedCall{want.event, happened{args, want.what.from}, userdata})
	r.called = nil
	r.counts["called"]++
}

// mark is what a task writes to memory that it may lend.
func mark(slot int) byte { return byte(0x40 + slot) }

// touch reads where another lends to the task, or did until it took it back and the task has not
// been told: there it finds zero, or what itself wrote.
func (r *eventRun) touch(lender int) {
	l := &r.eventWorld.loans[lender][r.slot]
	if l.mapped == 0 {
		return
	}
	page := r.random.Uint32N(l.mapped / abi.PageSize)
	at := loanOf(uint64(lender)) + uint64(page)*abi.PageSize
	if page*abi.PageSize < l.size {
		r.counts["borrowed"]++
		require.Equal(r.t, mark(lender), r.k.Load(at, 1)[0], "what is lent")
		return
	}
	r.counts["taken back"]++
	require.Contains(r.t, []byte{0, 0x80 + mark(r.slot)}, r.k.Load(at, 1)[0], "what was taken back")
	r.k.Store(at, 0x80+mark(r.slot))
}

// swapUpcall subscribes the function or, more seldom, none.
func (r *eventRun) swapUpcall(e eventName) {
	fn, userdata := r.function, uint64(r.serial)
	if r.random.IntN(5) == 0 {
		fn = 0
	}
	r.subscribe(e, fn, userdata)
	r.k.Subscribe(uint64(e.driver), uint64(e.number), fn, userdata)
}

func (r *eventRun) yieldWaitFor(e eventName) {
	r.waitFor(e)
	got := r.k.WaitFor(uint64(e.driver), uint64(e.number))
	require.NotNil(r.t, r.answer, "%v did not happen", e)
	a := *r.answer
	require.Equal(r.t, [4]uint64{uint64(a[0]), uint64(a[1]), uint64(a[2])}, got, "%v", e)
	r.answer = nil
	r.counts["waited for"]++
}

// TestEvents: whatever drivers, tasks and those who control them do, in whatever order, every
// event comes to pass as the ABI says, and no task that can run is left asleep.
func TestEvents(t *testing.T) {
	for name, scheduler := range schedulers {
		counts := map[string]int{}
		for seed := range uint64(8) {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				w := newEventWorld(t, scheduler(), seed)
				w.counts = counts
				w.run()
			})
		}
		for _, what := range []string{"answered", "queued", "kept", "late", "replaced", "stale", "borrowed", "taken back", "called", "waited for", "notified", "lent", "restarted", "slept"} {
			require.NotZero(t, counts[what], "%s, %s: %v", name, what, counts)
		}
	}
}
