package mmio

import (
	"unsafe"

	"kapsel/guest/kernel/capability"
)

// Bus carries accesses to the registers of one device: Ports, Memory, or in tests a model of the device. Offsets and widths
// count bytes; a width is 1, 2 or 4.
type Bus interface {
	// Read reads the register of a width at offset.
	Read(offset, width uint16) uint32
	// Write writes the register of a width at offset, which has room for v.
	Write(offset, width uint16, v uint32)
	// WriteBytes writes the bytes of b, one after another, to the register of 8 bits at offset.
	WriteBytes(offset uint16, b []byte)
}

const noWidth = "mmio: a register is of 1, 2 or 4 bytes"

// Device is the registers of one device of kind D. A driver declares a type of its own for D, so that what it declares as
// registers of D are registers of no other device.
type Device[D any] struct {
	_   [0]func(*D) // so that the device of one kind does not convert to one of another, and none is compared
	bus Bus
}

// NewDevice makes a device of the registers behind a bus.
func NewDevice[D any](bus Bus, c capability.Hardware) Device[D] {
	c.Require()
	return Device[D]{bus: bus}
}

// A register of a device of kind D that holds a V is a constant of one of these types, whose value is the offset:
//
//	const lineStatus mmio.ReadOnly[uart, lineStatusBits] = 5
type (
	ReadOnly[D any, V Value]  uint16
	WriteOnly[D any, V Value] uint16
	ReadWrite[D any, V Value] uint16
)

// Read reads the register, by one access of its width.
func (r ReadOnly[D, V]) Read(d *Device[D]) V { return V(d.bus.Read(uint16(r), width[V]())) }

// Read reads the register, by one access of its width.
func (r ReadWrite[D, V]) Read(d *Device[D]) V { return V(d.bus.Read(uint16(r), width[V]())) }

// Write writes the register, by one access of its width.
func (r ReadWrite[D, V]) Write(d *Device[D], v V) { d.bus.Write(uint16(r), width[V](), uint32(v)) }

// Write writes the register, by one access of its width.
func (r WriteOnly[D, V]) Write(d *Device[D], v V) { d.bus.Write(uint16(r), width[V](), uint32(v)) }

// WriteBytes writes values one after another to the register, which is of 8 bits: else it panics.
func (r WriteOnly[D, V]) WriteBytes(d *Device[D], b []byte) {
	if width[V]() != 1 {
		panic("mmio: bytes for a register of more than 8 bits")
	}
	d.bus.WriteBytes(uint16(r), b)
}

// width is that of a register of V, in bytes.
func width[V Value]() uint16 { return uint16(unsafe.Sizeof(V(0))) }
