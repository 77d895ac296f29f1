// Package mmio is the door from drivers to device registers: I/O ports and memory-mapped
// registers as opaque values. A driver may use one that it is given; only the board,
// holding a capability, makes one from a port number or an address.
//
// Every access is one instruction in assembly, so the compiler neither merges, moves nor
// drops any. Offsets are checked: an access outside the device's range panics.
package mmio
