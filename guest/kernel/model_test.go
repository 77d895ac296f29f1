package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

// A model says what a task's system calls are to answer, by docs/abi.md, from the calls that
// the task made before in this run.
type model struct {
	task     *kerneltest.Task
	flashEnd uint64
	brk      uint64            // the app break
	shared   uint64            // the highest end of a buffer in RAM that was ever shared
	grants   uint64            // where they begin
	drivers  map[uint64]*slots // those whose grant is allocated
}

// slots is what the task gave a driver: pairs by Subscribe and Allow number.
type slots struct {
	upcalls [3][2]uint64
	buffers map[abi.Class]*[2][2]uint64
	count   uint32 // the probe's counter
}

// probeGrant is what the grant of a probe takes of a task's RAM: three upcalls, four buffers
// and a counter.
const probeGrant = 3*32 + 4*16 + 16

func newModel(k *kerneltest.Task) *model {
	_, end := k.Memop(abi.MemopFlashEnd, 0)
	ram := k.Start.RAMStart
	return &model{k, end, k.Start.InitialBreak, ram, ram + k.Start.RAMSize, map[uint64]*slots{}}
}

// check makes a call, which may not return, and compares the answer.
func (m *model) check(t *testing.T, class abi.Class, args [4]uint64) {
	want, known := m.answer(class, args)
	got := m.task.Syscall(class, args[:]...)
	if known {
		require.Equal(t, want, got, "class %d, words %#x", class, args)
	}
	require.LessOrEqual(t, class, abi.Class(abi.AllowUserspaceReadable), "a class that there is not returned")
}

// answer returns the words of the answer, and whether the model knows them, and follows.
func (m *model) answer(class abi.Class, args [4]uint64) (words [4]uint64, known bool) {
	driver, number := args[0]&0xffff_ffff, args[1]&0xffff_ffff
	switch class {
	case abi.Yield:
		return [4]uint64{}, driver > abi.YieldWaitFor
	case abi.Subscribe:
		return m.swap(abi.SuccessFnUserdata, abi.FailureFnUserdata, args, m.upcall(driver, number, args[2])), true
	case abi.Command:
		return m.command(driver, number, uint32(args[2]), uint32(args[3])), true
	case abi.AllowReadWrite, abi.AllowReadOnly, abi.AllowUserspaceReadable:
		words = m.swap(abi.SuccessAddrLen, abi.FailureAddrLen, args, m.buffer(class, driver, number, args[2], args[3]))
		if abi.Variant(words[0]) >= abi.Success && args[3] != 0 && m.inRAM(args[2], args[3]) {
			m.shared = max(m.shared, args[2]+args[3])
		}
		return words, true
	case abi.Memop:
		return m.memop(driver, args[1]), true
	case abi.Exit:
		return m.failure(abi.NOSUPPORT), driver > abi.ExitRestart
	}
	return words, false
}

// A place is where a pair is put, or why it is not.
type place struct {
	at  *[2]uint64
	err abi.ErrorCode
}

// swap puts the words 2 and 3 into a place.
func (m *model) swap(success, failure abi.Variant, args [4]uint64, p place) [4]uint64 {
	if p.err != abi.OK {
		return m.words(failure, uint64(p.err), args[2], args[3])
	}
	old := *p.at
	*p.at = [2]uint64{args[2], args[3]}
	return m.words(success, old[0], old[1], 0)
}

func (m *model) upcall(driver, number, fn uint64) place {
	size := uint64(8)
	if m.task.Start.Bits32 {
		size = 4
	}
	if fn != 0 && !m.readable(fn, size) {
		return place{err: abi.INVAL}
	}
	s, err := m.slots(driver, number < 3)
	if err != abi.OK {
		return place{err: err}
	}
	return place{at: &s.upcalls[number]}
}

func (m *model) buffer(class abi.Class, driver, number, addr, size uint64) place {
	if size != 0 && !m.inRAM(addr, size) && !(class == abi.AllowReadOnly && m.readable(addr, size)) {
		return place{err: abi.INVAL}
	}
	s, err := m.slots(driver, number < 2 && class != abi.AllowUserspaceReadable)
	if err != abi.OK {
		return place{err: err}
	}
	return place{at: &s.buffers[class][number]}
}

// slots is what a driver keeps for the task, its grant allocated. supported says whether it
// has that number.
func (m *model) slots(driver uint64, supported bool) (*slots, abi.ErrorCode) {
	switch {
	case driver == plainDriver:
		return nil, abi.NOSUPPORT
	case driver != probeDriver && driver != otherDriver:
		return nil, abi.NODEVICE
	case !supported:
		return nil, abi.NOSUPPORT
	}
	if m.drivers[driver] == nil {
		if m.grants-probeGrant < pageUp(m.brk) || m.grants-probeGrant <= m.brk {
			return nil, abi.NOMEM
		}
		m.grants -= probeGrant
		m.drivers[driver] = &slots{buffers: map[abi.Class]*[2][2]uint64{abi.AllowReadWrite: {}, abi.AllowReadOnly: {}}}
	}
	return m.drivers[driver], abi.OK
}

