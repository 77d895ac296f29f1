package abi

// The benchmark device: what a monitor offers while it measures (kapsel bench). A board
// built for benchmarks drives it by its benchmark capsule; no other board knows of it. Where
// there is no such device, as under QEMU, accesses to it do nothing.
const (
	PortMark  = 0xe0 // 32-bit write: MarkBegin or MarkEnd; the monitor reads its counters
	PortExit  = 0xe4 // 32-bit write: an exit to the monitor, which does nothing
	PortEvent = 0xe8 // 32-bit write: an ioeventfd: an exit that KVM serves by itself

	// BenchmarkMMIO is the physical address of a page whose 32-bit registers take writes
	// and do nothing: an exit for each.
	BenchmarkMMIO = 0xd000_0000
)

// Values for PortMark. A measurement is what happens between the two.
const (
	MarkBegin = 1
	MarkEnd   = 2
)
