package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func bits32(s *tbfbuild.Spec) { s.ABI64 = false }

// What a 32-bit task sees in other variants and widths than a 64-bit one. All else is the
// same code for both.
func TestRulesOf32BitTasks(t *testing.T) {
	const two, failedTwo = uint64(abi.Success2U32), uint64(abi.Failure2U32)
	const nosupport, inval = uint64(abi.NOSUPPORT), uint64(abi.INVAL)
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		ram, brk := k.Start.RAMStart, k.Start.InitialBreak
		for _, s := range []struct {
			name  string
			class abi.Class
			words [4]uint64
			want  [4]uint64
		}{
			{"a pair that was replaced: Success with two u32", abi.Subscribe, [4]uint64{probeDriver, 0, ram, 0xffff_ffff}, [4]uint64{two}},
			{"a function has 4 bytes", abi.Subscribe, [4]uint64{probeDriver, 0, brk - 4, 1}, [4]uint64{two, ram, 0xffff_ffff}},
			{"a pair that was passed: Failure with two u32", abi.Subscribe, [4]uint64{probeDriver, 0, brk - 3, 2}, [4]uint64{failedTwo, inval, brk - 3, 2}},
			{"an address that would wrap at 4 GiB", abi.Subscribe, [4]uint64{probeDriver, 0, 0xffff_fffe, 2}, [4]uint64{failedTwo, inval, 0xffff_fffe, 2}},
			{"a buffer that was replaced", abi.AllowReadWrite, [4]uint64{probeDriver, 0, ram, 16}, [4]uint64{two}},
			{"a buffer that was passed", abi.AllowReadWrite, [4]uint64{probeDriver, 0, ram, 0xffff_ffff}, [4]uint64{failedTwo, inval, ram, 0xffff_ffff}},
			{"the buffer before", abi.AllowReadWrite, [4]uint64{probeDriver, 0, 0, 0}, [4]uint64{two, ram, 16}},
			{"read-only", abi.AllowReadOnly, [4]uint64{probeDriver, 9, ram, 16}, [4]uint64{failedTwo, nosupport, ram, 16}},
			{"userspace-readable", abi.AllowUserspaceReadable, [4]uint64{probeDriver, 0, ram, 16}, [4]uint64{failedTwo, nosupport, ram, 16}},
			{"a 64-bit value takes two words, the low one first", abi.Command, [4]uint64{plainDriver, 1, 0x1234, 0x5678}, [4]uint64{uint64(abi.SuccessU64), 0x1234, 0x5678}},
			{"an address is a u32", abi.Memop, [4]uint64{abi.MemopRAMStart}, [4]uint64{value, ram}},
			{"sbrk up", abi.Memop, [4]uint64{abi.MemopSbrk, 0x800}, [4]uint64{value, brk}},
			{"sbrk down is signed in 32 bits", abi.Memop, [4]uint64{abi.MemopSbrk, 0xffff_f800}, [4]uint64{value, brk + 0x800}},
			{"sbrk too far down", abi.Memop, [4]uint64{abi.MemopSbrk, 0x8000_0000}, failed(abi.NOMEM)},
			{"no FS base", abi.Memop, [4]uint64{abi.MemopSetFSBase, 0}, failed(abi.NOSUPPORT)},
			{"no GS base", abi.Memop, [4]uint64{abi.MemopSetGSBase, 0}, failed(abi.NOSUPPORT)},
		} {
			assert.Equal(t, s.want, k.Syscall(s.class, s.words[:]...), s.name)
		}
	}, bits32)
	assert.False(t, m.Run())
	assert.Regexp(t, `task 1 task: .*, 32-bit\n`, m.Log.String())
}

