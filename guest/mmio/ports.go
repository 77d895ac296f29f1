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

// Read implements Bus.
//
//go:nosplit
func (p *Ports) Read(offset, width uint16) uint32 {
	switch width {
	case 1:
		return uint32(in8(p.port(offset, 1)))
	case 4:
		return in32(p.port(offset, 4))
	case 2:
		return uint32(in16(p.port(offset, 2)))
	}
	panic(noWidth)
}

// Write implements Bus.
//
//go:nosplit
func (p *Ports) Write(offset, width uint16, v uint32) {
	switch width {
	case 1:
		out8(p.port(offset, 1), uint8(v))
	case 4:
		out32(p.port(offset, 4), v)
	case 2:
		out16(p.port(offset, 2), uint16(v))
	default:
		panic(noWidth)
	}
}

// WriteBytes implements Bus, by one string instruction, which a monitor may serve at once.
//
//go:nosplit
func (p *Ports) WriteBytes(offset uint16, b []byte) {
	port := p.port(offset, 1)
	if len(b) != 0 {
		outs8(port, &b[0], len(b))
	}
}

// port is the number of the port at offset, if so many ports from there as an access is wide are the device's.
func (p *Ports) port(offset, width uint16) uint16 {
	if offset >= p.count || p.count-offset < width {
		panic("mmio: access outside the device's ports")
	}
	return p.base + offset
}
