//go:build !kapsel

package amd64

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// anyRegisters gives a context registers that a task can have, of no special kind.
func anyRegisters(x *context, random *rand.Rand) {
	for _, r := range x.general() {
		*r = random.Uint64()
	}
	for i := range x.fx {
		x.fx[i] = byte(random.Uint32())
	}
	x.fx[26], x.fx[27] = 0, 0 // the upper half of MXCSR
	x.rsp, x.rip, x.rflags = random.Uint64(), random.Uint64()%abi.UserMax, flagsFixed|flagIF|flagDF|flagAC|1
	x.fsBase, x.gsBase = random.Uint64()%abi.UserMax, random.Uint64()%abi.UserMax
	x.ds, x.es, x.fs, x.gs = 0, userData, userCode, 3
}

// TestRegistersAreSavedAndRestored: however the task came in, it goes back with what it had, and its vector state, also what the processor holds alone.
func TestRegistersAreSavedAndRestored(t *testing.T) {
	for name, come := range map[string]func(x *context){
		"an interrupt":   interrupted(3),
		"a system call":  systemCall,
		"into an upcall": func(x *context) { x.came, hostCPU.served = leavesByIRET, true },
	} {
		t.Run(name, func(t *testing.T) {
			c := startTasks(t, 2, true)
			random := rand.New(rand.NewPCG(1, 2))
			hostCPU.task = func(x *context) {
				anyRegisters(x, random)
				hostCPU.fx = x.fx
				hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs = x.ds, x.es, x.fs, x.gs
				hostCPU.msr[msrFSBase], hostCPU.msr[msrGSBase] = x.fsBase, x.gsBase
				come(x)
			}
			c.Switch(0)
			*c.Results(0) = [4]uint64{128, 5, 1 << 40, 7}
			vectors := hostCPU.fx
			var saved, again kernel.Registers
			c.SaveRegisters(0, &saved)
			require.True(t, c.MayHave(&saved, false))
			want := contexts[0].registers
			assert.Equal(t, vectors[160:288], want.fx[160:288], "XMM0 to XMM7")

			hostCPU.task = systemCall
			c.Switch(1) // the processor holds another's
			c.Clear(0)
			c.Start(0, testStart)
			c.RestoreRegisters(0, &saved)
			c.SaveRegisters(0, &again)
			assert.Equal(t, saved, again)
			hostCPU.task = func(x *context) {
				assert.Equal(t, want.came == cameBySyscall, x.came == cameBySyscall)
				got := x.registers
				got.came, got.code, got.ss = want.came, want.code, want.ss
				want.ss = got.ss
				assert.Equal(t, want, got)
				systemCall(x)
			}
			assert.Equal(t, kernel.TrapSyscall, c.Switch(0))
		})
	}
}

// TestRegisters32AreSavedAndRestored: a 32-bit task that waits in a system call gets its results on its stack.
func TestRegisters32AreSavedAndRestored(t *testing.T) {
	c, x, bytes := startTask32(t)
	start := kernel.StartState{Entry: 0x4000_0040, RAMStart: ram32, RAMSize: 0x5000, InitialBreak: ram32 + abi.InitialRAM32, Bits32: true, Memory: x.memory}
	c.Start(0, start)
	x.came, x.rip, x.rsp, x.rbx = cameByInt40, 0x4000_0080, ram32+0x100, 77
	x.owe(1, 2, 3, 4)
	var saved kernel.Registers
	c.SaveRegisters(0, &saved)
	require.True(t, c.MayHave(&saved, true))
	assert.False(t, c.MayHave(&saved, false), "64-bit tasks make no such calls")
	c.Clear(0)
	c.Start(0, start)
	c.RestoreRegisters(0, &saved)
	*c.Results(0) = [4]uint64{10, 20, 30, 40}
	hostCPU.task = func(x *context) {
		assert.EqualValues(t, 77, x.rbx)
		assert.EqualValues(t, 0x4000_0080, x.rip)
		systemCall(x)
	}
	c.Switch(0)
	for i, want := range []uint32{10, 20, 30, 40} {
		assert.Equal(t, want, word32(bytes, ram32+0x100+4*uint32(i)))
	}
}

// TestRegistersThatNoTaskHas are refused: with them a way to ring 3 would fault in ring 0, or lead elsewhere.
func TestRegistersThatNoTaskHas(t *testing.T) {
	good := func(bits32 bool) *kernel.Registers {
		var r kernel.Registers
		r.SetWord(savedRIP, 0x4000_0000)
		r.SetWord(savedCS, userCode)
		if bits32 {
			r.SetWord(savedCS, userCode32)
		}
		r.SetWord(savedFlags, flagsFixed|flagIF)
		r.SetWord(savedFX+24, 0x1f80)
		return &r
	}
	for _, tt := range []struct {
		name   string
		at     int
		word   uint64
		bits32 bool
		want   bool
	}{
		{"none of it", savedRSP, 0, false, true},
		{"none of it, 32 bits", savedRSP, 0, true, true},
		{"the last address", savedRIP, abi.UserMax - 1, false, true},
		{"beyond it", savedRIP, abi.UserMax, false, false},
		{"the kernel's", savedRIP, abi.KernelBase, false, false},
		{"the last of 32 bits", savedRIP, 0xffff_ffff, true, true},
		{"beyond 32 bits", savedRIP, 1 << 32, true, false},
		{"ring 0's code", savedCS, kernelCode, false, false},
		{"no code", savedCS, 0, false, false},
		{"data as code", savedCS, userData, false, false},
		{"code of the other kind", savedCS, userCode32, false, true},
		{"more than a selector", savedCS, userCode | 1<<16, false, false},
		{"stepping", savedFlags, flagsFixed | flagIF | flagTF | flagNT | 1<<16 | 1<<21, false, true},
		{"no interrupts", savedFlags, flagsFixed, false, false},
		{"without the bit that is always 1", savedFlags, flagIF, false, false},
		{"I/O", savedFlags, flagsFixed | flagIF | flagIOPL, false, false},
		{"virtual 8086", savedFlags, flagsFixed | flagIF | 1<<17, false, false},
		{"flags that there are not", savedFlags, flagsFixed | flagIF | 1<<32, false, false},
		{"reserved bits of MXCSR", savedFX + 24, 0x1f80 | 1<<16, false, false},
		{"all of MXCSR", savedFX + 24, 0xffff, false, true},
		{"a base", savedFSBase, abi.UserMax, false, false},
		{"the other base", savedGSBase, 1 << 63, false, false},
		{"ring 0's data", savedSelectors, kernelData, false, false},
		{"ring 0's data in GS", savedSelectors, kernelData << 48, false, false},
		{"a local table", savedSelectors, 4, false, false},
		{"null, and its own", savedSelectors, 3 | userData<<16 | (userData-3)<<32 | userCode<<48, false, true},
		{"neither way", savedCall, 2, false, false},
		{"a call", savedCall, 1, false, true},
		{"a call of 32 bits", savedCall, 1, true, true},
		{"wide results", savedResults + 8, 1 << 32, false, true},
		{"wide results of 32 bits", savedResults + 24, 1 << 32, true, false},
	} {
		r := good(tt.bits32)
		r.SetWord(tt.at, tt.word)
		assert.Equal(t, tt.want, mayHave(r, tt.bits32), tt.name)
	}
	r := good(false)
	r.SetWord(savedCS, userCode32)
	r.SetWord(savedCall, 1)
	assert.False(t, mayHave(r, false), "SYSCALL comes from 64-bit code")
}
