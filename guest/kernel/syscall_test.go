package kernel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

func TestCommandRules(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		high := uint64(0xdead_beef_0000_0000)
		for name, c := range map[string]struct {
			words [4]uint64
			want  [4]uint64
		}{
			"command 0 of a present driver succeeds":     {[4]uint64{probeDriver}, [4]uint64{success}},
			"an absent driver is NODEVICE":               {[4]uint64{absentDriver}, failed(abi.NODEVICE)},
			"an unknown command is NOSUPPORT":            {[4]uint64{probeDriver, 99}, failed(abi.NOSUPPORT)},
			"upper halves of words are ignored":          {[4]uint64{high | probeDriver, high | probeCount, high | 7}, [4]uint64{value, 7}},
			"a 64-bit value takes one register":          {[4]uint64{plainDriver, 1, 0x1234, 0x5678}, [4]uint64{uint64(abi.SuccessU64), 0x5678_0000_1234}},
			"a driver without a grant serves commands":   {[4]uint64{plainDriver}, [4]uint64{success}},
			"an upcall number out of range is an error":  {[4]uint64{probeDriver, probeSchedule, 3}, failed(abi.INVAL)},
			"an upcall number near 2^32 is no exception": {[4]uint64{probeDriver, probeSchedule, 0xffff_ffff}, failed(abi.INVAL)},
		} {
			assert.Equal(t, c.want, k.Syscall(abi.Command, c.words[:]...), name)
		}
	})
}

func TestSubscribeRules(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		fn := k.Function(nil)
		other := k.Function(nil)
		ram := k.Start.RAMStart
		steps := []struct {
			name   string
			driver uint64
			number uint64
			fn     uint64
			data   uint64
			want   [4]uint64
		}{
			{"the first returns nothing", probeDriver, 0, fn, 1, [4]uint64{swapped}},
			{"the second returns the first pair", probeDriver, 0, other, 0xffff_ffff_ffff_ffff, [4]uint64{swapped, fn, 1}},
			{"null unsubscribes, and userdata is bit-exact", probeDriver, 0, 0, 7, [4]uint64{swapped, other, 0xffff_ffff_ffff_ffff}},
			{"userdata of null is kept", probeDriver, 0, fn, 2, [4]uint64{swapped, 0, 7}},
			{"numbers are independent", probeDriver, 2, fn, 3, [4]uint64{swapped}},
			{"a number out of range is NOSUPPORT", probeDriver, 3, fn, 4, [4]uint64{unswapped, uint64(abi.NOSUPPORT), fn, 4}},
			{"an absent driver is NODEVICE with the passed pair", absentDriver, 0, fn, 5, [4]uint64{unswapped, uint64(abi.NODEVICE), fn, 5}},
			{"a driver without upcalls is NOSUPPORT", plainDriver, 0, fn, 6, [4]uint64{unswapped, uint64(abi.NOSUPPORT), fn, 6}},
			{"a function in no memory is INVAL", probeDriver, 0, 0x1000, 7, [4]uint64{unswapped, uint64(abi.INVAL), 0x1000, 7}},
			{"a function that wraps is INVAL", probeDriver, 0, ^uint64(0), 8, [4]uint64{unswapped, uint64(abi.INVAL), ^uint64(0), 8}},
			{"a function in the header is INVAL", probeDriver, 0, abi.FlashStart, 9, [4]uint64{unswapped, uint64(abi.INVAL), abi.FlashStart, 9}},
			{"a function above the break is INVAL", probeDriver, 0, k.Start.InitialBreak, 9, [4]uint64{unswapped, uint64(abi.INVAL), k.Start.InitialBreak, 9}},
			{"a function across the break is INVAL", probeDriver, 0, k.Start.InitialBreak - 7, 9, [4]uint64{unswapped, uint64(abi.INVAL), k.Start.InitialBreak - 7, 9}},
			{"a function in RAM is accepted, and errors changed nothing", probeDriver, 0, ram, 10, [4]uint64{swapped, fn, 2}},
		}
		for _, s := range steps {
			assert.Equal(t, s.want, k.Subscribe(s.driver, s.number, s.fn, s.data), s.name)
		}
	})
}

