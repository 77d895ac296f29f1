package kernel_test

import (
	"testing"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// loopCPU is a CPU whose one task makes the same system calls again and again, so that
// what is measured is the kernel. Everything else is kerneltest's.
type loopCPU struct {
	kerneltest.CPU
	kernel *kernel.Kernel
	setup  *systemCall // made once before, if not nil
	calls  []systemCall
	next   int
	left   int
}

// systemCall is class and words.
type systemCall struct {
	class abi.Class
	words [4]uint64
}

func (c *loopCPU) Attach(k *kernel.Kernel) { c.kernel = k }

func (c *loopCPU) Switch(int) kernel.TrapReason {
	if s := c.setup; s != nil {
		c.setup = nil
		c.call(s)
	}
	for c.left > 0 {
		c.left--
		s := &c.calls[c.next]
		if c.next++; c.next == len(c.calls) {
			c.next = 0
		}
		if !c.call(s) {
			return kernel.TrapSyscall
		}
	}
	c.call(&systemCall{class: abi.Exit})
	return kernel.TrapSyscall
}

func (c *loopCPU) call(s *systemCall) bool {
	w := &s.words
	_, _, _, _, on := kernel.SystemCall(c.kernel, s.class, w[0], w[1], w[2], w[3])
	return on
}

func (c *loopCPU) Start(int, kernel.StartState)                         {}
func (c *loopCPU) Clear(int)                                            {}
func (c *loopCPU) Answer(int, uint64, uint64, uint64, uint64)           {}
func (c *loopCPU) Upcall(int, *kernel.Memory, *kernel.Upcall) (ok bool) { return true }

// benchPlatform has no device.
type benchPlatform struct{}

func (benchPlatform) Interrupt(int) {}

func BenchmarkSystemCalls(b *testing.B) {
	call := func(class abi.Class, words ...uint64) systemCall {
		s := systemCall{class: class}
		copy(s.words[:], words)
		return s
	}
	subscribe := call(abi.Subscribe, probeDriver, 0, abi.RAMStart, 0)
	schedule := call(abi.Command, probeDriver, probeSchedule, 0, 0)
	for _, c := range []struct {
		name  string
		setup *systemCall
		calls []systemCall
	}{
		{"Command", nil, []systemCall{call(abi.Command, probeDriver, probeExists)}},
		{"Command with a grant entry", nil, []systemCall{call(abi.Command, probeDriver, probeCount, 1)}},
		{"Subscribe", nil, []systemCall{subscribe}},
		{"Allow Read-Write", nil, []systemCall{call(abi.AllowReadWrite, probeDriver, 0, abi.RAMStart, 64)}},
		{"Allow Read-Only", nil, []systemCall{call(abi.AllowReadOnly, probeDriver, 0, abi.RAMStart, 64)}},
		{"Memop sbrk", nil, []systemCall{call(abi.Memop, abi.MemopSbrk, 64), call(abi.Memop, abi.MemopSbrk, ^uint64(63))}},
		{"Yield-NoWait", nil, []systemCall{call(abi.Yield, abi.YieldNoWait, abi.RAMStart)}},
		{"Command, upcall, Yield-Wait", &subscribe, []systemCall{schedule, call(abi.Yield, abi.YieldWait)}},
		{"Command, Yield-WaitFor", nil, []systemCall{schedule, call(abi.Yield, abi.YieldWaitFor, probeDriver, 0)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var k kernel.Kernel
			var log kerneltest.Log
			var driver probe
			caps := capability.Mint()
			cpu := &loopCPU{setup: c.setup, calls: append([]systemCall{}, c.calls...)}
			k.Init(kernel.Config{
				CPU: cpu, Platform: benchPlatform{}, Scheduler: &kernel.RoundRobin{},
				Policy: &kernel.FaultLimit{}, Credentials: &kernel.NoCredentials{}, Identity: &kernel.NoIdentity{},
				Debug: &log, RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
			})
			driver.grant.Init(&k, probeDriver, kernel.SlotCounts{Upcalls: 3, ReadOnly: 2, ReadWrite: 2}, caps.MemoryAllocation)
			k.AddDriver(probeDriver, &driver)
			if k.Load([][]byte{kerneltest.Object(b, "task", nil)}, caps.TaskManagement) != 1 {
				b.Fatal(log.String())
			}
			b.ReportAllocs()
			cpu.left = b.N * len(c.calls)
			b.ResetTimer()
			k.Run(caps.MainLoop)
		})
	}
}
