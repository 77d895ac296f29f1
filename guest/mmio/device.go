package mmio

import (
	"unsafe"

	"kapsel/guest/kernel/capability"
)

// Bus carries accesses to the registers of one device: Ports, Memory, or in tests a model of the device. Offsets count bytes
// from its first register.
type Bus interface {
	Read8(offset uint16) uint8
	Write8(offset uint16, v uint8)
	Read16(offset uint16) uint16
	Write16(offset uint16, v uint16)
	Read32(offset uint16) uint32
	Write32(offset uint16, v uint32)
	// WriteBytes writes the bytes of b, one after another, to the register at offset.
	WriteBytes(offset uint16, b []byte)
}

// Device is the registers of one device of kind D. A driver declares a type of its own for D, so that what it declares as
// registers of D are registers of no other device.
type Device[D any] struct {
	_   [0]*D // so that the device of one kind does not convert to one of another
	bus Bus
}

// NewDevice makes a device of the registers behind a bus.
func NewDevice[D any](bus Bus, c capability.Hardware) Device[D] {
	c.Require()
	return Device[D]{bus: bus}
}

// Value is what a register holds: a type of the register's own, whose constants are its fields. Its width is the register's.
type Value interface{ ~uint8 | ~uint16 | ~uint32 }

// A register of a device of kind D that holds a V is a constant of one of these types, whose value is the offset:
//
//	const lineStatus mmio.ReadOnly[uart, lineStatusBits] = 5
type (
	ReadOnly[D any, V Value]  uint16
	WriteOnly[D any, V Value] uint16
	ReadWrite[D any, V Value] uint16
)

// Read reads the register, by one access of its width.
func (r ReadOnly[D, V]) Read(d *Device[D]) V { return read[V](d.bus, uint16(r)) }

// Read reads the register, by one access of its width.
func (r ReadWrite[D, V]) Read(d *Device[D]) V { return read[V](d.bus, uint16(r)) }

// Write writes the register, by one access of its width.
func (r ReadWrite[D, V]) Write(d *Device[D], v V) { write(d.bus, uint16(r), v) }

// Write writes the register, by one access of its width.
func (r WriteOnly[D, V]) Write(d *Device[D], v V) { write(d.bus, uint16(r), v) }

// WriteBytes writes values of 8 bits one after another to the register.
func (r WriteOnly[D, V]) WriteBytes(d *Device[D], b []byte) { d.bus.WriteBytes(uint16(r), b) }

// read reads a register of the width of V.
func read[V Value](b Bus, offset uint16) V {
	switch unsafe.Sizeof(V(0)) {
	case 1:
		return V(b.Read8(offset))
	case 2:
		return V(b.Read16(offset))
	}
	return V(b.Read32(offset))
}

// write writes a register of the width of V.
func write[V Value](b Bus, offset uint16, v V) {
	switch unsafe.Sizeof(v) {
	case 1:
		b.Write8(offset, uint8(v))
	case 2:
		b.Write16(offset, uint16(v))
	default:
		b.Write32(offset, uint32(v))
	}
}
