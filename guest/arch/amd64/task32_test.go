//go:build !kapsel

package amd64

import (
	"encoding/binary"
	"strings"
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

// newKernel32 makes a kernel with a 32-bit task that first moves its break to top32, then makes the
// system call of step. Its RAM is bytes.
func newKernel32(t *testing.T, step func(x *context, bytes []byte) (on bool)) (s *rules) {
	t.Helper()
	s = newKernel(t, false)
	var bytes []byte
	s.steps[0] = []func(x *context) bool{func(x *context) bool {
		for _, f := range s.ram.walk(s.cpu.spaces[0].root) {
			if f.virt == ram32 {
				bytes = s.ram[f.phys:][:size32]
			}
		}
		put32(bytes, ram32, abi.MemopBrk, top32)
		x.rsp, x.rax = ram32, uint64(abi.Memop)
		return int40(x)
	}, func(x *context) bool {
		assert.EqualValues(t, abi.Success, word32(bytes, ram32))
		return step(x, bytes)
	}, func(x *context) bool {
		put32(bytes, ram32, abi.ExitTerminate)
		x.rsp, x.rax = ram32, uint64(abi.Exit)
		return int40(x)
	}}
	s.steps[1] = []func(x *context) bool{call(abi.Exit, abi.ExitTerminate, 0)}
	return s
}

// int40At is a task that makes a system call that ends its turn.
func int40At(rsp uint64) func(*context) {
	return func(x *context) { x.came, x.rsp, x.owed, hostCPU.served = cameByInt40, rsp, true, true }
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
		registers: registers{rip: 0x4000_0040, cs: 0x1b, rflags: 0x202, rsp: low - 20, ss: 0x23, ds: 0x23, es: 0x23},
		memory:    x.memory, space: x.space,
	}
	want.fx[0], want.fx[1] = 0x7f, 0x03   // FCW
	want.fx[24], want.fx[25] = 0x80, 0x1f // MXCSR
	assert.Equal(t, want, *x, "all other registers are 0")
	for i, w := range []uint32{0, 0x4000_0038, ram32, 0x5000, low} {
		assert.Equal(t, w, word32(bytes, low-20+4*uint32(i)), "word %d of the frame", i)
	}
	assert.EqualValues(t, ram32, x.rsp-16, "a system call's four words fit below it")
}

func TestSystemCall32(t *testing.T) {
	const sp = ram32 + 0x100
	for _, tt := range []struct {
		name   string
		result kernel.Result
		want   [4]uint32
	}{
		{"a value", kernel.Value(9), [4]uint32{uint32(abi.SuccessU32), 9, 0, 0}},
		{"64 bits in two words", kernel.Value64(1<<32 | 5), [4]uint32{uint32(abi.SuccessU64), 5, 1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			called := false
			s := newKernel32(t, func(x *context, bytes []byte) bool {
				put32(bytes, sp, lender, 0xffff_ffff, 3, 4)
				x.rsp = 0xdead_beef_0000_0000 | sp // the upper half is nobody's
				x.rax, x.rcx, x.rdx, x.fx[200] = 0x1234_5600|uint64(abi.Command), 5, 6, 77
				before := *x
				assert.True(t, int40(x), "it goes on at once")
				before.came = cameByInt40
				assert.Equal(t, before, *x, "no register changes")
				for i, w := range tt.want {
					assert.Equal(t, w, word32(bytes, sp+4*uint32(i)), "result word %d", i)
				}
				return true
			})
			s.answer = func(command, a0, a1 uint32) kernel.Result {
				called = true
				assert.Equal(t, [3]uint32{0xffff_ffff, 3, 4}, [3]uint32{command, a0, a1})
				return tt.result
			}
			s.kernel.Run(s.can.MainLoop)
			assert.True(t, called, s.out.s)
		})
	}
}

// A task that does not go on at once gets the results when it does.
func TestOwedResults32(t *testing.T) {
	const sp = ram32 + 0x100
	c, x, bytes := startTask32(t)
	hostCPU.task = int40At(sp)
	assert.Equal(t, kernel.TrapSyscall, c.Switch(0))
	ready = nil // as systemCall32 does
	*c.Results(0) = [4]uint64{1<<32 | 128, 2<<32 | 5, 6, 0xffff_ffff}
	before := *x
	before.owed = false
	hostCPU.task = func(now *context) {
		assert.Equal(t, before, *now, "no register changes")
		for i, w := range []uint32{128, 5, 6, 0xffff_ffff} {
			assert.Equal(t, w, word32(bytes, sp+4*uint32(i)), "result word %d", i)
		}
		int40At(sp)(now)
	}
	c.Switch(0)
}

