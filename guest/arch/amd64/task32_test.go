//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

const (
	ram32  = 0x8000_0000
	size32 = 0x1000
	top32  = ram32 + size32 // the break
)

// startTask32 makes a CPU with a 32-bit task in slot 0, whose memory is bytes.
func startTask32(t *testing.T) (c *CPU, x *context, bytes []byte) {
	t.Helper()
	c = startTasks(t, 2, false)
	bytes = make([]byte, size32)
	c.Start(0, kernel.StartState{
		Entry: 0x4000_0040, AppStart: 0x4000_0038, RAMStart: ram32, RAMSize: 0x5000, InitialBreak: top32,
		Bits32: true, Memory: memoryAt(t, ram32, bytes),
	})
	return c, contexts[0], bytes
}

// int40 is a task that makes a system call at once, from 32-bit code.
func int40(rsp uint64) func(*context) {
	return func(x *context) {
		x.vector, x.cs, x.rsp = vectorSyscall32, userCode32, rsp
		x.fx = hostCPU.fx // as the entry code does
	}
}

func word32(bytes []byte, addr uint32) uint32 { return binary.LittleEndian.Uint32(bytes[addr-ram32:]) }

func put32(bytes []byte, addr uint32, words ...uint32) {
	for i, w := range words {
		binary.LittleEndian.PutUint32(bytes[addr-ram32+4*uint32(i):], w)
	}
}

// TestStart32: the frame of the first call ends at a break that is as low as the kernel makes it.
func TestStart32(t *testing.T) {
	const low = ram32 + abi.InitialRAM32
	c, x, bytes := startTask32(t)
	c.Start(0, kernel.StartState{
		Entry: 0x4000_0040, AppStart: 0x4000_0038, RAMStart: ram32, RAMSize: 0x5000, InitialBreak: low,
		Bits32: true, Memory: memoryAt(t, ram32, bytes),
	})
	want := context{
		rip: 0x4000_0040, cs: 0x1b, rflags: 0x202, rsp: low - 20, ss: 0x23, ds: 0x23, es: 0x23,
		memory: x.memory, onSyscall: &otherKind,
	}
	want.call.Reason = kernel.TrapSyscall
	want.fx[0], want.fx[1] = 0x7f, 0x03   // FCW
	want.fx[24], want.fx[25] = 0x80, 0x1f // MXCSR
	assert.Equal(t, want, *x, "all other registers are 0")
	for i, w := range []uint32{0, 0x4000_0038, ram32, 0x5000, low} {
		assert.Equal(t, w, word32(bytes, low-20+4*uint32(i)), "word %d of the frame", i)
	}
	assert.EqualValues(t, ram32, x.rsp-16, "a system call's four words fit below it")
}

func TestSystemCall32(t *testing.T) {
	c, x, bytes := startTask32(t)
	const sp = ram32 + 0x100
	put32(bytes, sp, 8, 0xffff_ffff, 3, 4)
	hostCPU.task = func(x *context) {
		int40(0xdead_beef_0000_0000 | sp)(x) // the upper half is nobody's
		x.rax, x.rcx, x.rdx = 0x1234_5602, 5, 6
		x.fx[200] = 77
	}
	trap := c.Switch(0)
	assert.Equal(t, kernel.TrapSyscall, trap.Reason)
	assert.Equal(t, abi.Class(2), trap.Class, "the low 8 bits of EAX")
	assert.Equal(t, [4]uint64{8, 0xffff_ffff, 3, 4}, trap.Args)

	before := *x
	trap.Args = [4]uint64{1<<32 | 128, 2<<32 | 5, 6, 0xffff_ffff}
	hostCPU.task = func(now *context) {
		before.owed, before.call.Args = false, trap.Args
		assert.Equal(t, before, *now, "no register changes")
	}
	c.Switch(0)
	for i, w := range []uint32{128, 5, 6, 0xffff_ffff} {
		assert.Equal(t, w, word32(bytes, sp+4*uint32(i)), "result word %d", i)
	}
	assert.Less(t, x.vector, uint64(cameBySyscall), "it goes out by IRET, with its x87 and vector state")
}

