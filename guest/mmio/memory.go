package mmio

import "kapsel/guest/kernel/capability"

// Memory is the memory-mapped registers of one device. It is a Bus.
type Memory struct {
	base uintptr // virtual address
	size uint16  // bytes
}

// NewMemory makes the size bytes of registers at the virtual address base accessible. The board maps them uncached. It panics
// if base or size is not a multiple of 4, or if the range wraps.
func NewMemory(base uintptr, size uint16, c capability.Hardware) Memory {
	c.Require()
	if base%4 != 0 || size%4 != 0 || base+uintptr(size) < base {
		panic("mmio: registers not aligned to 4 bytes, or beyond the address space")
	}
	return Memory{base, size}
}

// Read8 reads the register of 8 bits at offset.
func (m *Memory) Read8(offset uint16) uint8 { return load8(m.address(offset, 1)) }

// Write8 writes the register of 8 bits at offset.
func (m *Memory) Write8(offset uint16, v uint8) { store8(m.address(offset, 1), v) }

// Read16 reads the register of 16 bits at offset, a multiple of 2.
func (m *Memory) Read16(offset uint16) uint16 { return load16(m.address(offset, 2)) }

// Write16 writes the register of 16 bits at offset, a multiple of 2.
func (m *Memory) Write16(offset uint16, v uint16) { store16(m.address(offset, 2), v) }

// Read32 reads the register of 32 bits at offset, a multiple of 4.
func (m *Memory) Read32(offset uint16) uint32 { return load32(m.address(offset, 4)) }

// Write32 writes the register of 32 bits at offset, a multiple of 4.
func (m *Memory) Write32(offset uint16, v uint32) { store32(m.address(offset, 4), v) }

// WriteBytes writes the bytes of b, one after another, to the register of 8 bits at offset.
func (m *Memory) WriteBytes(offset uint16, b []byte) {
	address := m.address(offset, 1)
	for _, v := range b {
		store8(address, v)
	}
}

// address is where the register of so many bytes at offset is, if it is the device's.
func (m *Memory) address(offset, size uint16) uintptr {
	if offset%size != 0 || offset >= m.size || m.size-offset < size {
		panic("mmio: access outside the device's registers")
	}
	return m.base + uintptr(offset)
}
