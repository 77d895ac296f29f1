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
//	10 does argument 0 times what argument 1 says: what drivers do in ring 0
//
// Read-only and read-write allow number 0 are buffers that nothing is done with.
package benchmark

import (
	"kapsel/guest/abi"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// event is the subscribe number.
const event = 0

// Benchmark is the driver.
type Benchmark struct {
	Boot [abi.BootStages]uint64 // cycle counts, by the board

	devices Devices
	alarm   *Alarm
	grant   kernel.Grant[session]

	word uint32
	sum  uint64

	reader kernel.TaskID // who has a page read
	reads  uint32        // how often it still is
}

// Devices is what the driver uses.
type Devices struct {
	Ports  mmio.Device[Ports]
	Page   mmio.Device[Page]
	Memory mmio.Device[Memory]
	Other  hil.CycleCounter // another capsule: Counter
	Buffer dma.Buffer       // that no device writes

	Storage  hil.NonvolatileStorage // what a page is read from
	From, To []byte                 // a page each
}

// session is what the driver keeps for a task.
type session struct{ calls uint32 }

// Init ties the driver to its devices, and to the alarm that it watches.
func (b *Benchmark) Init(k *kernel.Kernel, d Devices, a *Alarm, c capability.MemoryAllocation) {
	b.devices, b.alarm = d, a
	d.Storage.SetNonvolatileStorageClient(b)
	b.grant.Init(k, abi.DriverBenchmark, kernel.SlotCounts{Upcalls: event + 1, ReadOnly: 1, ReadWrite: 1, Ends: kernel.EndsFailed(event)}, c)
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
		mark.Write(&b.devices.Ports, a0)
		return kernel.Done()
	case abi.BenchmarkExitPIO, abi.BenchmarkExitMMIO, abi.BenchmarkExitFD:
		return kernel.Outcome(b.exits(command, a0))
	case abi.BenchmarkRepeat:
		return kernel.Outcome(b.repeat(id, a1, a0))
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
	if n > abi.BenchmarkMost {
		return abi.INVAL
	}
	for i := range n {
		switch command {
		case abi.BenchmarkExitPIO:
			exit.Write(&b.devices.Ports, i)
		case abi.BenchmarkExitMMIO:
			pageExit.Write(&b.devices.Page, i)
		case abi.BenchmarkExitFD:
			eventFD.Write(&b.devices.Ports, i)
		}
	}
	return abi.OK
}

// repeat does n times what drivers do in ring 0. Each is a loop of its own, as it would stand in a driver.
func (b *Benchmark) repeat(id kernel.TaskID, what, n uint32) abi.ErrorCode {
	if n > abi.BenchmarkMost {
		return abi.INVAL
	}
	switch what {
	case abi.RepeatPlain:
		for range n {
			b.sum += uint64(b.word)
		}
	case abi.RepeatRegister:
		for range n {
			b.sum += uint64(word.Read(&b.devices.Memory))
		}
	case abi.RepeatCall:
		for range n {
			b.sum += b.devices.Other.Cycles()
		}
	case abi.RepeatBuffer:
		for range n {
			address, _ := b.devices.Buffer.Lend(b.devices.Buffer.Len())
			b.sum += address
			b.devices.Buffer.Complete(0)
		}
	case abi.RepeatCopy:
		b.copy(n)
	case abi.RepeatCached:
		return b.read(id, n)
	default:
		return abi.INVAL
	}
	return abi.OK
}

// copy copies a page n times.
func (b *Benchmark) copy(n uint32) {
	for range n {
		copy(b.devices.To, b.devices.From)
	}
}

// read has a page read n times, each time when the time before is done.
func (b *Benchmark) read(id kernel.TaskID, n uint32) abi.ErrorCode {
	switch {
	case n == 0:
		return abi.INVAL
	case b.reads != 0:
		return abi.BUSY
	}
	e := b.devices.Storage.Read(b.devices.To, 0)
	if e == abi.OK {
		b.reader, b.reads = id, n
	}
	return e
}

// NonvolatileStorageDone implements hil.NonvolatileStorageClient.
func (b *Benchmark) NonvolatileStorageDone(buf []byte, e abi.ErrorCode) {
	b.reads--
	if e == abi.OK && b.reads != 0 {
		e = b.devices.Storage.Read(buf, 0)
		if e == abi.OK {
			return
		}
	}
	b.reads = 0
	b.grant.Slots().ScheduleUpcall(b.reader, event, e.Status(), 0, 0)
}
