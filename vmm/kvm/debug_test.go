package kvm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBreakpointsInDebugRegisters(t *testing.T) {
	const a, b, c, d = 0xffff_ffff_8020_0000, 0x4000_28e0, 0x1000, 0x7fff_ffff_ffff
	for _, tt := range []struct {
		name      string
		addresses []uint64
		dr7       uint64
	}{
		{"none", nil, 0x400},
		{"one", []uint64{a}, 0x402},
		{"two", []uint64{a, b}, 0x40a},
		{"three", []uint64{a, b, c}, 0x42a},
		{"all four", []uint64{a, b, c, d}, 0x4aa},
		{"one twice", []uint64{a, a}, 0x40a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			debug, err := breakpoints(tt.addresses)
			require.NoError(t, err)
			assert.EqualValues(t, 0x20001, debug.Control, "KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP")
			want := [8]uint64{7: tt.dr7}
			copy(want[:], tt.addresses)
			assert.Equal(t, want, debug.Registers)
		})
	}
	_, err := breakpoints(make([]uint64, 5))
	assert.EqualError(t, err, "5 breakpoints, a processor has 4")
}

func TestWhichBreakpoint(t *testing.T) {
	const none = -1
	for _, tt := range []struct {
		name  string
		dr6   uint64
		count int
		want  int
	}{
		{"the first", 0xffff_0ff1, 4, 0},
		{"the second", 0xffff_0ff2, 4, 1},
		{"the third", 0xffff_0ff4, 4, 2},
		{"the fourth", 0xffff_0ff8, 4, 3},
		{"two at one address", 0xffff_0ff6, 4, 1},
		{"beside one that is not set", 0xffff_0ff9, 1, 0},
		{"only one that is not set", 0xffff_0ff4, 2, none},
		{"none is set", 0xffff_0fff, 0, none},
		{"a single step", 0xffff_4ff0, 4, none},
		{"a breakpoint and a single step", 0xffff_4ff2, 4, 1},
		{"no cause", 0xffff_0ff0, 4, none},
		{"all bits", ^uint64(0), 9, 0},
		{"bits beyond the breakpoints", ^uint64(0xf), 9, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, ok := Debug{Exception: VectorDebug, DR6: tt.dr6}.Breakpoint(tt.count)
			assert.Equal(t, tt.want != none, ok)
			assert.Equal(t, max(tt.want, 0), n)
		})
	}
}

func TestDecodeDebug(t *testing.T) {
	run := bytes.Repeat([]byte{0xff}, 4096)
	assert.Equal(t, Debug{^uint32(0), ^uint64(0), ^uint64(0)}, decodeDebug(run), "any contents are decoded")

	little.PutUint32(run[offDebugException:], VectorDebug)
	little.PutUint64(run[offDebugPC:], 0x4000_28e0)
	little.PutUint64(run[offDebugDR6:], 0xffff_0ff1)
	assert.Equal(t, Debug{VectorDebug, 0x4000_28e0, 0xffff_0ff1}, decodeDebug(run))
	assert.Equal(t, "KVM_EXIT_DEBUG of exception 1 at 0x400028e0, DR6 0xffff0ff1", failure(ExitDebug, run))
}
