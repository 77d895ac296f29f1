//go:build !kapsel

package amd64

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// reader returns how a register of the local APIC is found, by its offset.
func reader(x2 bool) func(reg uint32) uint64 {
	if x2 {
		return func(reg uint32) uint64 { return hostCPU.msr[0x800+reg/16] }
	}
	return func(reg uint32) uint64 {
		return uint64(hostCPU.device[lapicBase+uintptr(reg)])
	}
}

func TestLocalAPIC(t *testing.T) {
	for _, x2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("x2APIC %v", x2), func(t *testing.T) {
			newHostCPU(t)
			hostCPU.msr[0x1b] = 0xfee00100 // as at reset: the boot processor, at its usual place
			var a localAPIC
			a.enable(x2)
			register := reader(x2)
			base := uint64(0xfee00900)
			if x2 {
				base |= 1 << 10
			}
			assert.Equal(t, base, hostCPU.msr[0x1b], "IA32_APIC_BASE")
			assert.EqualValues(t, 1<<8|63, register(0xf0), "software enable, spurious vector")
			assert.Zero(t, register(0x80), "task priority")
			assert.EqualValues(t, 4<<8, register(0x360), "LINT1 is an NMI")
			for name, reg := range map[string]uint32{"timer": 0x320, "LINT0": 0x350} {
				assert.EqualValues(t, 1<<16, register(reg), "%s is masked", name)
			}
			assert.EqualValues(t, 0b1011, register(0x3e0), "divide by 1")
		})
	}
}

func TestAPICNumber(t *testing.T) {
	newHostCPU(t)
	hostCPU.device[uintptr(lapicBase+0x20)] = 5 << 24
	hostCPU.msr[0x802] = 7
	assert.EqualValues(t, 5, (&localAPIC{}).id())
	assert.EqualValues(t, 7, (&localAPIC{x2: true}).id())
}

func TestRoute(t *testing.T) {
	newHostCPU(t)
	hostCPU.device[uintptr(lapicBase+0x20)] = 3 << 24
	(&localAPIC{}).route(4)
	const selector, window = 0x803f_e000, 0x803f_e010 // the low halves of their addresses
	assert.Equal(t, []registerWrite{
		{"device", selector, 0x19}, {"device", window, 3 << 24}, // destination
		{"device", selector, 0x18}, {"device", window, 36}, // fixed, physical, high, edge, not masked; vector of line 4
	}, hostCPU.writes)
	assert.Panics(t, func() { (&localAPIC{}).route(16) }, "a pin of the timer's priority class (SDM vol. 3, 11.8.3.1)")
	assert.NotPanics(t, func() { (&localAPIC{}).route(15) })
}

// A spurious interrupt has a vector whose low bits are set, as older processors force them
// (SDM vol. 3, 11.9), and no interrupt line has it.
func TestSpuriousVector(t *testing.T) {
	assert.EqualValues(t, 15, vectorSpurious&15)
	assert.Greater(t, vectorSpurious, vectorLine0+LineTimer)
	assert.Less(t, vectorSpurious, vectorCount)
}
