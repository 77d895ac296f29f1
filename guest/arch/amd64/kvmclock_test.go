//go:build !kapsel

package amd64

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestClockHz(t *testing.T) {
	for _, tt := range []struct {
		name       string
		multiplier uint32
		shift      int8
		want       uint64
	}{
		{"a tick is half a nanosecond", 1 << 31, 0, 2_000_000_000},
		{"shifted to the left", 1 << 30, 1, 2_000_000_000},
		{"shifted to the right", 1 << 31, -1, 4_000_000_000},
		{"2.6 GHz, as KVM says it", 3_303_820_997, -1, 2_600_000_000},
		{"KVM said nothing", 0, 0, 0},
		{"no shift of 64 bits", 1 << 31, 32, 0},
		{"nor to the right", 1 << 31, -32, 0},
	} {
		assert.InDelta(t, tt.want, clockHz(tt.multiplier, tt.shift), 2, tt.name)
	}
}

// KVM is told the physical address and then to stop.
func TestKVMClock(t *testing.T) {
	p := newHostCPU(t)
	kvmClock.multiplier, kvmClock.shift = 1<<31, 0
	assert.EqualValues(t, 2_000_000_000, kvmClockHz())
	assert.Equal(t, []registerWrite{
		{"MSR", msrKVMClock, physicalOfImage(&kvmClock) | 1}, {"MSR", msrKVMClock, 0},
	}, p.writes)
	assert.EqualValues(t, 32, unsafe.Sizeof(kvmClock), "as KVM writes it")
}