func (m *model) command(driver, command uint64, a0, a1 uint32) [4]uint64 {
	if driver == plainDriver {
		if command == 1 {
			return m.words(abi.SuccessU64, uint64(a1)<<32|uint64(a0), 0, 0)
		}
		return m.words(abi.Success, 0, 0, 0)
	}
	if driver != probeDriver && driver != otherDriver {
		return m.failure(abi.NODEVICE)
	}
	switch command {
	case probeExists, probeHook:
		return m.words(abi.Success, 0, 0, 0)
	case probeSchedule:
		_, err := m.slots(driver, true)
		if err == abi.OK && a0 >= 3 {
			err = abi.INVAL
		}
		if err != abi.OK {
			return m.failure(err)
		}
		return m.words(abi.Success, 0, 0, 0)
	case probeCount:
		s, err := m.slots(driver, true)
		if err != abi.OK {
			return m.failure(err)
		}
		s.count += a0
		return m.words(abi.SuccessU32, uint64(s.count), 0, 0)
	}
	return m.failure(abi.NOSUPPORT)
}

func (m *model) memop(op, arg uint64) [4]uint64 {
	ram := m.task.Start.RAMStart
	switch op {
	case abi.MemopBrk:
		if !m.moveBreak(arg) {
			return m.failure(abi.NOMEM)
		}
		return m.words(abi.Success, 0, 0, 0)
	case abi.MemopSbrk:
		old, delta := m.brk, int64(arg)
		if m.task.Start.Bits32 {
			delta = int64(int32(arg))
		}
		if (delta < 0) != (old+uint64(delta) < old) || !m.moveBreak(old+uint64(delta)) {
			return m.failure(abi.NOMEM)
		}
		return m.words(abi.SuccessAddress, old, 0, 0)
	case abi.MemopRAMStart:
		return m.words(abi.SuccessAddress, ram, 0, 0)
	case abi.MemopRAMEnd:
		return m.words(abi.SuccessAddress, ram+m.task.Start.RAMSize, 0, 0)
	case abi.MemopFlashEnd:
		return m.words(abi.SuccessAddress, m.flashEnd, 0, 0)
	case abi.MemopFlashStart:
		return m.words(abi.SuccessAddress, abi.FlashStart, 0, 0)
	case abi.MemopGrantStart:
		return m.words(abi.SuccessAddress, m.grants, 0, 0)
	case abi.MemopFlashRegions:
		return m.words(abi.SuccessU32, 0, 0, 0)
	case abi.MemopRegionStart, abi.MemopRegionEnd:
		return m.failure(abi.FAIL)
	case abi.MemopSetStackTop, abi.MemopSetHeapStart:
		return m.words(abi.Success, 0, 0, 0)
	case abi.MemopSetFSBase, abi.MemopSetGSBase:
		switch {
		case m.task.Start.Bits32:
			return m.failure(abi.NOSUPPORT)
		case arg >= abi.UserMax:
			return m.failure(abi.INVAL)
		}
		return m.words(abi.Success, 0, 0, 0)
	}
	return m.failure(abi.NOSUPPORT)
}

// moveBreak reports whether the break can be there, and puts it there.
func (m *model) moveBreak(addr uint64) bool {
	if addr < m.shared || addr >= m.grants || pageUp(addr) > m.grants {
		return false
	}
	m.brk = addr
	return true
}

func (m *model) inRAM(addr, size uint64) bool {
	return holds(m.task.Start.RAMStart, m.brk, addr, size)
}

func (m *model) readable(addr, size uint64) bool {
	return m.inRAM(addr, size) || holds(m.task.Start.AppStart, m.flashEnd, addr, size)
}

// holds reports whether start to end holds so many bytes at addr.
func holds(start, end, addr, size uint64) bool {
	return addr >= start && addr+size >= addr && addr+size <= end
}

func pageUp(addr uint64) uint64 { return (addr + abi.PageSize - 1) &^ (abi.PageSize - 1) }

func (m *model) failure(e abi.ErrorCode) [4]uint64 { return m.words(abi.Failure, uint64(e), 0, 0) }

// words are an answer as the task gets it: 32-bit tasks know fewer variants.
func (m *model) words(v abi.Variant, a, b, c uint64) [4]uint64 {
	if !m.task.Start.Bits32 {
		return [4]uint64{uint64(v), a, b, c}
	}
	switch v {
	case abi.FailureFnUserdata, abi.FailureAddrLen:
		v = abi.Failure2U32
	case abi.SuccessFnUserdata, abi.SuccessAddrLen:
		v = abi.Success2U32
	case abi.SuccessAddress:
		v = abi.SuccessU32
	case abi.SuccessU64:
		a, b = a&0xffff_ffff, a>>32
	}
	return [4]uint64{uint64(v), a, b, c}
}
