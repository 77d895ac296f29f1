package mmio

import "kapsel/guest/kernel/capability"

// Ports are the I/O ports of one device.
type Ports struct {
	base, count uint16
}

// NewPorts makes the count ports from base on accessible. It panics if they go beyond
// port 0xffff.
func NewPorts(base, count uint16, c capability.Hardware) Ports {
	c.Require()
	if count != 0 && base+(count-1) < base {
		panic("mmio: ports beyond 0xffff")
	}
	return Ports{base, count}
}

// Read8 reads a byte from port offset of the device.
func (p *Ports) Read8(offset uint16) uint8 { return in8(p.port(offset, 1)) }

// Write8 writes a byte to port offset of the device.
func (p *Ports) Write8(offset uint16, v uint8) { out8(p.port(offset, 1), v) }

// Read16 reads 16 bits from the ports at offset.
func (p *Ports) Read16(offset uint16) uint16 { return in16(p.port(offset, 2)) }

// Write16 writes 16 bits to the ports at offset.
func (p *Ports) Write16(offset uint16, v uint16) { out16(p.port(offset, 2), v) }

// Read32 reads 32 bits from the ports at offset.
func (p *Ports) Read32(offset uint16) uint32 { return in32(p.port(offset, 4)) }

// Write32 writes 32 bits to the ports at offset.
func (p *Ports) Write32(offset uint16, v uint32) { out32(p.port(offset, 4), v) }

// WriteBytes writes the bytes of b, one after another, to port offset of the device: one
// string instruction, which a monitor may serve at once.
func (p *Ports) WriteBytes(offset uint16, b []byte) {
	port := p.port(offset, 1)
	if len(b) != 0 {
		outs8(port, &b[0], len(b))
	}
}

// port is the number of the port at offset, if size ports from there are the device's.
func (p *Ports) port(offset, size uint16) uint16 {
	if offset >= p.count || p.count-offset < size {
		panic("mmio: access outside the device's ports")
	}
	return p.base + offset
}
