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
	setup *kernel.Trap // made once before, if not nil
	calls []kernel.Trap
	next  int
	left  int
}

func (c *loopCPU) Switch(int) *kernel.Trap {
	if trap := c.setup; trap != nil {
		c.setup = nil
		return trap
	}
	if c.left == 0 {
		return &kernel.Trap{Reason: kernel.TrapSyscall, Class: abi.Exit}
	}
	c.left--
	trap := &c.calls[c.next]
	if c.next++; c.next == len(c.calls) {
		c.next = 0
	}
	return trap
}

func (c *loopCPU) Start(int, kernel.StartState)                         {}
func (c *loopCPU) Clear(int)                                            {}
func (c *loopCPU) Return(int, uint64, uint64, uint64, uint64)           {}
func (c *loopCPU) Upcall(int, *kernel.Memory, *kernel.Upcall) (ok bool) { return true }

// benchPlatform has one driver.
type benchPlatform struct{ driver kernel.Driver }

func (p *benchPlatform) Driver(number uint32) kernel.Driver {
	if number == probeDriver {
		return p.driver
	}
	return nil
}

func (p *benchPlatform) Interrupt(int) {}

func BenchmarkSystemCalls(b *testing.B) {
	call := func(class abi.Class, words ...uint64) kernel.Trap {
		trap := kernel.Trap{Reason: kernel.TrapSyscall, Class: class}
		copy(trap.Args[:], words)
		return trap
	}
	subscribe := call(abi.Subscribe, probeDriver, 0, abi.RAMStart, 0)
	schedule := call(abi.Command, probeDriver, probeSchedule, 0, 0)
	for _, c := range []struct {
		name  string
		setup *kernel.Trap
		calls []kernel.Trap
	}{
		{"Command", nil, []kernel.Trap{call(abi.Command, probeDriver, probeExists)}},
		{"Command with a grant entry", nil, []kernel.Trap{call(abi.Command, probeDriver, probeCount, 1)}},
		{"Subscribe", nil, []kernel.Trap{subscribe}},
		{"Allow Read-Write", nil, []kernel.Trap{call(abi.AllowReadWrite, probeDriver, 0, abi.RAMStart, 64)}},
		{"Allow Read-Only", nil, []kernel.Trap{call(abi.AllowReadOnly, probeDriver, 0, abi.RAMStart, 64)}},
		{"Memop sbrk", nil, []kernel.Trap{call(abi.Memop, abi.MemopSbrk, 64), call(abi.Memop, abi.MemopSbrk, ^uint64(63))}},
		{"Yield-NoWait", nil, []kernel.Trap{call(abi.Yield, abi.YieldNoWait, abi.RAMStart)}},
		{"Command, upcall, Yield-Wait", &subscribe, []kernel.Trap{schedule, call(abi.Yield, abi.YieldWait)}},
		{"Command, Yield-WaitFor", nil, []kernel.Trap{schedule, call(abi.Yield, abi.YieldWaitFor, probeDriver, 0)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var k kernel.Kernel
			var log kerneltest.Log
			var driver probe
			caps := capability.Mint()
			cpu := &loopCPU{setup: c.setup, calls: append([]kernel.Trap{}, c.calls...)}
			k.Init(kernel.Config{
				CPU: cpu, Platform: &benchPlatform{&driver}, Scheduler: &kernel.RoundRobin{},
				Policy: &kernel.FaultLimit{}, Credentials: &kernel.NoCredentials{}, Identity: &kernel.NoIdentity{},
				Debug: &log, RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
			})
			driver.grant.Init(&k, probeDriver, kernel.SlotCounts{Upcalls: 3, ReadOnly: 2, ReadWrite: 2}, caps.MemoryAllocation)
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