func TestAllowRules(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		ram, brk := k.Start.RAMStart, k.Start.InitialBreak
		flash := k.Start.AppStart
		_, flashEnd := k.Memop(abi.MemopFlashEnd, 0)
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		inval := func(addr, n uint64) [4]uint64 { return [4]uint64{refused, uint64(abi.INVAL), addr, n} }
		rw, ro, class7 := abi.AllowReadWrite, abi.AllowReadOnly, abi.AllowUserspaceReadable
		steps := []struct {
			name         string
			class        abi.Class
			driver, n    uint64
			addr, length uint64
			want         [4]uint64
		}{
			{"the first returns nothing", rw, probeDriver, 0, ram, 16, [4]uint64{allowed}},
			{"the second returns the first", rw, probeDriver, 0, ram + 8, 16, [4]uint64{allowed, ram, 16}},
			{"read-only slots are others", ro, probeDriver, 0, ram, 32, [4]uint64{allowed}},
			{"an identical buffer is legal", ro, probeDriver, 1, ram, 32, [4]uint64{allowed}},
			{"an overlapping buffer is legal", rw, probeDriver, 1, ram, 32, [4]uint64{allowed}},
			{"all RAM below the break", rw, probeDriver, 1, ram, brk - ram, [4]uint64{allowed, ram, 32}},
			{"one byte above the break", rw, probeDriver, 1, ram, brk - ram + 1, inval(ram, brk-ram+1)},
			{"one byte below RAM", rw, probeDriver, 1, ram - 1, 2, inval(ram-1, 2)},
			{"in the grants", rw, probeDriver, 1, grants, 8, inval(grants, 8)},
			{"read-only in the grants", ro, probeDriver, 1, grants, 8, inval(grants, 8)},
			{"address and length wrap", rw, probeDriver, 1, ram + 8, ^uint64(0) - ram, inval(ram+8, ^uint64(0)-ram)},
			{"the largest length", ro, probeDriver, 1, ram, ^uint64(0), inval(ram, ^uint64(0))},
			{"read-write in flash", rw, probeDriver, 1, flash, 8, inval(flash, 8)},
			{"read-only in flash", ro, probeDriver, 0, flash, flashEnd - flash, [4]uint64{allowed, ram, 32}},
			{"read-only beyond flash", ro, probeDriver, 0, flash, flashEnd - flash + 1, inval(flash, flashEnd-flash+1)},
			{"read-only of the header", ro, probeDriver, 0, abi.FlashStart, 8, inval(abi.FlashStart, 8)},
			{"the last byte of the header", ro, probeDriver, 0, flash - 1, 8, inval(flash-1, 8)},
			{"an empty buffer anywhere", rw, probeDriver, 0, 0xdead_beef_dead_beef, 0, [4]uint64{allowed, ram + 8, 16}},
			{"is given back as it was", rw, probeDriver, 0, 0, 0, [4]uint64{allowed, 0xdead_beef_dead_beef, 0}},
			{"an allow number out of range", rw, probeDriver, 2, ram, 8, [4]uint64{refused, uint64(abi.NOSUPPORT), ram, 8}},
			{"a huge allow number", ro, probeDriver, 0xffff_ffff, ram, 8, [4]uint64{refused, uint64(abi.NOSUPPORT), ram, 8}},
			{"an absent driver", ro, absentDriver, 0, ram, 8, [4]uint64{refused, uint64(abi.NODEVICE), ram, 8}},
			{"a driver without buffers", ro, plainDriver, 0, ram, 8, [4]uint64{refused, uint64(abi.NOSUPPORT), ram, 8}},
			{"class 7 is not supported", class7, probeDriver, 0, ram, 8, [4]uint64{refused, uint64(abi.NOSUPPORT), ram, 8}},
			{"class 7 is checked as read-write", class7, probeDriver, 0, flash, 8, inval(flash, 8)},
		}
		for _, s := range steps {
			assert.Equal(t, s.want, k.Syscall(s.class, s.driver, s.n, s.addr, s.length), s.name)
		}
	})
}