func TestUpcall32(t *testing.T) {
	c, x, bytes := startTask32(t)
	const sp = ram32 + 0x100
	hostCPU.task = func(x *context) {
		int40(sp)(x)
		x.rip, x.rflags, x.rbx = 0x4000_0123, 0x0000_0ed7, 9
	}
	c.Switch(0)
	before := *x
	assert.True(t, c.Upcall(0, nil, &kernel.Upcall{Fn: 0x4000_0555, Args: [3]uint32{1, 2, 0xffff_ffff}, Userdata: 0xfedc_ba98}))
	for i, w := range []uint32{0x4000_0123, 1, 2, 0xffff_ffff, 0xfedc_ba98} {
		assert.Equal(t, w, word32(bytes, sp-4+4*uint32(i)), "word %d of the frame", i)
	}
	want := before
	want.rip, want.rsp, want.rflags, want.owed = 0x4000_0555, sp-4, 0x202, false
	assert.Equal(t, want, *x, "the direction flag is clear, as the convention wants; all else stays")
}

// Edges of the stack: words that are not in the task's RAM below its break.
func TestStackEdges32(t *testing.T) {
	for _, tt := range []struct {
		name            string
		sp              uint32
		readable        [4]bool
		results, upcall bool
	}{
		{"first words", ram32, [4]bool{true, true, true, true}, true, false},
		{"room for an upcall", ram32 + 4, [4]bool{true, true, true, true}, true, true},
		{"last words", top32 - 16, [4]bool{true, true, true, true}, true, true},
		{"one byte over", top32 - 15, [4]bool{true, true, true, false}, false, false},
		{"last word over", top32 - 12, [4]bool{true, true, true, false}, false, false},
		{"at the break", top32, [4]bool{}, false, false},
		{"first word under", ram32 - 4, [4]bool{false, true, true, true}, false, false},
		{"at 0", 0, [4]bool{}, false, false},
		{"wraps", 0xffff_fffc, [4]bool{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, x, bytes := startTask32(t)
			for i := range bytes {
				bytes[i] = 1
			}
			hostCPU.task = int40(uint64(tt.sp))
			trap := c.Switch(0)
			assert.Equal(t, kernel.TrapSyscall, trap.Reason)
			for i, readable := range tt.readable {
				want := map[bool]uint64{true: 0x0101_0101, false: 0}[readable]
				assert.Equal(t, want, trap.Args[i], "word %d: one that can not be read is 0", i)
			}

			before, memory := *x, string(bytes)
			assert.Equal(t, tt.upcall, c.Upcall(0, nil, &kernel.Upcall{Fn: 5}))
			if !tt.upcall {
				assert.Equal(t, before, *x)
				assert.Equal(t, memory, string(bytes))
			}
			*x = before
			memory = string(bytes)
			trap.Args = [4]uint64{7, 7, 7, 7}
			if tt.results {
				hostCPU.task = func(x *context) {
					assert.EqualValues(t, 7, word32(bytes, tt.sp))
					int40(uint64(tt.sp))(x)
				}
				assert.Equal(t, kernel.TrapSyscall, c.Switch(0).Reason)
				return
			}
			hostCPU.task = func(*context) { t.Error("it ran without results") }
			trap = c.Switch(0)
			assert.Equal(t, kernel.TrapFault, trap.Reason)
			assert.Equal(t, kernel.Fault{Vector: kernel.NoVector, Name: "no writeable stack for the results of a system call"}, trap.Fault)
			assert.Equal(t, memory, string(bytes))
		})
	}
}

