package kernel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

// TestIsolation has a task probe the edges of what is its own. Each attempt must fault,
// and the task beside it must not notice.
func TestIsolation(t *testing.T) {
	for name, attempt := range map[string]func(k *kerneltest.Task){
		"write to its own code":         func(k *kerneltest.Task) { k.Store(k.Start.AppStart, 1) },
		"write to its header":           func(k *kerneltest.Task) { k.Store(abi.FlashStart, 1) },
		"write below its RAM":           func(k *kerneltest.Task) { k.Store(k.Start.RAMStart-1, 1) },
		"read below its RAM":            func(k *kerneltest.Task) { k.Load(k.Start.RAMStart-1, 1) },
		"write above its break's page":  func(k *kerneltest.Task) { k.Store(k.Start.InitialBreak, 1) },
		"read above its flash":          func(k *kerneltest.Task) { k.Load(abi.FlashStart+abi.PageSize, 1) },
		"read at 0":                     func(k *kerneltest.Task) { k.Load(0, 1) },
		"read the kernel":               func(k *kerneltest.Task) { k.Load(abi.KernelBase, 1) },
		"read the direct map":           func(k *kerneltest.Task) { k.Load(abi.DirectMap, 1) },
		"unknown system call class":     func(k *kerneltest.Task) { k.Syscall(8) },
		"the largest system call class": func(k *kerneltest.Task) { k.Syscall(255) },
		"read its grants": func(k *kerneltest.Task) {
			k.Subscribe(probeDriver, 0, 0, 0)
			_, grants := k.Memop(abi.MemopGrantStart, 0)
			k.Load(grants, 1)
		},
		"write above the break it gave back": func(k *kerneltest.Task) {
			k.Memop(abi.MemopSbrk, abi.PageSize)
			k.Store(k.Start.InitialBreak, 1)
			k.Memop(abi.MemopBrk, k.Start.InitialBreak)
			k.Store(k.Start.InitialBreak, 1)
		},
		"an upcall without a stack": func(k *kerneltest.Task) {
			k.Subscribe(probeDriver, 0, k.Function(nil), 0)
			k.Command(probeDriver, probeSchedule, 0, 0)
			k.SP = k.Start.RAMStart + 4
			k.Wait()
		},
		"an upcall with its stack in flash": func(k *kerneltest.Task) {
			k.Subscribe(probeDriver, 0, k.Function(nil), 0)
			k.Command(probeDriver, probeSchedule, 0, 0)
			k.SP = k.Start.AppStart + 64
			k.NoWait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			survived, finished := false, false
			m.AddTask("intruder", func(k *kerneltest.Task) {
				attempt(k)
				survived = true
			}, nil)
			m.AddTask("victim", func(k *kerneltest.Task) {
				k.Spin(100_000)
				k.Command(probeDriver, probeCount, 1, 0)
				finished = true
			}, nil)
			assert.False(t, m.Run())
			assert.False(t, survived, "the attempt must fault")
			assert.True(t, finished, "the other task goes on")
			assert.Contains(t, m.Log.String(), "task 1 intruder faulted: ")
			assert.Regexp(t, `intruder +Faulted`, m.Tasks())
			assert.Regexp(t, `victim +Terminated`, m.Tasks())
			assert.Equal(t, uint32(abi.ExitTaskFault), m.Kernel.ExitStatus())
		})
	}
}

func TestRestartedTaskProbesItsOldBreak(t *testing.T) {
	m := newMachine(t)
	m.Policy = &kernel.FaultLimit{Restarts: 1}
	run := 0
	m.AddTask("task", func(k *kerneltest.Task) {
		if run++; run == 1 {
			k.Memop(abi.MemopSbrk, 2*abi.PageSize)
			k.Fault(kernel.Fault{Vector: 6, Name: "invalid opcode"})
		}
		k.Load(k.Start.InitialBreak, 1)
	}, nil)
	assert.False(t, m.Run())
	assert.Contains(t, m.Log.String(), "task 2 task faulted: page fault: read at 0x80001000")
}

func TestFaultPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		policy kernel.FaultLimit
		runs   int
		panics bool
	}{
		"stop":                  {kernel.FaultLimit{}, 1, false},
		"panic":                 {kernel.FaultLimit{Then: kernel.PanicKernel}, 1, true},
		"restart":               {kernel.FaultLimit{Restarts: kernel.AlwaysRestart}, 20, false},
		"threshold":             {kernel.FaultLimit{Restarts: 3}, 4, false},
		"threshold, then panic": {kernel.FaultLimit{Restarts: 3, Then: kernel.PanicKernel, Dump: true}, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.Policy = &c.policy
			runs := 0
			m.AddTask("task", func(k *kerneltest.Task) {
				if runs++; runs < 20 {
					k.Fault(kernel.Fault{Vector: 13, Code: 0x18, PC: 0x4000_0123, Name: "general protection"})
				}
			}, nil)
			if c.panics {
				assert.PanicsWithValue(t, "kernel: a task faulted, and the board's policy is to panic", func() { m.Run() })
			} else {
				assert.False(t, m.Run())
			}
			assert.Equal(t, c.runs, runs)
			assert.Contains(t, m.Log.String(), "task 1 task faulted: general protection, PC 0x40000123, vector 13, code 0x18; ")
			assert.Equal(t, c.policy.Dump, strings.Contains(m.Log.String(), "(registers)"))
		})
	}
}

func TestFaultDump(t *testing.T) {
	m := newMachine(t)
	m.Policy = &kernel.FaultLimit{Dump: true}
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Memop(abi.MemopSetHeapStart, k.Start.RAMStart+0x800)
		k.Memop(abi.MemopSetStackTop, k.Start.RAMStart+0x400)
		k.Syscall(9)
	}, nil)
	m.AddTask("", func(k *kerneltest.Task) { k.Syscall(10) }, nil)
	assert.False(t, m.Run())
	assert.Contains(t, m.Log.String(), `task 1 task faulted: unknown system call class, code 0x9; stopped
  (registers)
  0x80005000..0x80005000         0 bytes  grants
  0x80001000..0x80005000     16384 bytes  unused
  0x80000800..0x80001000      2048 bytes  heap
  0x80000000..0x80000800      2048 bytes  data and stack
  stack from 0x80000400 down
`)
	assert.Contains(t, m.Log.String(), "task 2 (no name) faulted: ")
	assert.Contains(t, m.Log.String(), "  0x80000000..0x80001000      4096 bytes  RAM, read and write\n")
}

// choosyPolicy restarts tasks called "again" twice, and stops the others.
type choosyPolicy struct{ seen []string }

func (p *choosyPolicy) OnFault(task *kernel.Task) (kernel.FaultAction, bool) {
	if f, ok := task.LastFault(); ok && task.State() == kernel.Running {
		p.seen = append(p.seen, f.Name)
	}
	if task.NameIs([]byte("again")) && task.Restarts() < 2 && task.ID().Number() != 0 {
		return kernel.RestartTask, false
	}
	return kernel.StopTask, false
}

func TestPolicyOfTheBoard(t *testing.T) {
	m := newMachine(t)
	policy := &choosyPolicy{}
	m.Policy = policy
	fault := func(name string) kerneltest.Program {
		return func(k *kerneltest.Task) { k.Fault(kernel.Fault{Vector: 6, Name: name}) }
	}
	m.AddTask("again", fault("a"), nil)
	m.AddTask("once", fault("o"), nil)
	assert.False(t, m.Run())
	assert.ElementsMatch(t, []string{"a", "o", "a", "a"}, policy.seen)
	assert.Regexp(t, `again +Faulted +2 `, m.Tasks())
	assert.Regexp(t, `once +Faulted +0 `, m.Tasks())
}

func TestStateNames(t *testing.T) {
	for state, name := range map[kernel.State]string{
		kernel.Unused: "Unused", kernel.Running: "Running", kernel.Yielded: "Yielded",
		kernel.YieldedFor: "YieldedFor", kernel.Terminated: "Terminated", kernel.Faulted: "Faulted", 99: "unknown",
	} {
		assert.Equal(t, name, state.String())
	}
}