func TestMemopRules(t *testing.T) {
	m := runTask(t, func(k *kerneltest.Task) {
		ram, brk := k.Start.RAMStart, k.Start.InitialBreak
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		_, flash := k.Memop(abi.MemopFlashStart, 0)
		_, flashEnd := k.Memop(abi.MemopFlashEnd, 0)
		assert.Equal(t, []uint64{abi.RAMStart, abi.RAMStart + k.Start.RAMSize, abi.FlashStart}, []uint64{ram, end, flash})
		assert.True(t, ram <= brk && brk < grants && grants <= end, "RAM %#x, break %#x, grants %#x, end %#x", ram, brk, grants, end)
		assert.Greater(t, flashEnd, flash)
		assert.GreaterOrEqual(t, brk-ram, uint64(abi.InitialRAM))

		nomem := uint64(abi.NOMEM)
		steps := []struct {
			name           string
			op, arg        uint64
			variant, value uint64
		}{
			{"RAM start", abi.MemopRAMStart, 0, address, ram},
			{"sbrk of 0 is the break", abi.MemopSbrk, 0, address, brk},
			{"brk up", abi.MemopBrk, brk + 100, success, 0},
			{"sbrk returns the old break", abi.MemopSbrk, 28, address, brk + 100},
			{"sbrk down", abi.MemopSbrk, ^uint64(127), address, brk + 128},
			{"brk to RAM start", abi.MemopBrk, ram, success, 0},
			{"brk below RAM start", abi.MemopBrk, ram - 1, failure, nomem},
			{"brk to 0", abi.MemopBrk, 0, failure, nomem},
			{"brk to the largest address", abi.MemopBrk, ^uint64(0), failure, nomem},
			{"brk to RAM end", abi.MemopBrk, end, failure, nomem},
			{"brk to below RAM end, as there are no grants", abi.MemopBrk, end - 1, success, 0},
			{"brk back", abi.MemopBrk, brk, success, 0},
			{"sbrk that wraps up", abi.MemopSbrk, 1<<63 - 1, failure, nomem},
			{"sbrk that wraps down", abi.MemopSbrk, 1 << 63, failure, nomem},
			{"errors left the break alone", abi.MemopSbrk, 0, address, brk},
			{"there are no writeable regions", abi.MemopFlashRegions, 0, value, 0},
			{"region start of none", abi.MemopRegionStart, 0, failure, uint64(abi.FAIL)},
			{"region end of none", abi.MemopRegionEnd, ^uint64(0), failure, uint64(abi.FAIL)},
			{"stack top", abi.MemopSetStackTop, ^uint64(0), success, 0},
			{"heap start", abi.MemopSetHeapStart, ram + 64, success, 0},
			{"FS base", abi.MemopSetFSBase, abi.UserMax - 1, success, 0},
			{"GS base", abi.MemopSetGSBase, ram, success, 0},
			{"FS base not below 2^47", abi.MemopSetFSBase, abi.UserMax, failure, uint64(abi.INVAL)},
			{"upper halves of the operation are ignored", 1<<32 | abi.MemopRAMStart, 0, address, ram},
			{"an unknown operation", 14, 0, failure, uint64(abi.NOSUPPORT)},
		}
		for _, s := range steps {
			variant, value := k.Memop(s.op, s.arg)
			assert.Equal(t, [2]uint64{s.variant, s.value}, [2]uint64{variant, value}, s.name)
		}
		assert.Equal(t, [2]uint64{abi.UserMax - 1, ram}, [2]uint64{k.FS, k.GS})
	})
	assert.Equal(t, uint32(abi.ExitOK), m.Kernel.ExitStatus())
}

