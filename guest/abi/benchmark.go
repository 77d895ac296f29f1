package abi

// The benchmark device: what a monitor offers while it measures (kapsel bench). A board
// built for benchmarks drives it by its benchmark capsule; no other board knows of it. Where
// there is no such device, as under QEMU, accesses to it do nothing.
const (
	PortMark  = 0xe0 // 32-bit write: MarkBegin or MarkEnd; the monitor reads its counters
	PortExit  = 0xe4 // 32-bit write: an exit to the monitor, which does nothing
	PortEvent = 0xe8 // 32-bit write: an ioeventfd: an exit that KVM serves by itself

	// BenchmarkMMIO is the physical address of a page, near the I/O APIC's, whose 32-bit registers take writes
	// and do nothing: an exit for each.
	BenchmarkMMIO = 0xfec1_0000
)

// Values for PortMark. A measurement is what happens between the two.
const (
	MarkBegin = 1
	MarkEnd   = 2
)

// Commands of the benchmark capsule, driver DriverBenchmark. Command 0 does nothing, as
// everywhere. All others fail with NOSUPPORT.
const (
	BenchmarkEnter    = 1  // -> u32: how often the task called this; kept in its grant
	BenchmarkEvent    = 2  // the event of subscribe number 0 happens at once: argument 0, argument 1, 0
	BenchmarkMark     = 3  // writes argument 0 to PortMark
	BenchmarkExitPIO  = 4  // writes argument 0 times to PortExit
	BenchmarkExitMMIO = 5  // likewise to BenchmarkMMIO
	BenchmarkExitFD   = 6  // likewise to PortEvent
	BenchmarkFired    = 7  // -> u64: time-stamp counter when the alarm's handler was last entered
	BenchmarkDeadline = 8  // -> u64: time-stamp counter at the deadline that the alarm was last set to
	BenchmarkBoot     = 9  // -> u64: time-stamp counter at the stage of booting in argument 0
	BenchmarkRepeat   = 10 // does argument 0 times what argument 1 says: one of those below
)

// What BenchmarkRepeat does. The result of each goes into a sum that nobody reads.
const (
	RepeatPlain    = 0 // reads a variable
	RepeatRegister = 1 // reads a register, by guest/mmio, in memory that is no device's
	RepeatCall     = 2 // calls another capsule, by an interface of guest/kernel/hil
	RepeatBuffer   = 3 // lends a buffer to a device, by guest/dma, and takes it back
	RepeatCopy     = 4 // copies a page
	RepeatCached   = 5 // reads a page by way of a buffer cache, after the command; the end of all is the event: status, 0, 0
)

// Stages of booting.
const (
	BootEntered = 0 // the kernel's first instruction
	BootMain    = 1 // its main function
	BootLoaded  = 2 // all tasks are loaded
	BootStages  = 3
)

// BenchmarkMost is how often one command does something at the most; for more it fails with INVAL.
const BenchmarkMost = 1000
