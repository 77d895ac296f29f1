package mmio

import (
	"fmt"
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
		"read 8":   func() { p.Read(8, 1) },
		"write 8":  func() { p.Write(8, 1, 0) },
		"read 16":  func() { p.Read(7, 2) },
		"write 16": func() { p.Write(7, 2, 0) },
		"read 32":  func() { p.Read(5, 4) },
		"write 32": func() { p.Write(0xffff, 4, 0) },
		"string":   func() { p.WriteBytes(8, []byte{1}) },
	} {
		assert.PanicsWithValue(t, "mmio: access outside the device's ports", access, name)
	}
	assert.PanicsWithValue(t, noWidth, func() { p.Read(0, 3) })
	assert.PanicsWithValue(t, noWidth, func() { p.Write(0, 8, 0) })
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

// A model is a Bus that keeps what was written, and a log of all accesses.
type model struct {
	values [8]uint32
	log    []string
}

func (m *model) Read(offset, width uint16) uint32 {
	m.log = append(m.log, fmt.Sprintf("read %d of %d", offset, width))
	return m.values[offset]
}

func (m *model) Write(offset, width uint16, v uint32) {
	m.log = append(m.log, fmt.Sprintf("write %d of %d: %#x", offset, width, v))
	m.values[offset] = v
}

func (m *model) WriteBytes(offset uint16, b []byte) {
	m.log = append(m.log, fmt.Sprintf("write %d: %q", offset, b))
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
	assert.Equal(t, []string{"write 0 of 1: 0xc8", "read 0 of 1", "write 2 of 2: 0xabcd", "read 4 of 4", `write 1: "sos"`}, m.log)
	assert.Panics(t, func() { lampColour.WriteBytes(&d, []byte("sos")) }, "a register of 16 bits")
	assert.Panics(t, func() { NewDevice[lamp](&m, capability.Hardware{}) }, "without a capability")
}

// A lamp's register of 32 bits, in fields.
const (
	lampDate  Field[serial, uint16] = 0xffff_0000
	lampPlant Field[serial, plant]  = 0x0000_f000
	lampRest  Field[serial, uint32] = 0xffff_ffff
)

type plant uint8

func TestFields(t *testing.T) {
	const s serial = 0x1234_5678
	assert.Equal(t, uint16(0x1234), lampDate.Of(s))
	assert.Equal(t, plant(5), lampPlant.Of(s))
	assert.Equal(t, uint32(0x1234_5678), lampRest.Of(s))
	assert.Equal(t, serial(0xffff_5678), lampDate.With(s, 0xffff))
	assert.Equal(t, serial(0x1234_0678), lampPlant.With(s, 0))
	assert.Equal(t, serial(0x1234_f678), lampPlant.With(s, 15))
	assert.Equal(t, serial(0xffff_ffff), lampRest.With(s, 0xffff_ffff))
	assert.PanicsWithValue(t, "mmio: a number that its field has no room for", func() { lampPlant.With(s, 16) },
		"it would change the field beside it")
	assert.Panics(t, func() { lampPlant.With(s, 255) })
}

func TestMemory(t *testing.T) {
	c := capability.Mint().Hardware
	base := uintptr(unsafe.Pointer(&memory))
	memory = [4]uint32{}
	m := NewMemory(base, 16, c)
	m.Write(12, 4, 0x1234_5678)
	m.Write(2, 2, 0xabcd)
	m.Write(1, 1, 0xef)
	m.WriteBytes(8, []byte{1, 2})
	assert.Equal(t, [4]uint32{0: 0xabcd_ef00, 2: 2, 3: 0x1234_5678}, memory)
	assert.Equal(t, uint32(0x1234_5678), m.Read(12, 4))
	assert.Equal(t, uint32(0xabcd), m.Read(2, 2))
	assert.Equal(t, uint32(0xef), m.Read(1, 1))
	for name, access := range map[string]func(){
		"beyond":         func() { m.Read(16, 1) },
		"across the end": func() { m.Read(14, 4) },
		"not aligned 16": func() { m.Write(1, 2, 0) },
		"not aligned 32": func() { m.Write(2, 4, 0) },
		"no width":       func() { m.Read(0, 0) },
		"too wide":       func() { m.Write(0, 8, 0) },
		"far away":       func() { m.Write(0xffff, 1, 0) },
	} {
		assert.Panics(t, access, name)
	}
	assert.Panics(t, func() { NewMemory(base+1, 16, c) }, "base not aligned")
	assert.Panics(t, func() { NewMemory(base, 15, c) }, "size not aligned")
	assert.Panics(t, func() { NewMemory(^uintptr(7), 16, c) }, "range wraps")
	assert.Panics(t, func() { NewMemory(base, 16, capability.Hardware{}) }, "without a capability")
}