func TestBreakZeroesWhatItExposes(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		brk := k.Start.InitialBreak
		k.Memop(abi.MemopBrk, brk+100)
		assert.Equal(t, make([]byte, 100), k.Load(brk, 100), "memory that nobody had")
		assert.Equal(t, make([]byte, abi.PageSize), k.Load(brk, abi.PageSize), "all that the hardware shows of it")
		k.Store(brk, 1, 2, 3)
		k.Memop(abi.MemopBrk, brk+1)
		k.Memop(abi.MemopBrk, brk+100)
		assert.Equal(t, []byte{1, 0, 0}, k.Load(brk, 3), "after shrinking and growing")
	})
}

func TestBreakStaysAboveSharedBuffers(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		brk := k.Start.InitialBreak
		k.AllowRW(probeDriver, 0, brk-16, 16)
		nomem := func(addr uint64, name string) {
			variant, e := k.Memop(abi.MemopBrk, addr)
			assert.Equal(t, [2]uint64{failure, uint64(abi.NOMEM)}, [2]uint64{variant, e}, name)
		}
		nomem(brk-1, "while the buffer is shared")
		k.AllowRW(probeDriver, 0, 0, 0)
		nomem(brk-1, "after it was taken back")
		k.AllowRO(probeDriver, 0, k.Start.AppStart, 8)
		variant, _ := k.Memop(abi.MemopBrk, brk)
		assert.Equal(t, success, variant, "its end itself is allowed")
	})
}

func TestBreakStaysBelowGrants(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		require.Equal(t, swapped, k.Subscribe(probeDriver, 0, 0, 0)[0])
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		assert.Less(t, grants, end)
		for _, addr := range []uint64{grants - 1, grants, grants + 1, end - abi.PageSize + 1} {
			variant, _ := k.Memop(abi.MemopBrk, addr)
			assert.Equal(t, failure, variant, "break at %#x, in the page of the grants at %#x", addr, grants)
		}
		variant, _ := k.Memop(abi.MemopBrk, end-abi.PageSize)
		assert.Equal(t, success, variant, "break at the start of that page")
	})
}

func TestYieldWithoutUpcalls(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		assert.False(t, k.NoWait(), "NoWait with an empty queue")
		for _, addr := range []uint64{0, k.Start.InitialBreak, k.Start.AppStart, ^uint64(0)} {
			assert.Equal(t, [4]uint64{}, k.Syscall(abi.Yield, abi.YieldNoWait, addr), "NoWait with byte at %#x", addr)
		}
		assert.Equal(t, [4]uint64{}, k.Syscall(abi.Yield, 3, k.Start.RAMStart), "an unknown kind returns at once")
	})
}

func TestUpcallsRunInOrder(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		type call struct {
			driver   int
			args     [3]uint32
			userdata uint64
		}
		var calls []call
		record := func(driver int) uint64 {
			return k.Function(func(args [3]uint32, userdata uint64) { calls = append(calls, call{driver, args, userdata}) })
		}
		k.Subscribe(probeDriver, 1, record(1), 0xfedc_ba98_7654_3210)
		k.Subscribe(otherDriver, 0, record(2), 2)
		k.Command(otherDriver, probeSchedule, 0, 0xffff_fff0)
		k.Command(probeDriver, probeSchedule, 1, 10)
		k.Command(otherDriver, probeSchedule, 0, 20)
		assert.Empty(t, calls, "upcalls run in a Yield only")
		assert.True(t, k.NoWait())
		assert.Len(t, calls, 1, "one upcall for each Yield")
		k.Wait()
		assert.True(t, k.NoWait())
		assert.False(t, k.NoWait())
		assert.Equal(t, []call{
			{2, [3]uint32{0xffff_fff0, 0xffff_fff1, 0xffff_fff2}, 2},
			{1, [3]uint32{10, 11, 12}, 0xfedc_ba98_7654_3210},
			{2, [3]uint32{20, 21, 22}, 2},
		}, calls)
	})
}