// Each kind of task has its own instruction for system calls; the other's is a fault.
func TestSystemCallsOfTheOtherKind(t *testing.T) {
	otherKind := kernel.Fault{Vector: kernel.NoVector,
		Name: "system call of the other kind: SYSCALL is for 64-bit tasks, INT 0x40 for 32-bit code of 32-bit tasks"}
	for _, tt := range []struct {
		name string
		slot int // 0 has 32 bits, 1 has 64
		trap func(*context)
	}{
		{"INT 0x40 of a 64-bit task", 1, func(x *context) { x.vector, x.cs = vectorSyscall32, userCode }},
		{"INT 0x40 of a 64-bit task in 32-bit code", 1, func(x *context) { x.vector, x.cs = vectorSyscall32, userCode32 }},
		{"INT 0x40 of a 32-bit task in 64-bit code", 0, func(x *context) { x.vector, x.cs = vectorSyscall32, userCode }},
		{"SYSCALL of a 32-bit task in 64-bit code", 0, func(x *context) { x.vector, x.cs = cameBySyscall, userCode }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, _ := startTask32(t)
			hostCPU.task = tt.trap
			trap := c.Switch(tt.slot)
			assert.Equal(t, kernel.TrapFault, trap.Reason)
			assert.Equal(t, otherKind, trap.Fault)
			assert.Zero(t, *c.Interrupts(), "vector 0x40 is no line")
		})
	}
}

// Interrupts and exceptions are the same for both kinds.
func TestOtherTraps32(t *testing.T) {
	c, x, _ := startTask32(t)
	hostCPU.task = interrupted(4)
	assert.Equal(t, kernel.TrapInterrupt, c.Switch(0).Reason)
	hostCPU.task = func(x *context) { x.vector, x.code, x.rip = 6, 0, 0x4000_0050 }
	trap := c.Switch(0)
	assert.Equal(t, kernel.TrapFault, trap.Reason)
	assert.Equal(t, kernel.Fault{Vector: 6, PC: 0x4000_0050, Name: "invalid instruction"}, trap.Fault)

	x.stackLost = true
	c.Clear(0)
	assert.Nil(t, x.memory)
	assert.False(t, x.stackLost)
	c.Start(0, testStart)
	hostCPU.task = systemCall
	assert.Equal(t, kernel.TrapSyscall, c.Switch(0).Reason, "a 64-bit task in the same slot")
}

// The segments and the x87 and vector state of a 32-bit task stay its own, whatever made it
// stop, and go from one kind of task to the other no more than between two of a kind.
func TestState32IsItsOwn(t *testing.T) {
	c, _, _ := startTask32(t)
	hostCPU.task = func(x *context) {
		hostCPU.fx = x.fx // as the entry code does
		hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs = 0x23, 0x1b, 0x2b, 0x23
		hostCPU.fx[200] = 32
		int40(ram32 + 16)(x)
	}
	c.Switch(0)
	hostCPU.task = func(x *context) {
		assert.Zero(t, hostCPU.ds|hostCPU.es|hostCPU.fs|hostCPU.gs)
		hostCPU.fx = x.fx
		assert.Zero(t, hostCPU.fx[200])
		hostCPU.msr[msrFSBase], hostCPU.fx[200] = 0x1000, 64
		systemCall(x)
	}
	c.Switch(1)
	hostCPU.task = func(x *context) {
		assert.Equal(t, []uint16{0x23, 0x1b, 0x2b, 0x23}, []uint16{hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs})
		assert.Zero(t, hostCPU.msr[msrFSBase], "the base of another")
		hostCPU.fx = x.fx
		assert.EqualValues(t, 32, hostCPU.fx[200])
		int40(ram32 + 16)(x)
	}
	c.Switch(0)
	hostCPU.task = func(x *context) {
		assert.EqualValues(t, 0x1000, hostCPU.msr[msrFSBase])
		assert.EqualValues(t, 64, hostCPU.fx[200])
		systemCall(x)
	}
	c.Switch(1)
}
