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

// Read implements Bus. The offset is a multiple of the width.
//
//go:nosplit
func (m *Memory) Read(offset, width uint16) uint32 {
	switch { // in this order
	case width == 4:
		return load32(m.address(offset, 4))
	case width == 2:
		return uint32(load16(m.address(offset, 2)))
	case width == 1:
		return uint32(load8(m.address(offset, 1)))
	}
	panic(noWidth)
}

// Write implements Bus. The offset is a multiple of the width.
//
//go:nosplit
func (m *Memory) Write(offset, width uint16, v uint32) {
	switch { // in this order
	case width == 4:
		store32(m.address(offset, 4), v)
	case width == 2:
		store16(m.address(offset, 2), uint16(v))
	case width == 1:
		store8(m.address(offset, 1), uint8(v))
	default:
		panic(noWidth)
	}
}

// WriteBytes implements Bus.
func (m *Memory) WriteBytes(offset uint16, b []byte) {
	address := m.address(offset, 1)
	for _, v := range b {
		store8(address, v)
	}
}

// address is where the register of a width at offset is, if it is the device's. A register that begins within the range ends
// there, as both are aligned.
func (m *Memory) address(offset, width uint16) uintptr {
	if offset%width != 0 || offset >= m.size {
		panic("mmio: access outside the device's registers")
	}
	return m.base + uintptr(offset)
}
