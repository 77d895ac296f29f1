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

// A model is a Bus that keeps what was written, and says by which width.
type model struct {
	values [8]uint32
	widths []string
}

func (m *model) Read8(offset uint16) uint8 {
	m.widths = append(m.widths, "read 8")
	return uint8(m.values[offset])
}

func (m *model) Write8(offset uint16, v uint8) {
	m.widths = append(m.widths, "write 8")
	m.values[offset] = uint32(v)
}

func (m *model) Read16(offset uint16) uint16 {
	m.widths = append(m.widths, "read 16")
	return uint16(m.values[offset])
}

func (m *model) Write16(offset uint16, v uint16) {
	m.widths = append(m.widths, "write 16")
	m.values[offset] = uint32(v)
}

func (m *model) Read32(offset uint16) uint32 {
	m.widths = append(m.widths, "read 32")
	return m.values[offset]
}

func (m *model) Write32(offset uint16, v uint32) {
	m.widths = append(m.widths, "write 32")
	m.values[offset] = v
}

func (m *model) WriteBytes(offset uint16, b []byte) {
	m.widths = append(m.widths, "write bytes")
	m.values[offset] = uint32(b[len(b)-1])
}

// A lamp is a device for tests.
type lamp struct{}

type (
	brightness uint8
	colour     uint16
	serial     uint32
)

const (
	lampBrightness ReadWrite[lamp, brightness] = 0
	lampColour     WriteOnly[lamp, colour]     = 2
	lampSerial     ReadOnly[lamp, serial]      = 4
	lampMorse      WriteOnly[lamp, uint8]      = 1
)

func TestRegistersAreOfTheirValuesWidth(t *testing.T) {
	var m model
	d := NewDevice[lamp](&m, capability.Mint().Hardware)
	lampBrightness.Write(&d, 200)
	assert.Equal(t, brightness(200), lampBrightness.Read(&d))
	lampColour.Write(&d, 0xabcd)
	m.values[4] = 0x1234_5678
	assert.Equal(t, serial(0x1234_5678), lampSerial.Read(&d))
	lampMorse.WriteBytes(&d, []byte("sos"))
	assert.Equal(t, []string{"write 8", "read 8", "write 16", "read 32", "write bytes"}, m.widths)
	assert.Equal(t, [8]uint32{200, 's', 0xabcd, 0, 0x1234_5678}, m.values)
	assert.Panics(t, func() { NewDevice[lamp](&m, capability.Hardware{}) }, "without a capability")
}

func TestMemory(t *testing.T) {
	c := capability.Mint().Hardware
	base := uintptr(unsafe.Pointer(&memory))
	memory = [4]uint32{}
	m := NewMemory(base, 16, c)
	m.Write32(12, 0x1234_5678)
	m.Write16(2, 0xabcd)
	m.Write8(1, 0xef)
	m.WriteBytes(8, []byte{1, 2})
	assert.Equal(t, [4]uint32{0: 0xabcd_ef00, 2: 2, 3: 0x1234_5678}, memory)
	assert.Equal(t, uint32(0x1234_5678), m.Read32(12))
	assert.Equal(t, uint16(0xabcd), m.Read16(2))
	assert.Equal(t, uint8(0xef), m.Read8(1))
	for name, access := range map[string]func(){
		"beyond":         func() { m.Read8(16) },
		"across the end": func() { m.Read32(14) },
		"not aligned 16": func() { m.Write16(1, 0) },
		"not aligned 32": func() { m.Write32(2, 0) },
		"far away":       func() { m.Write8(0xffff, 0) },
	} {
		assert.Panics(t, access, name)
	}
	assert.Panics(t, func() { NewMemory(base+1, 16, c) }, "base not aligned")
	assert.Panics(t, func() { NewMemory(base, 15, c) }, "size not aligned")
	assert.Panics(t, func() { NewMemory(^uintptr(7), 16, c) }, "range wraps")
	assert.Panics(t, func() { NewMemory(base, 16, capability.Hardware{}) }, "without a capability")
}
