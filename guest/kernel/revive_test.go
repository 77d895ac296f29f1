package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// mortal is a driver that can be said to have failed: it counts in its state and in its grant.
type mortal struct {
	grant kernel.Grant[mortalValue]
	work  kernel.DeferredCall
	calls uint32
}

// mortalValue is what it counts of a task.
type mortalValue struct {
	pending kernel.Pending
	calls   uint32
}

const (
	mortalDriver = 0xf0300
	mortalCount  = 1
	mortalDefer  = 2 // sets the deferred call, which counts 100
	mortalBegin  = 3 // begins what upcall 1 ends
)

// mortalList is a list with a mortal driver, its user and another, on a machine. Its driver serves line 3.
type mortalList struct {
	*machine
	components kernel.Components
	host       host
	driver     mortal
	breaks     kernel.DeferredCall // the driver's, too: it fails in it
	refuses    bool                // to be made anew
	inits      []string
}

func newMortals(t *testing.T) *mortalList { return newMortalsWith(t, func([]kernel.Component) {}) }

// newMortalsWith makes a list that change has changed.
func newMortalsWith(t *testing.T, change func(list []kernel.Component)) *mortalList {
	l := &mortalList{machine: newMachine(t)}
	caps := l.Capabilities
	line := func(name, uses string, clear func(), init func() bool) kernel.Component {
		return kernel.Component{Name: name, Uses: uses, Clear: clear, Init: func(capability.Set) bool {
			l.inits = append(l.inits, name)
			return init()
		}}
	}
	list := []kernel.Component{
		line("mortal", "", func() { l.driver, l.breaks = mortal{}, kernel.DeferredCall{} }, func() bool {
			if l.refuses {
				return false
			}
			l.driver.grant.Init(&l.Kernel, mortalDriver, kernel.SlotCounts{Upcalls: 2, ReadWrite: 1,
				Ends: kernel.EndsFailed(0) | kernel.EndsEmpty(1)}, caps.MemoryAllocation)
			l.breaks.Register(&l.Kernel, breaks{l})
			l.driver.work.Register(&l.Kernel, &l.driver)
			l.Kernel.AddDriver(mortalDriver, &l.driver)
			l.components.Serve(3, &l.driver)
			return true
		}),
		line("user", "mortal", func() {}, func() bool { return true }),
		line("other", "", func() { t.Error("another is cleared") }, func() bool { return true }),
	}
	change(list)
	l.components.SetPolicy(kernel.RestartCapsule, 2)
	l.components.Init(&l.Kernel, list, &l.host, caps)
	l.components.Wire()
	l.components.WireRest()
	l.Lines[9] = func() {
		l.fail("mortal")
		l.driver.calls = 50 // by who still calls it
	}
	return l
}

// breaks is a client of a deferred call in which the driver fails.
type breaks struct{ *mortalList }

func (b breaks) HandleDeferredCall() { b.fail("mortal") }

// fail is a failure of a capsule, from an interrupt.
func (l *mortalList) fail(name string) {
	var trace kernel.Trace
	trace.Reset("division")
	trace.Add(0x10, "kapsel/guest/capsules/"+name, ".(*mortal).", "HandleInterrupt", &l.components)
	trace.Add(0x20, "kapsel/guest/kernel", ".(*Kernel).", "work", &l.components)
	if l.components.Contain(&trace) != 0 {
		panic("it is not contained")
	}
}

func (m *mortal) Slots() *kernel.Slots { return m.grant.Slots() }
func (m *mortal) HandleInterrupt()     {}
func (m *mortal) HandleDeferredCall()  { m.calls += 100 }

func (m *mortal) Command(id kernel.TaskID, command, _, _ uint32) kernel.Result {
	m.calls++
	of := uint32(0)
	m.grant.Enter(id, func(v *mortalValue, task *kernel.TaskData) {
		v.calls++
		of = v.calls
		if command == mortalBegin {
			v.pending = 1 << 1
		}
		if n := task.ReadWrite(0).Len(); n != 0 {
			of += 1000 * uint32(n)
		}
	})
	if command == mortalDefer {
		m.work.Set()
	}
	return kernel.Value2(m.calls, of)
}

// TestRevive: a capsule that fails is cleared and closed at once; then it is told, and made anew with what tasks gave it, but what it kept of
// them; who uses it too, and nobody else. After so many times it stays off.
func TestRevive(t *testing.T) {
	l := newMortals(t)
	fail := func(k *kerneltest.Task) {
		l.CPU.Raise(9)
		k.Spin(100)
	}
	l.AddTask("task", func(k *kerneltest.Task) {
		buffer := k.Start.RAMStart
		k.AllowRW(mortalDriver, 0, buffer, 7)
		for range 3 {
			k.Command(mortalDriver, mortalCount, 0, 0)
		}
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 4, 7004}, k.Command(mortalDriver, mortalCount, 0, 0))
		fail(k)
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 1, 7001}, k.Command(mortalDriver, mortalCount, 0, 0), "anew, with the buffer")
		assert.True(t, l.host.routed[3])
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 2, 7002}, k.Command(mortalDriver, mortalDefer, 0, 0))
		fail(k)
		k.Spin(100)
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 1, 7001}, k.Command(mortalDriver, mortalCount, 0, 0))
		fail(k)
		assert.Equal(t, [4]uint64{uint64(abi.Failure), uint64(abi.NODEVICE)}, k.Command(mortalDriver, mortalCount, 0, 0), "off")
		assert.Equal(t, uint64(abi.NODEVICE), k.Subscribe(mortalDriver, 0, 0, 0)[1])
		assert.False(t, l.host.routed[3])
	}, nil)
	l.Load()
	require.False(t, l.Run(), "a task waits for ever")
	assert.Equal(t, []string{"mortal", "user", "other", "mortal", "user", "mortal", "user"}, l.inits)
	assert.Contains(t, l.Log.String(), "kapsel: capsule mortal failed: division\n  at 0x10\n  with it fall user\n  it is made anew, 1 of 2 times\n")
	assert.Contains(t, l.Log.String(), "  it is made anew, 2 of 2 times\n")
	assert.Contains(t, l.Log.String(), "  it stays off\n")
}