func TestYieldWithinAnUpcall(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		var order []string
		inner := k.Function(func([3]uint32, uint64) { order = append(order, "inner") })
		outer := k.Function(func([3]uint32, uint64) {
			order = append(order, "outer begins")
			k.Wait()
			order = append(order, "outer ends")
		})
		k.Subscribe(probeDriver, 0, outer, 0)
		k.Subscribe(probeDriver, 1, inner, 0)
		k.Command(probeDriver, probeSchedule, 0, 0)
		k.Command(probeDriver, probeSchedule, 1, 0)
		k.Wait()
		assert.Equal(t, []string{"outer begins", "inner", "outer ends"}, order)
	})
}

func TestSubscribeDropsWaitingUpcalls(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		ran := 0
		fn := k.Function(func([3]uint32, uint64) { ran++ })
		k.Subscribe(probeDriver, 0, fn, 0)
		k.Subscribe(probeDriver, 1, fn, 0)
		k.Command(probeDriver, probeSchedule, 0, 0)
		k.Command(probeDriver, probeSchedule, 1, 0)
		k.Command(probeDriver, probeSchedule, 0, 0)
		k.Subscribe(probeDriver, 0, 0x1000, 0) // refused
		k.Subscribe(probeDriver, 0, 0, 0)
		for k.NoWait() {
		}
		assert.Equal(t, 1, ran, "only the other event's upcall is left")
		k.Command(probeDriver, probeSchedule, 1, 0)
		k.Subscribe(probeDriver, 1, 0x1000, 0)
		assert.True(t, k.NoWait(), "a refused Subscribe drops nothing")
	})
}

func TestWaitFor(t *testing.T) {
	waitFor := func(schedule func(k *kerneltest.Task), fn bool) kerneltest.Program {
		return func(k *kerneltest.Task) {
			ran := false
			if fn {
				k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) { ran = true }), 0)
			}
			schedule(k)
			assert.Equal(t, [4]uint64{5, 6, 7}, k.WaitFor(probeDriver, 0))
			assert.False(t, ran, "the upcall does not run")
			assert.False(t, k.NoWait(), "the event is used up")
		}
	}
	before := func(k *kerneltest.Task) { k.Command(probeDriver, probeSchedule, 0, 5) }
	t.Run("event before the call, subscribed", func(t *testing.T) { runTask(t, waitFor(before, true)) })
	t.Run("event before the call, not subscribed", func(t *testing.T) { runTask(t, waitFor(before, false)) })
	for name, fn := range map[string]bool{"subscribed": true, "not subscribed": false} {
		t.Run("event after the call, "+name, func(t *testing.T) {
			m := newMachine(t)
			var id kernel.TaskID
			m.probe.hook = func(i kernel.TaskID, _, _ uint32) kernel.Result { id = i; return kernel.Done() }
			m.AddTask("task", waitFor(func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0) }, fn), nil)
			m.CPU.OnIdle = func() { require.Equal(t, abi.OK, m.probe.schedule(id, 0, 5)) }
			require.False(t, m.Run())
		})
	}
}

func TestWaitForLeavesOtherEvents(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		var got []uint32
		fn := k.Function(func(args [3]uint32, _ uint64) { got = append(got, args[0]) })
		k.Subscribe(probeDriver, 0, fn, 0)
		k.Subscribe(probeDriver, 1, fn, 0)
		for i := range uint64(3) {
			k.Command(probeDriver, probeSchedule, 0, i)
			k.Command(probeDriver, probeSchedule, 1, 10+i)
		}
		assert.Equal(t, uint64(10), k.WaitFor(probeDriver, 1)[0])
		assert.Equal(t, uint64(11), k.WaitFor(probeDriver, 1)[0])
		for k.NoWait() {
		}
		assert.Equal(t, []uint32{0, 1, 2, 12}, got)
	})
}

