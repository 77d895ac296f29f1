package mmio

import "unsafe"

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
// A function that is not inlined makes its access by one instruction, each time that it is called.

//go:noinline
//go:nosplit
func load8(addr uintptr) uint8 { return *at[uint8](addr) }

//go:noinline
//go:nosplit
func store8(addr uintptr, v uint8) { *at[uint8](addr) = v }

//go:noinline
//go:nosplit
func load16(addr uintptr) uint16 { return *at[uint16](addr) }

//go:noinline
//go:nosplit
func store16(addr uintptr, v uint16) { *at[uint16](addr) = v }

//go:noinline
//go:nosplit
func load32(addr uintptr) uint32 { return *at[uint32](addr) }

//go:noinline
//go:nosplit
func store32(addr uintptr, v uint32) { *at[uint32](addr) = v }

// at is where a register is.
func at[T any](addr uintptr) *T { return (*T)(unsafe.Add(unsafe.Pointer(nil), addr)) }