// TestFailureIsTold: who waits for an upcall that ends an operation, or has a function for it, is told that it failed; by an upcall without a status,
// nothing but that.
func TestFailureIsTold(t *testing.T) {
	l := newMortals(t)
	l.AddTask("waits", func(k *kerneltest.Task) {
		k.Command(mortalDriver, mortalCount, 0, 0)
		assert.Equal(t, [4]uint64{uint64(abi.FAIL.Status())}, k.WaitFor(mortalDriver, 0))
	}, nil)
	l.AddTask("has functions", func(k *kerneltest.Task) {
		var told [][4]uint64
		note := k.Function(func(args [3]uint32, userdata uint64) {
			told = append(told, [4]uint64{uint64(args[0]), uint64(args[1]), uint64(args[2]), userdata})
		})
		k.Subscribe(mortalDriver, 0, note, 5)
		k.Subscribe(mortalDriver, 1, note, 6)
		k.Wait()
		k.Wait()
		assert.ElementsMatch(t, [][4]uint64{{uint64(abi.FAIL.Status()), 0, 0, 5}, {0, 0, 0, 6}}, told)
	}, nil)
	l.AddTask("will wait", func(k *kerneltest.Task) {
		k.Command(mortalDriver, mortalBegin, 0, 0)
		k.Spin(5000)
		assert.Equal(t, [4]uint64{}, k.WaitFor(mortalDriver, 1), "it was begun before the failure")
		k.Command(mortalDriver, mortalBegin, 0, 0)
		l.CPU.Raise(9)
		assert.Equal(t, [4]uint64{}, k.WaitFor(mortalDriver, 1), "not of what the first ended")
	}, nil)
	l.AddTask("has nothing to do with it", func(k *kerneltest.Task) {
		k.Spin(10)
		l.CPU.Raise(9)
		k.Spin(10000)
	}, nil)
	l.Load()
	require.False(t, l.Run(), "a task waits for ever")
}

// TestReviveRefused: a capsule that cannot be made anew stays off, with its users.
func TestReviveRefused(t *testing.T) {
	l := newMortals(t)
	l.refuses = true
	l.AddTask("task", func(k *kerneltest.Task) {
		l.CPU.Raise(9)
		k.Spin(100)
		assert.Equal(t, [4]uint64{uint64(abi.Failure), uint64(abi.NODEVICE)}, k.Command(mortalDriver, mortalCount, 0, 0))
	}, nil)
	l.Load()
	require.False(t, l.Run(), "a task waits for ever")
	assert.Contains(t, l.Log.String(), "kapsel: capsule mortal cannot be made anew: it stays off\n")
	assert.Equal(t, []string{"mortal", "user", "other", "mortal"}, l.inits)
}

// TestFailureDropsDeferredCalls: deferred calls of a capsule that wait when it fails are not made, also if it fails in one of them.
func TestFailureDropsDeferredCalls(t *testing.T) {
	l := newMortals(t)
	l.Lines[8] = func() {
		l.breaks.Set()
		l.driver.work.Set()
	}
	l.AddTask("task", func(k *kerneltest.Task) {
		l.CPU.Raise(8)
		k.Spin(100)
		assert.Equal(t, [4]uint64{uint64(abi.Success2U32), 1, 1}, k.Command(mortalDriver, mortalCount, 0, 0))
	}, nil)
	l.Load()
	require.False(t, l.Run(), "a task waits for ever")
	assert.Contains(t, l.Log.String(), "it is made anew, 1 of 2 times\n")
}

// TestReportsByPolling: while what the kernel prints by is cleared, all reports are printed without it.
func TestReportsByPolling(t *testing.T) {
	l := newMortalsWith(t, func(list []kernel.Component) { list[0].Debug = true })
	l.Lines[8] = func() {
		l.fail("user")
		l.fail("mortal")
	}
	l.AddTask("task", func(k *kerneltest.Task) {
		l.CPU.Raise(8)
		k.Spin(100)
	}, nil)
	l.Load()
	require.False(t, l.Run(), "a task waits for ever")
	assert.NotContains(t, l.Log.String(), "failed: division")
	for _, name := range []string{"user", "mortal"} {
		assert.Contains(t, l.host.log.String(), "kapsel: capsule "+name+" failed: division\n  at 0x10\n")
	}
}

// TestReviveWaits: a component that is to be made anew and is not ready yet is looked at when something has happened: the machine sleeps meanwhile.
func TestReviveWaits(t *testing.T) {
	ready, looks := true, 0
	l := newMortalsWith(t, func(list []kernel.Component) {
		list[1].Ready = func() bool { looks++; return ready }
	})
	l.Lines[7] = l.components.Look
	slept := 0
	l.CPU.OnIdle = func() { // until somebody interrupts
		if slept++; slept == 3 {
			ready, l.CPU.OnIdle = true, nil
		}
		l.CPU.Raise(7)
	}
	l.AddTask("task", func(k *kerneltest.Task) {
		ready, looks = false, 0
		l.CPU.Raise(9)
		k.Wait()
	}, nil)
	l.Load()
	require.True(t, l.Run())
	assert.Equal(t, []string{"mortal", "other", "user", "mortal", "user"}, l.inits)
	assert.Equal(t, 4, looks, "at the failure, and at each interrupt")
}