func TestWaitForSleepsThroughOtherEvents(t *testing.T) {
	m := newMachine(t)
	var id kernel.TaskID
	m.probe.hook = func(i kernel.TaskID, _, _ uint32) kernel.Result { id = i; return kernel.Done() }
	m.AddTask("task", func(k *kerneltest.Task) {
		ran := 0
		k.Subscribe(probeDriver, 1, k.Function(func([3]uint32, uint64) { ran++ }), 0)
		k.Command(probeDriver, probeHook, 0, 0)
		assert.Equal(t, [4]uint64{3, 4, 5}, k.WaitFor(probeDriver, 0))
		assert.True(t, k.NoWait())
		assert.Equal(t, 1, ran, "the other event's upcall runs later")
	}, nil)
	events := []uint32{1, 2, 0}
	m.CPU.OnIdle = func() {
		require.NotEmpty(t, events)
		m.probe.schedule(id, events[0], 3)
		m.other.schedule(id, events[0], 9)
		events = events[1:]
	}
	assert.False(t, m.Run())
	assert.Empty(t, events)
}

func TestEventsForANullUpcall(t *testing.T) {
	t.Run("NoWait does not see them", func(t *testing.T) {
		runTask(t, func(k *kerneltest.Task) {
			k.Command(probeDriver, probeSchedule, 0, 1)
			assert.False(t, k.NoWait())
		})
	})
	t.Run("Wait does not wake", func(t *testing.T) {
		m := newMachine(t)
		m.AddTask("task", func(k *kerneltest.Task) {
			k.Command(probeDriver, probeSchedule, 0, 1)
			k.Wait()
		}, nil)
		assert.True(t, m.Run(), "the task sleeps for ever")
	})
	t.Run("the newest is kept, one for each number", func(t *testing.T) {
		runTask(t, func(k *kerneltest.Task) {
			for i := range uint64(20) {
				k.Command(probeDriver, probeSchedule, 0, i)
			}
			k.Command(probeDriver, probeSchedule, 1, 50)
			assert.Equal(t, [4]uint64{19, 20, 21}, k.WaitFor(probeDriver, 0))
			assert.Equal(t, [4]uint64{50, 51, 52}, k.WaitFor(probeDriver, 1))
		})
	})
	t.Run("each is used up by one WaitFor", func(t *testing.T) {
		m := newMachine(t)
		m.AddTask("task", func(k *kerneltest.Task) {
			k.Command(probeDriver, probeSchedule, 0, 1)
			k.WaitFor(probeDriver, 0)
			k.WaitFor(probeDriver, 0)
		}, nil)
		assert.True(t, m.Run(), "the task sleeps for ever")
	})
	t.Run("a new Subscribe clears them", func(t *testing.T) {
		m := newMachine(t)
		m.AddTask("task", func(k *kerneltest.Task) {
			k.Command(probeDriver, probeSchedule, 0, 1)
			k.Subscribe(probeDriver, 0, 0, 0)
			k.WaitFor(probeDriver, 0)
		}, nil)
		assert.True(t, m.Run(), "the task sleeps for ever")
	})
}

func TestWaitForWhatCannotHappen(t *testing.T) {
	for name, e := range map[string][2]uint64{
		"an absent driver":         {absentDriver, 0},
		"a driver without upcalls": {plainDriver, 0},
		"a number out of range":    {probeDriver, 3},
		"a grant not allocated":    {otherDriver, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) { k.WaitFor(e[0], e[1]) }, nil)
			assert.True(t, m.Run(), "the task sleeps for ever")
		})
	}
}

func TestFullQueue(t *testing.T) {
	m := runTask(t, func(k *kerneltest.Task) {
		var got []uint32
		k.Subscribe(probeDriver, 0, k.Function(func(args [3]uint32, _ uint64) { got = append(got, args[0]) }), 0)
		for i := range uint64(10) {
			assert.Equal(t, [4]uint64{success}, k.Command(probeDriver, probeSchedule, 0, i))
		}
		for i := range uint64(3) {
			assert.Equal(t, [4]uint64{success}, k.Command(probeDriver, probeSchedule, 0, 10+i), "the newest of those for which there is no room waits")
		}
		k.Command(otherDriver, probeSchedule, 0, 77)
		assert.Equal(t, uint64(77), k.WaitFor(otherDriver, 0)[0], "WaitFor works beside a full queue")
		for k.NoWait() {
		}
		assert.Equal(t, []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12}, got)
	})
	assert.Regexp(t, `task +Terminated +0 +\d+ +2 +0 +exit with code 0`, m.Tasks())
}