func TestUpcall32(t *testing.T) {
	c, x, bytes := startTask32(t)
	const sp = ram32 + 0x100
	hostCPU.task = func(x *context) {
		int40At(sp)(x)
		x.rip, x.rflags, x.rbx = 0x4000_0123, 0x0000_0ed7, 9
	}
	c.Switch(0)
	before := *x
	assert.True(t, c.Upcall(0, nil, &kernel.Upcall{Fn: 0x4000_0555, Args: [3]uint32{1, 2, 0xffff_ffff}, Userdata: 0xfedc_ba98}))
	for i, w := range []uint32{0x4000_0123, 1, 2, 0xffff_ffff, 0xfedc_ba98} {
		assert.Equal(t, w, word32(bytes, sp-4+4*uint32(i)), "word %d of the frame", i)
	}
	want := before
	want.rip, want.rsp, want.rflags, want.owed, want.came = 0x4000_0555, sp-4, 0x202, false, leavesByIRET
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
			x.rsp = uint64(tt.sp)
			before, memory := *x, string(bytes)
			assert.Equal(t, tt.upcall, c.Upcall(0, nil, &kernel.Upcall{Fn: 5}))
			if !tt.upcall {
				assert.Equal(t, before, *x)
				assert.Equal(t, memory, string(bytes))
			}

			var words []uint32
			s := newKernel32(t, func(x *context, bytes []byte) bool {
				for i := range bytes {
					bytes[i] = 1
				}
				x.rsp, x.rax = uint64(tt.sp), uint64(abi.Command)
				on := int40(x)
				assert.Equal(t, tt.results, on, "it goes on at once")
				if on {
					assert.EqualValues(t, 7, word32(bytes, tt.sp+4))
				}
				return on
			})
			s.answer = func(command, a0, a1 uint32) kernel.Result {
				words = []uint32{command, a0, a1}
				return kernel.Value(7)
			}
			s.kernel.Run(s.can.MainLoop)
			for i, word := range words {
				assert.Equal(t, map[bool]uint32{true: filler, false: 0}[tt.readable[i+1]], word, "word %d: one that can not be read is 0", i+1)
			}
			assert.Len(t, words, 3)
			assert.Equal(t, !tt.results, strings.Contains(s.out.s, "first faulted: no writeable stack for the results of a system call"), s.out.s)
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
		{"INT 0x40 of a 64-bit task", 1, func(x *context) { x.came, x.cs = vectorSyscall32, userCode }},
		{"INT 0x40 of a 64-bit task in 32-bit code", 1, func(x *context) { x.came, x.cs = vectorSyscall32, userCode32 }},
		{"INT 0x40 of a 32-bit task in 64-bit code", 0, func(x *context) { x.came, x.cs = vectorSyscall32, userCode }},
		{"SYSCALL of a 32-bit task in 64-bit code", 0, func(x *context) { x.came, x.cs = cameBySyscall, userCode }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, _ := startTask32(t)
			hostCPU.task = tt.trap
			trap := c.Switch(tt.slot)
			assert.Equal(t, kernel.TrapFault, trap)
			assert.Equal(t, otherKind, *c.Fault())
			assert.Zero(t, *c.Interrupts(), "vector 0x40 is no line")
		})
	}
}

// Interrupts and exceptions are the same for both kinds.
func TestOtherTraps32(t *testing.T) {
	c, x, _ := startTask32(t)
	hostCPU.task = interrupted(4)
	assert.Equal(t, kernel.TrapInterrupt, c.Switch(0))
	hostCPU.task = func(x *context) { x.came, x.code, x.rip = 6, 0, 0x4000_0050 }
	trap := c.Switch(0)
	assert.Equal(t, kernel.TrapFault, trap)
	assert.Equal(t, kernel.Fault{Vector: 6, PC: 0x4000_0050, Name: "invalid instruction"}, *c.Fault())

	x.stackLost = true
	c.Clear(0)
	assert.Nil(t, x.memory)
	assert.False(t, x.stackLost)
	c.Start(0, testStart)
	hostCPU.task = systemCall
	assert.Equal(t, kernel.TrapSyscall, c.Switch(0), "a 64-bit task in the same slot")
}

// The segments and the x87 and vector state of a 32-bit task stay its own, whatever made it
// stop, and go from one kind of task to the other no more than between two of a kind.
func TestState32IsItsOwn(t *testing.T) {
	c, _, _ := startTask32(t)
	hostCPU.task = func(x *context) {
		hostCPU.fx = x.fx // as the entry code does
		hostCPU.ds, hostCPU.es, hostCPU.fs, hostCPU.gs = 0x23, 0x1b, 0x2b, 0x23
		hostCPU.fx[200] = 32
		int40At(ram32 + 16)(x)
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
		int40At(ram32 + 16)(x)
	}
	c.Switch(0)
	hostCPU.task = func(x *context) {
		assert.EqualValues(t, 0x1000, hostCPU.msr[msrFSBase])
		assert.EqualValues(t, 64, hostCPU.fx[200])
		systemCall(x)
	}
	c.Switch(1)
}