// The CPU is told how a task calls, and is given the memory that its words lie in.
func TestStartOf32BitTasks(t *testing.T) {
	m := newMachine(t)
	for _, bits := range []int{32, 64} {
		m.AddTask("task", func(k *kerneltest.Task) {
			assert.Equal(t, bits == 32, k.Start.Bits32)
			memory, ram, brk := k.Start.Memory, k.Start.RAMStart, k.Start.InitialBreak
			assert.True(t, memory.WriteU32s(brk-8, []uint32{0x8765_4321, 2}))
			assert.Equal(t, []byte{0x21, 0x43, 0x65, 0x87, 2, 0, 0, 0}, k.Load(brk-8, 8))
			assert.False(t, memory.WriteU32s(brk-4, []uint32{3, 4}), "half of it is above the break")
			assert.False(t, memory.WriteU32s(ram-4, []uint32{3, 4}))
			assert.EqualValues(t, 2, memory.ReadU32(brk-4))
			assert.EqualValues(t, 0x2_8765, memory.ReadU32(brk-6), "unaligned")
			assert.Zero(t, memory.ReadU32(brk-3))
			assert.Zero(t, memory.ReadU32(ram-1))
			assert.Zero(t, memory.ReadU32(k.Start.AppStart), "flash is no stack")
		}, func(s *tbfbuild.Spec) { s.ABI64 = bits == 64 })
	}
	assert.False(t, m.Run())
}

// Start code may move the break to the end of its data before it moves ESP, as libtock-rs does,
// however small its stack is: the words of that call are still below the break.
func TestStartCodeOf32BitTasksMovesTheBreakFirst(t *testing.T) {
	const data = 0x20
	for _, stack := range []uint64{0x10, 0x100, 0x200, 0x800, 0xf00, 0x1000} {
		m := newMachine(t)
		runs := 0
		m.AddTask("task", func(k *kerneltest.Task) {
			runs++
			ram, brk := k.Start.RAMStart, k.Start.InitialBreak
			assert.Equal(t, ram+36, brk)
			words := brk - 20 - 16 // five words of the first call, the four of Memop
			assert.GreaterOrEqual(t, words, ram)
			variant, _ := k.Memop(abi.MemopBrk, ram+stack+data)
			assert.EqualValues(t, abi.Success, variant)
			assert.True(t, k.Start.Memory.WriteU32s(words, []uint32{1, 2, 3, 4}), "the results find a place")
			assert.True(t, k.Start.Memory.WriteU32s(ram+stack-16, []uint32{1, 2, 3, 4}), "so do those of the next call")
			if runs == 1 {
				k.Restart(0)
			}
		}, bits32)
		assert.False(t, m.Run())
		assert.Equal(t, 2, runs, "stack of %#x", stack)
	}
}

// Upcalls and restarts of a 32-bit task are those of any other.
func TestUpcallsOf32BitTasks(t *testing.T) {
	m := newMachine(t)
	runs := 0
	m.AddTask("task", func(k *kerneltest.Task) {
		runs++
		called := false
		fn := k.Function(func(args [3]uint32, userdata uint64) {
			called = true
			assert.Equal(t, [3]uint32{0xffff_ffff, 0, 1}, args)
			assert.EqualValues(t, 0xfedc_ba98, userdata)
		})
		k.Subscribe(probeDriver, 1, fn, 0xfedc_ba98)
		k.Command(probeDriver, probeSchedule, 1, 0xffff_ffff)
		k.Wait()
		assert.True(t, called)
		k.Command(probeDriver, probeSchedule, 2, 7)
		assert.Equal(t, [4]uint64{7, 8, 9}, k.WaitFor(probeDriver, 2))
		if runs == 1 {
			k.Restart(3)
		}
		assert.True(t, k.Start.Bits32, "after a restart")
	}, bits32)
	assert.False(t, m.Run())
	assert.Equal(t, 2, runs)
}

// A 32-bit task lies below 4 GiB whole; a 64-bit one need not.
func TestHighestPlaceOf32BitTasks(t *testing.T) {
	const ramSize = 5 * abi.PageSize
	for _, tt := range []struct {
		ram    uint32
		abi64  bool
		loaded int
	}{
		{1<<32 - ramSize - abi.PageSize, false, 1},
		{1<<32 - ramSize, false, 0}, // its end would be 0 in 32 bits
		{1<<32 - abi.PageSize, false, 0},
		{1<<32 - abi.PageSize, true, 1},
	} {
		m := newMachine(t)
		m.AddTask("task", nothing, func(s *tbfbuild.Spec) {
			s.ABI64, s.FixedAddresses = tt.abi64, &tbf.FixedAddresses{RAM: tt.ram, Flash: tbf.Unset}
		})
		assert.Equal(t, tt.loaded, m.Load(), "RAM at %#x: %s", tt.ram, m.Log.String())
	}
}
