package mmio

import "kapsel/guest/kernel/capability"

// Registers32 are the memory-mapped 32-bit registers of one device.
type Registers32 struct {
	base uintptr // virtual address
	size uintptr // bytes
}

// NewRegisters32 makes the size bytes of registers at the virtual address base
// accessible. The board maps them uncached. It panics if base or size is not a multiple
// of 4, or if the range wraps.
func NewRegisters32(base, size uintptr, c capability.Hardware) Registers32 {
	c.Require()
	if base%4 != 0 || size%4 != 0 || base+size < base {
		panic("mmio: registers not aligned to 4 bytes, or beyond the address space")
	}
	return Registers32{base, size}
}

// Read reads the register at a byte offset, a multiple of 4.
func (r *Registers32) Read(offset uintptr) uint32 { return load32(r.address(offset)) }

// Write writes the register at a byte offset, a multiple of 4.
func (r *Registers32) Write(offset uintptr, v uint32) { store32(r.address(offset), v) }

// address is where the register at offset is, if it is the device's.
func (r *Registers32) address(offset uintptr) uintptr {
	if offset%4 != 0 || offset >= r.size {
		panic("mmio: access outside the device's registers")
	}
	return r.base + offset
}
