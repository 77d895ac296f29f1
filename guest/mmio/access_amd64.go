package mmio

// Port I/O (Intel SDM vol. 1, "Input/Output"). Precondition of all: CPL 0.

func in8(port uint16) uint8
func out8(port uint16, v uint8)
func in16(port uint16) uint16
func out16(port uint16, v uint16)
func in32(port uint16) uint32
func out32(port uint16, v uint32)

// outs8 writes the n bytes at p to port. n > 0.
//
//go:noescape
func outs8(port uint16, p *byte, n int)

// Memory access. x86 keeps loads and stores to uncached memory in program order (Intel
// SDM vol. 3, "Memory Ordering"). Precondition: addr is mapped and aligned to the access's size.

func load8(addr uintptr) uint8
func store8(addr uintptr, v uint8)
func load16(addr uintptr) uint16
func store16(addr uintptr, v uint16)
func load32(addr uintptr) uint32
func store32(addr uintptr, v uint32)
