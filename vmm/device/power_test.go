package device

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPower(t *testing.T) {
	const base, off = 0x600, SleepS5<<2 | 1<<5
	for _, tt := range []struct {
		name       string
		port       uint16
		size       int
		data       []byte
		off, reset bool
	}{
		{"power off", base, 1, []byte{off}, true, false},
		{"power off with reserved bits", base, 1, []byte{off | 0xc3}, true, false},
		{"the type alone", base, 1, []byte{SleepS5 << 2}, false, false},
		{"another sleep", base, 1, []byte{1<<2 | 1<<5}, false, false},
		{"sleep status", base + PowerSleepStatus, 1, []byte{off}, false, false},
		{"reset", base + PowerReset, 1, []byte{ResetValue}, false, true},
		{"another value to reset", base + PowerReset, 1, []byte{2}, false, false},
		{"the first of a string", base + PowerReset, 1, []byte{2, ResetValue}, false, false},
		{"16 bits", base, 2, []byte{off, 0}, false, false},
		{"nothing", base, 1, nil, false, false},
	} {
		var p Power
		p.WritePort(tt.port, tt.size, tt.data)
		assert.Equal(t, [2]bool{tt.off, tt.reset}, [2]bool{p.Off, p.Reset}, tt.name)
	}
}

func TestPowerEndsOnce(t *testing.T) {
	var p Power
	p.WritePort(0x602, 1, []byte{ResetValue})
	p.WritePort(0x600, 1, []byte{SleepS5<<2 | 1<<5})
	assert.True(t, p.Reset)
	assert.False(t, p.Off, "the first end counts")
}

func TestPowerReads(t *testing.T) {
	data := []byte{0xaa}
	new(Power).ReadPort(0x601, 1, data)
	assert.Equal(t, []byte{0}, data)
	data = []byte{0xaa, 0xaa}
	new(Power).ReadPort(0x600, 2, data)
	assert.Equal(t, []byte{0xff, 0xff}, data)
}