// TestLateEvents: events for which the queue has no room wait beside their subscriptions, and
// move to the queue in turn when there is room.
func TestLateEvents(t *testing.T) {
	full := func(k *kerneltest.Task, got *[]uint64) (fn uint64) {
		fn = k.Function(func(args [3]uint32, userdata uint64) { *got = append(*got, 1000*userdata+uint64(args[0])) })
		for i := range uint64(3) {
			k.Subscribe(probeDriver, i, fn, i+1)
			k.Subscribe(otherDriver, i, fn, i+4)
		}
		for i := range uint64(10) {
			k.Command(probeDriver, probeSchedule, 0, i)
		}
		k.Command(otherDriver, probeSchedule, 2, 1)
		k.Command(probeDriver, probeSchedule, 0, 10)
		k.Command(probeDriver, probeSchedule, 1, 2)
		k.Command(probeDriver, probeSchedule, 0, 11) // in the place of 10
		return fn
	}
	queued := []uint64{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, k *kerneltest.Task, fn uint64)
		want []uint64 // behind what is queued
	}{
		{"run", func(*testing.T, *kerneltest.Task, uint64) {}, []uint64{1011, 2002, 6001}},
		{"flooded all the while", func(_ *testing.T, k *kerneltest.Task, _ uint64) {
			for i := range uint64(8) {
				k.NoWait()
				k.Command(probeDriver, probeSchedule, 0, 100+i) // late
				k.Command(probeDriver, probeSchedule, 0, 200+i) // in its place
			}
		}, []uint64{1011, 2002, 6001, 1202, 1203, 1204, 1205, 1206, 1207}},
		{"waited for", func(t *testing.T, k *kerneltest.Task, _ uint64) {
			assert.Equal(t, [4]uint64{1, 2, 3}, k.WaitFor(otherDriver, 2))
			assert.Equal(t, [4]uint64{2, 3, 4}, k.WaitFor(probeDriver, 1))
		}, []uint64{1011}},
		{"subscribed anew", func(_ *testing.T, k *kerneltest.Task, fn uint64) { k.Subscribe(probeDriver, 1, fn, 9) }, []uint64{1011, 6001}},
		{"unsubscribed", func(_ *testing.T, k *kerneltest.Task, _ uint64) { k.Subscribe(otherDriver, 2, 0, 0) }, []uint64{1011, 2002}},
	} {
		t.Run(c.name, func(t *testing.T) {
			runTask(t, func(k *kerneltest.Task) {
				var got []uint64
				fn := full(k, &got)
				c.do(t, k, fn)
				for k.NoWait() {
				}
				assert.Equal(t, append(queued[:len(queued):len(queued)], c.want...), got)
			})
		})
	}
	t.Run("the queue's event is subscribed anew", func(t *testing.T) {
		runTask(t, func(k *kerneltest.Task) {
			var got []uint64
			fn := full(k, &got)
			k.Subscribe(probeDriver, 0, fn, 9) // drops ten that are queued and one that is late
			for k.NoWait() {
			}
			assert.Equal(t, []uint64{2002, 6001}, got)
		})
	})
	t.Run("restart", func(t *testing.T) {
		lives := 0
		runTask(t, func(k *kerneltest.Task) {
			var got []uint64
			if lives++; lives == 1 {
				full(k, &got)
				k.Restart(0)
			}
			assert.False(t, k.NoWait())
			full(k, &got)
			for k.NoWait() {
			}
			assert.Len(t, got, 13)
		})
	})
}

// TestLongNamesInTheTable: a name never touches the state, nor one number another.
func TestLongNamesInTheTable(t *testing.T) {
	for _, name := range []string{"seventeen letters", "eighteen letters!!", "nineteen letters!!!", strings.Repeat("long", 16)} {
		m := newMachine(t)
		m.AddTask(name, nothing, nil)
		assert.False(t, m.Run())
		assert.Regexp(t, `(?m)^   1  `+name+` +Terminated +0 +1 +0 +0  exit with code 0$`, m.Tasks())
	}
}

