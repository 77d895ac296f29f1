// Package benchmark is driver 0xf0000, on boards built for benchmarks alone: what tasks need
// to measure the ways into the kernel and out of the machine. Its commands stand in
// guest/abi/benchmark.go:
//
//	0  nothing: Success
//	1  enters the task's grant and returns how often it did
//	2  schedules the upcall of subscribe number 0 with the arguments
//	3  writes argument 0 to the port that marks a measurement's begin and end
//	4  makes argument 0 exits by port I/O
//	5  makes argument 0 exits by device memory
//	6  makes argument 0 exits that an ioeventfd takes
//	7  returns the cycle count when the alarm's handler was last entered
//	8  returns the cycle count at the deadline that the alarm was last set to
//	9  returns the cycle count at a stage of booting, the argument
//
// Read-only and read-write allow number 0 are buffers that nothing is done with.
package benchmark

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// Ports are the benchmark device's ports, from abi.PortMark on. mmio.Ports is one.
type Ports interface {
	Write32(offset uint16, v uint32)
}

// Registers are the benchmark device's registers in memory. mmio.Registers32 is one.
type Registers interface {
	Write(offset uintptr, v uint32)
}

// Offsets of ports.
const (
	portMark  = 0
	portExit  = abi.PortExit - abi.PortMark
	portEvent = abi.PortEvent - abi.PortMark
)

// event is the subscribe number.
const event = 0

// Benchmark is the driver.
type Benchmark struct {
	Boot [abi.BootStages]uint64 // cycle counts, by the board

	ports     Ports
	registers Registers
	alarm     *Alarm
	grant     kernel.Grant[session]
}

// session is what the driver keeps for a task.
type session struct{ calls uint32 }

// Init ties the driver to the benchmark device, and to the alarm that it watches.
func (b *Benchmark) Init(k *kernel.Kernel, p Ports, r Registers, a *Alarm, c capability.MemoryAllocation) {
	b.ports, b.registers, b.alarm = p, r, a
	b.grant.Init(k, abi.DriverBenchmark, kernel.SlotCounts{Upcalls: event + 1, ReadOnly: 1, ReadWrite: 1}, c)
}

// Slots implements kernel.Driver.
func (b *Benchmark) Slots() *kernel.Slots { return b.grant.Slots() }

// Command implements kernel.Driver.
func (b *Benchmark) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case 0:
		return kernel.Done()
	case abi.BenchmarkEnter:
		return b.enter(id)
	case abi.BenchmarkEvent:
		return kernel.Outcome(b.grant.Slots().ScheduleUpcall(id, event, a0, a1, 0))
	case abi.BenchmarkMark:
		b.ports.Write32(portMark, a0)
		return kernel.Done()
	case abi.BenchmarkExitPIO, abi.BenchmarkExitMMIO, abi.BenchmarkExitFD:
		return kernel.Outcome(b.exits(command, a0))
	case abi.BenchmarkFired:
		return kernel.Value64(b.alarm.fired)
	case abi.BenchmarkDeadline:
		return kernel.Value64(b.alarm.cycles.CyclesAt(b.alarm.deadline))
	case abi.BenchmarkBoot:
		if a0 < abi.BootStages {
			return kernel.Value64(b.Boot[a0])
		}
		return kernel.Failed(abi.INVAL)
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// enter counts the task's calls in its grant.
func (b *Benchmark) enter(id kernel.TaskID) kernel.Result {
	var calls uint32
	e := b.grant.Enter(id, func(s *session, _ *kernel.TaskData) {
		s.calls++
		calls = s.calls
	})
	if e != abi.OK {
		return kernel.Failed(e)
	}
	return kernel.Value(calls)
}

// exits leaves the machine n times in the command's way.
func (b *Benchmark) exits(command, n uint32) abi.ErrorCode {
	if n > abi.BenchmarkMaxExits {
		return abi.INVAL
	}
	for i := range n {
		switch command {
		case abi.BenchmarkExitPIO:
			b.ports.Write32(portExit, i)
		case abi.BenchmarkExitMMIO:
			b.registers.Write(0, i)
		case abi.BenchmarkExitFD:
			b.ports.Write32(portEvent, i)
		}
	}
	return abi.OK
}
