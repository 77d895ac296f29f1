package kernel_test

import (
	"testing"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// Driver numbers of the tests.
const (
	probeDriver  = 0x77 // a probe
	otherDriver  = 0x78 // another probe
	plainDriver  = 0x79 // a driver without a grant
	absentDriver = 0x7f // there is none
)

// Commands of a probe.
const (
	probeExists   = 0
	probeSchedule = 1 // upcall a0 with arguments a1, a1+1, a1+2
	probeCount    = 2 // adds a0 to the task's counter and returns it
	probeHook     = 3 // calls the test's hook
)

// Variants as tasks see them.
const (
	failure   = uint64(abi.Failure)
	success   = uint64(abi.Success)
	value     = uint64(abi.SuccessU32)
	address   = uint64(abi.SuccessAddress)
	swapped   = uint64(abi.SuccessFnUserdata)
	unswapped = uint64(abi.FailureFnUserdata)
	allowed   = uint64(abi.SuccessAddrLen)
	refused   = uint64(abi.FailureAddrLen)
)

// counter is what a probe keeps for a task.
type counter struct {
	before [3]uint32
	count  uint32
}

// probe is a driver with 3 upcalls, 2 read-only and 2 read-write buffers.
type probe struct {
	grant kernel.Grant[counter]
	hook  func(id kernel.TaskID, a0, a1 uint32) kernel.Result
}

func (p *probe) Slots() *kernel.Slots { return p.grant.Slots() }

func (p *probe) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case probeExists:
		return kernel.Done()
	case probeSchedule:
		return kernel.Outcome(p.schedule(id, a0, a1))
	case probeCount:
		var count uint32
		e := p.grant.Enter(id, func(c *counter, _ *kernel.TaskData) {
			c.before = [3]uint32{c.before[1], c.before[2], c.count}
			c.count += a0
			count = c.count
		})
		if e != abi.OK {
			return kernel.Failed(e)
		}
		return kernel.Value(count)
	case probeHook:
		return p.hook(id, a0, a1)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

func (p *probe) schedule(id kernel.TaskID, n, a uint32) abi.ErrorCode {
	result := abi.OK
	e := p.grant.Enter(id, func(_ *counter, task *kernel.TaskData) {
		result = task.ScheduleUpcall(n, a, a+1, a+2)
	})
	if e != abi.OK {
		return e
	}
	return result
}

// plain is a driver without a grant.
type plain struct{}

func (plain) Slots() *kernel.Slots { return nil }

func (plain) Command(_ kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	if command == 1 {
		return kernel.Value64(uint64(a1)<<32 | uint64(a0))
	}
	return kernel.Done()
}

// machine is a kerneltest.Machine with two probes and a plain driver.
type machine struct {
	*kerneltest.Machine
	probe, other probe
}

func newMachine(tb testing.TB) *machine { return newMachineWithRAM(tb, 1<<20) }

func newMachineWithRAM(tb testing.TB, ram int) *machine {
	m := &machine{Machine: kerneltest.NewWithRAM(tb, capability.Mint(), ram)}
	counts := kernel.SlotCounts{Upcalls: 3, ReadOnly: 2, ReadWrite: 2}
	m.probe.grant.Init(&m.Kernel, probeDriver, counts, m.Capabilities.MemoryAllocation)
	m.other.grant.Init(&m.Kernel, otherDriver, counts, m.Capabilities.MemoryAllocation)
	m.Drivers[probeDriver] = &m.probe
	m.Drivers[otherDriver] = &m.other
	m.Drivers[plainDriver] = plain{}
	return m
}

// scheduled gives the machine another scheduler, before anything is loaded.
func (m *machine) scheduled(s kernel.Scheduler) {
	m.Kernel.Rewire(kernel.Config{CPU: &m.CPU, Platform: m.Machine, Scheduler: s, Policy: m.Machine, Debug: &m.Log,
		Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)}})
}

// runTask runs one task to its end and returns the machine.
func runTask(tb testing.TB, p kerneltest.Program) *machine {
	tb.Helper()
	m := newMachine(tb)
	m.AddTask("task", p, nil)
	if m.Run() {
		tb.Fatalf("the task sleeps for ever\n%s%s", m.Log.String(), m.Tasks())
	}
	return m
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{failure, uint64(e)} }