// TestNoTask: a machine without a task has a status of its own, and no table.
func TestNoTask(t *testing.T) {
	m := newMachine(t)
	assert.Equal(t, 0, m.Load())
	assert.False(t, m.Continue())
	assert.Equal(t, uint32(abi.ExitNoTask), m.Kernel.ExitStatus())
	assert.Empty(t, m.Tasks())
}

func TestExit(t *testing.T) {
	t.Run("terminate", func(t *testing.T) {
		m := runTask(t, func(k *kerneltest.Task) { k.Syscall(abi.Exit, 0xff_0000_0000|abi.ExitTerminate, 0xff_0000_0000|42) })
		assert.Regexp(t, `task +Terminated +0 +1 +0 +0 +exit with code 42`, m.Tasks())
		assert.Equal(t, uint32(42), m.Kernel.ExitStatus())
	})
	t.Run("a large code is clamped in the machine's status", func(t *testing.T) {
		m := runTask(t, func(k *kerneltest.Task) { k.Syscall(abi.Exit, abi.ExitTerminate, 1000) })
		assert.Equal(t, uint32(99), m.Kernel.ExitStatus())
	})
	t.Run("codes are signed where a person reads them", func(t *testing.T) {
		for code, want := range map[uint32]string{
			0xffff_ffff: "-1", 0x8000_0000: "-2147483648", 0x7fff_ffff: "2147483647", 0xffff_fc00: "-1024",
		} {
			m := runTask(t, func(k *kerneltest.Task) { k.Syscall(abi.Exit, abi.ExitTerminate, uint64(code)) })
			assert.Regexp(t, ` exit with code `+want+`\n`, m.Tasks())
			assert.Equal(t, uint32(99), m.Kernel.ExitStatus())
		}
	})
	t.Run("an unknown kind", func(t *testing.T) {
		runTask(t, func(k *kerneltest.Task) {
			assert.Equal(t, failed(abi.NOSUPPORT), k.Syscall(abi.Exit, 2, 0))
		})
	})
	t.Run("restart", func(t *testing.T) {
		run := 0
		m := runTask(t, func(k *kerneltest.Task) {
			run++
			if run == 3 {
				return
			}
			assert.Equal(t, make([]byte, 64), k.Load(k.Start.RAMStart, 64), "memory is clear")
			assert.False(t, k.NoWait(), "upcalls are gone")
			assert.Equal(t, [4]uint64{value, 1}, k.Command(probeDriver, probeCount, 1, 0), "grants are gone")
			assert.Equal(t, [4]uint64{swapped}, k.Subscribe(probeDriver, 0, k.Function(nil), 0), "subscriptions are gone")
			assert.Equal(t, [4]uint64{allowed}, k.AllowRW(probeDriver, 0, k.Start.RAMStart, 64), "buffers are gone")
			variant, brk := k.Memop(abi.MemopSbrk, 5000)
			assert.Equal(t, [2]uint64{address, k.Start.InitialBreak}, [2]uint64{variant, brk}, "the break is back")
			k.Store(k.Start.RAMStart, 1, 2, 3)
			k.Command(probeDriver, probeSchedule, 0, 0)
			k.Restart(9)
		})
		assert.Equal(t, 3, run)
		assert.Regexp(t, `\n +3  task +Terminated +2 `, m.Tasks(), "a new identifier for each run")
	})
	t.Run("restart forgets the high-water mark", func(t *testing.T) {
		run := 0
		runTask(t, func(k *kerneltest.Task) {
			if run++; run == 1 {
				k.AllowRW(probeDriver, 0, k.Start.RAMStart, 4096)
				k.Restart(0)
			}
			variant, _ := k.Memop(abi.MemopBrk, k.Start.RAMStart)
			assert.Equal(t, success, variant)
		})
	})
}
