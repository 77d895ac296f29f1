package benchmark

import (
	"kapsel/guest/abi"
	"kapsel/guest/mmio"
)

// Kinds of devices (mmio.Device).
type (
	Ports  struct{} // the benchmark device's ports, from abi.PortMark on
	Page   struct{} // its registers in memory, at abi.BenchmarkMMIO
	Memory struct{} // memory of the kernel's, in the place of a device's
)

// Registers.
const (
	mark     mmio.WriteOnly[Ports, uint32]  = 0
	exit     mmio.WriteOnly[Ports, uint32]  = abi.PortExit - abi.PortMark
	eventFD  mmio.WriteOnly[Ports, uint32]  = abi.PortEvent - abi.PortMark
	pageExit mmio.WriteOnly[Page, uint32]   = 0
	word     mmio.ReadWrite[Memory, uint32] = 0
)
