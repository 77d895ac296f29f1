package mmio

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel/capability"
)

// Port instructions need ring 0: what runs here is the check in front of each.
func TestPortsOutsideTheDeviceAreRefused(t *testing.T) {
	p := NewPorts(0x3f8, 8, capability.Mint().Hardware)
	assert.Equal(t, uint16(0x3ff), p.port(7, 1))
	assert.Equal(t, uint16(0x3fc), p.port(4, 4))
	for name, access := range map[string]func(){
		"read 8":   func() { p.Read8(8) },
		"write 8":  func() { p.Write8(8, 0) },
		"read 16":  func() { p.Read16(7) },
		"write 16": func() { p.Write16(7, 0) },
		"read 32":  func() { p.Read32(5) },
		"write 32": func() { p.Write32(0xffff, 0) },
		"string":   func() { p.WriteBytes(8, []byte{1}) },
	} {
		assert.PanicsWithValue(t, "mmio: access outside the device's ports", access, name)
	}
	assert.NotPanics(t, func() { p.WriteBytes(0, nil) }, "no bytes, no instruction")
}

func TestPortRanges(t *testing.T) {
	c := capability.Mint().Hardware
	assert.NotPanics(t, func() { NewPorts(0xffff, 1, c) })
	assert.Panics(t, func() { NewPorts(0xffff, 2, c) })
	assert.Panics(t, func() { NewPorts(0x80, 1, capability.Hardware{}) }, "without a capability")
}

// memory stands in for a device. It is no local variable, as Go moves stacks.
var memory [4]uint32

func TestRegisters32(t *testing.T) {
	c := capability.Mint().Hardware
	base := uintptr(unsafe.Pointer(&memory))
	r := NewRegisters32(base, 16, c)
	r.Write(12, 0x1234_5678)
	assert.Equal(t, [4]uint32{3: 0x1234_5678}, memory)
	memory[1] = 0x8765_4321
	assert.Equal(t, uint32(0x8765_4321), r.Read(4))
	for _, offset := range []uintptr{16, 1, 2, ^uintptr(3)} {
		assert.Panics(t, func() { r.Read(offset) }, "offset %#x", offset)
		assert.Panics(t, func() { r.Write(offset, 0) }, "offset %#x", offset)
	}
	assert.Panics(t, func() { NewRegisters32(base+1, 16, c) }, "base not aligned")
	assert.Panics(t, func() { NewRegisters32(base, 15, c) }, "size not aligned")
	assert.Panics(t, func() { NewRegisters32(^uintptr(7), 16, c) }, "range wraps")
	assert.Panics(t, func() { NewRegisters32(base, 16, capability.Hardware{}) }, "without a capability")
}
