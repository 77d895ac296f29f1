package kernel_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// interesting are the words at the edges of what a task may pass. A fuzzed word picks one
// of them and adds a small offset.
func interesting(k *kerneltest.Task) []uint64 {
	return []uint64{
		0, 1, probeDriver, otherDriver, absentDriver, probeSchedule, ^uint64(0), 1 << 63, 1 << 32,
		k.Start.RAMStart, k.Start.InitialBreak, k.Start.RAMStart + k.Start.RAMSize,
		abi.FlashStart, k.Start.AppStart, abi.FlashStart + abi.PageSize, abi.UserMax, abi.KernelBase,
	}
}

// fuzzProgram makes the system calls that the bytes spell out, 13 bytes each, compares each
// answer with the model's, and checks the task's memory after it.
func fuzzProgram(t *testing.T, m *machine, calls []byte) kerneltest.Program {
	return func(k *kerneltest.Task) {
		k.Function(func([3]uint32, uint64) {})
		words := interesting(k)
		rules := newModel(k)
		for len(calls) >= 13 {
			call := calls[:13]
			calls = calls[13:] // now, for the task may not come back from the call
			var args [4]uint64
			for i := range args {
				b := call[1+3*i:]
				args[i] = words[int(b[0])%len(words)] + uint64(int64(int16(binary.LittleEndian.Uint16(b[1:]))))
				if k.Start.Bits32 {
					args[i] &= 0xffff_ffff
				}
			}
			rules.check(t, abi.Class(call[0]%10), args)
			checkMemory(t, m, k)
		}
	}
}

// checkMemory asserts what must always hold: the order of the breaks, and that the
// hardware shows the task its own object and its RAM up to the break's page, all of it
// and nothing else.
func checkMemory(t *testing.T, m *machine, k *kerneltest.Task) {
	_, start := k.Memop(abi.MemopRAMStart, 0)
	_, brk := k.Memop(abi.MemopSbrk, 0)
	_, grants := k.Memop(abi.MemopGrantStart, 0)
	_, end := k.Memop(abi.MemopRAMEnd, 0)
	require.True(t, start <= brk && brk < grants && grants <= end,
		"RAM %#x, break %#x, grants %#x, end %#x", start, brk, grants, end)
	var pages []uint64
	k.Mapped(func(addr uint64, _ []byte, rights kernel.Rights) {
		if rights == kernel.ReadWrite {
			pages = append(pages, addr)
		} else {
			require.Equal(t, uint64(abi.FlashStart), addr, "the only page to execute")
		}
	})
	slices.Sort(pages)
	var want []uint64
	for addr := start; addr < brk; addr += abi.PageSize {
		want = append(want, addr)
	}
	require.Equal(t, want, pages, "pages to write, break %#x", brk)
	require.LessOrEqual(t, start+uint64(len(pages))*abi.PageSize, grants, "no page reaches into the grants")
	requireSeparate(t, m)
}

// requireSeparate asserts that no memory is mapped for two tasks.
func requireSeparate(t *testing.T, m *machine) {
	owner := map[*byte]int{}
	for slot := range 2 {
		m.Task(slot).Mapped(func(addr uint64, mem []byte, _ kernel.Rights) {
			other, taken := owner[&mem[0]]
			require.False(t, taken, "page %#x of slot %d is also mapped in slot %d", addr, slot, other)
			owner[&mem[0]] = slot
		})
	}
}

func FuzzSystemCalls(f *testing.F) {
	call := func(class byte, words ...byte) []byte { return append([]byte{class}, words...) }
	f.Add(call(5, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0), call(5, 1, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(call(1, 2, 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0), call(2, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(call(3, 2, 0, 0, 0, 0, 0, 9, 0, 0, 1, 16, 0), call(4, 2, 0, 0, 0, 0, 0, 10, 0xff, 0xff, 1, 0, 0))
	f.Add(call(0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0), call(6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(call(9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), call(7, 2, 0, 0, 0, 0, 0, 9, 0, 0, 1, 0, 0))
	// A smaller buffer than before, and the break between their ends; a pair of 64-bit words,
	// replaced; segment bases at the edge.
	f.Add(slices.Concat(call(3, 2, 0, 0, 0, 0, 0, 9, 0, 0, 1, 15, 0), call(3, 2, 0, 0, 1, 0, 0, 9, 0, 0, 1, 0, 0),
		call(5, 0, 0, 0, 9, 8, 0, 0, 0, 0, 0, 0, 0)), []byte(nil))
	f.Add(slices.Concat(call(1, 2, 0, 0, 0, 0, 0, 13, 0, 0, 7, 0, 0), call(1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), []byte(nil))
	f.Add(slices.Concat(call(5, 0, abi.MemopSetFSBase, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0),
		call(5, 0, abi.MemopSetGSBase, 0, 15, 0xff, 0xff, 0, 0, 0, 0, 0, 0)), []byte(nil))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m := newMachine(t)
		m.Policy = &kernel.FaultLimit{Restarts: 3, Dump: true}
		m.probe.hook = func(kernel.TaskID, uint32, uint32) kernel.Result { return kernel.Done() }
		m.other.hook = m.probe.hook
		m.AddTask("first", fuzzProgram(t, m, first[:min(len(first), 1300)]), nil)
		m.AddTask("second", fuzzProgram(t, m, second[:min(len(second), 1300)]), bits32)
		m.Run()
		m.Tasks()
	})
}

// FuzzLoad loads any bytes as two places, with headers sealed so that not all is lost to the
// checksum. No two tasks are one application, and each has memory of its own.
func FuzzLoad(f *testing.F) {
	object := func(change func(*tbfbuild.Spec)) []byte { return kerneltest.Object(f, "object", change) }
	old := object(func(s *tbfbuild.Spec) { s.ShortID, s.SHA256 = 7, true })
	f.Add(old, object(func(s *tbfbuild.Spec) { s.ShortID, s.Version = 7, 2 }), uint8(0))
	f.Add(append(slices.Clone(old), old...), object(nil), uint8(1))
	f.Add(object(func(s *tbfbuild.Spec) { s.Credentials = uncheckable }), []byte(nil), uint8(2))
	f.Fuzz(func(t *testing.T, first, second []byte, policy uint8) {
		m := newMachine(t)
		m.Credentials = &kernel.SHA256Credentials{Require: policy&1 != 0}
		if policy&2 != 0 {
			m.Identity = &kernel.NameIdentity{}
		}
		m.AddObject(sealed(first))
		m.NextPlace()
		m.AddObject(sealed(second))
		loaded := m.Load()
		require.Equal(t, loaded, strings.Count(m.Log.String(), ": flash 0x"))
		seen := map[uint32]bool{}
		var task kernel.Task
		m.Kernel.EachTask(m.Capabilities.TaskManagement, &task, func() {
			loaded--
			if id, ok := task.ShortID(); ok {
				require.False(t, seen[id], "two tasks have ShortID %#x: %s", id, m.Log.String())
				seen[id] = true
			}
		})
		require.Zero(t, loaded)
		requireSeparate(t, m)
	})
}

// sealed is a copy of objects with checksums that fit.
func sealed(objects []byte) []byte {
	objects = slices.Clone(objects)
	for rest := objects; ; {
		size, ok := tbf.Length(rest)
		if !ok {
			return objects
		}
		if header := int(binary.LittleEndian.Uint16(rest[tbf.OffsetHeaderSize:])); header >= tbf.BaseSize && header <= size {
			tbfbuild.Seal(rest)
		}
		rest = rest[min(int(abi.PageUp(uint64(size))), len(rest)):]
	}
}
