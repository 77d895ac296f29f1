package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// loanOf is where a borrower finds what the task in a slot lends to it.
func loanOf(slot uint64) uint64 { return abi.LoanStart + slot*abi.LoanSize }

// newLoanMachine has the probe's hook notify slot a1, lending it buffer a0 of the caller, and
// answer with the size of the loan.
func newLoanMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.probe.hook = func(id kernel.TaskID, n, slot uint32) kernel.Result {
		if e := m.probe.grant.Slots().Notify(id, slot, 0, n, m.Capabilities.MemorySharing); e != abi.OK {
			return kernel.Failed(e)
		}
		return kernel.Value64(m.Kernel.Lent(id.Slot(), slot))
	}
	return m
}

func lent(size uint64) [4]uint64 { return [4]uint64{uint64(abi.SuccessU64), size} }

func TestLoanRules(t *testing.T) {
	m := newLoanMachine(t)
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+40*abi.PageSize)
		for _, c := range []struct {
			name         string
			addr, length uint64
			n, to        uint64
			want         [4]uint64
		}{
			{"a page", page, abi.PageSize, 1, 1, lent(abi.PageSize)},
			{"the same again", page, abi.PageSize, 1, 1, lent(abi.PageSize)},
			{"as much as can be", page, abi.LoanSize, 1, 1, lent(abi.LoanSize)},
			{"a page more", page, abi.LoanSize + abi.PageSize, 1, 1, failed(abi.SIZE)},
			{"nothing", 7, 0, 1, 1, lent(0)},
			{"begins within a page", page + 8, abi.PageSize, 1, 1, failed(abi.INVAL)},
			{"ends within a page", page, abi.PageSize - 8, 1, 1, failed(abi.INVAL)},
			{"to itself", page, abi.PageSize, 1, 0, failed(abi.INVAL)},
			{"to an empty slot", page, abi.PageSize, 1, 2, failed(abi.INVAL)},
			{"to no slot", page, abi.PageSize, 1, 99, failed(abi.INVAL)},
			{"a number that there is not", page, abi.PageSize, 2, 1, failed(abi.INVAL)},
		} {
			k.AllowRW(probeDriver, 1, c.addr, c.length)
			assert.Equal(t, c.want, k.Command(probeDriver, probeHook, c.n, c.to), c.name)
		}
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = 50 * abi.PageSize })
	m.AddTask("borrower", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
	assert.Panics(t, func() {
		m.probe.grant.Slots().Notify(m.byName("borrower").ID(), 0, 0, 0, capability.MemorySharing{})
	})
}

// TestLoanIsSharedMemory: both write and read the same bytes; the borrower cannot execute
// them, nor share them with a driver, nor reach what lies beside them.
func TestLoanIsSharedMemory(t *testing.T) {
	m := newLoanMachine(t)
	var seen []byte
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+2*abi.PageSize)
		k.Store(page, 1, 2, 3)
		k.AllowRW(probeDriver, 0, page, abi.PageSize)
		k.Command(probeDriver, probeHook, 0, 1)
		assert.Equal(t, lent(abi.PageSize), k.Command(probeDriver, probeHook, 0, 1), "it is lent already")
		k.Spin(30_000)
		seen = k.Load(page, 4)
	}, nil)
	m.AddTask("borrower", func(k *kerneltest.Task) {
		k.Spin(1)
		at := loanOf(0)
		assert.Equal(t, []byte{1, 2, 3}, k.Load(at, 3))
		k.Store(at+3, 4)
		assert.Equal(t, refused, k.AllowRO(probeDriver, 0, at, 8)[0])
		assert.Equal(t, refused, k.AllowRW(probeDriver, 0, at, 8)[0])
		k.Load(at+abi.PageSize, 1)
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []byte{1, 2, 3, 4}, seen)
	assert.Contains(t, m.Log.String(), "task 2 borrower faulted: page fault: read at 0x7fe01000")
}

// TestLoanEnds: behind each of these events the borrower's next access faults.
func TestLoanEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(m *machine, k *kerneltest.Task, page uint64)
		stays bool
	}{
		"nothing happens":  {func(*machine, *kerneltest.Task, uint64) {}, true},
		"unallow":          {func(_ *machine, k *kerneltest.Task, _ uint64) { k.AllowRW(probeDriver, 0, 0, 0) }, false},
		"allow again":      {func(_ *machine, k *kerneltest.Task, page uint64) { k.AllowRW(probeDriver, 0, page, abi.PageSize) }, false},
		"allow of another": {func(_ *machine, k *kerneltest.Task, page uint64) { k.AllowRW(probeDriver, 1, page, abi.PageSize) }, true},
		"allow elsewhere":  {func(_ *machine, k *kerneltest.Task, page uint64) { k.AllowRW(otherDriver, 0, page, abi.PageSize) }, true},
		"read-only allow":  {func(_ *machine, k *kerneltest.Task, page uint64) { k.AllowRO(probeDriver, 0, page, abi.PageSize) }, true},
		"refused allow":    {func(_ *machine, k *kerneltest.Task, page uint64) { k.AllowRW(probeDriver, 0, 0, 1) }, true},
		"refused break":    {func(_ *machine, k *kerneltest.Task, page uint64) { k.Memop(abi.MemopBrk, page) }, true},
		"exit":             {func(_ *machine, k *kerneltest.Task, _ uint64) { k.Syscall(abi.Exit, abi.ExitTerminate) }, false},
		"restart":          {func(_ *machine, k *kerneltest.Task, _ uint64) { k.Restart(0) }, false},
		"fault":            {func(_ *machine, k *kerneltest.Task, _ uint64) { k.Syscall(99) }, false},
		"another loan to it": {func(_ *machine, k *kerneltest.Task, page uint64) {
			k.AllowRW(probeDriver, 1, page+abi.PageSize, abi.PageSize)
			k.Command(probeDriver, probeHook, 1, 1)
		}, true}, // at the same address
		"restart of the borrower": {func(m *machine, _ *kerneltest.Task, _ uint64) {
			m.Kernel.Restart(m.byName("borrower").ID(), m.Capabilities.TaskManagement)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newLoanMachine(t)
			started, survived := false, false
			m.AddTask("lender", func(k *kerneltest.Task) {
				if started {
					return
				}
				started = true
				page := k.Start.RAMStart + abi.PageSize
				k.Memop(abi.MemopBrk, page+2*abi.PageSize)
				k.AllowRW(probeDriver, 0, page, abi.PageSize)
				assert.Equal(t, lent(abi.PageSize), k.Command(probeDriver, probeHook, 0, 1))
				k.Spin(20_000)
				c.end(m, k, page)
				k.Wait()
			}, nil)
			m.AddTask("borrower", func(k *kerneltest.Task) {
				k.Load(loanOf(0), 1)
				k.Spin(50_000)
				k.Load(loanOf(0), 1)
				survived = true
			}, nil)
			m.Run()
			assert.Equal(t, c.stays, survived)
		})
	}
}

// TestLoanWithoutPageTables: what cannot be mapped is not lent, and what was lent before stays.
// A loan that is there already needs none.
func TestLoanWithoutPageTables(t *testing.T) {
	m := newLoanMachine(t)
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+2*abi.PageSize)
		k.AllowRW(probeDriver, 0, page, abi.PageSize)
		k.AllowRW(probeDriver, 1, page, 2*abi.PageSize)
		assert.Equal(t, lent(abi.PageSize), k.Command(probeDriver, probeHook, 0, 1))
		m.CPU.ReserveFails = true
		assert.Equal(t, lent(abi.PageSize), k.Command(probeDriver, probeHook, 0, 1), "it is lent already")
		assert.Equal(t, failed(abi.NOMEM), k.Command(probeDriver, probeHook, 1, 1))
		assert.Equal(t, uint64(abi.PageSize), m.Kernel.Lent(0, 1))
		m.CPU.ReserveFails = false
		assert.Equal(t, lent(2*abi.PageSize), k.Command(probeDriver, probeHook, 1, 1))
	}, nil)
	m.AddTask("borrower", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
}

// TestRefusedNotifyLendsNothing: a subscribe number that there is not is seen before the buffer
// is lent.
func TestRefusedNotifyLendsNothing(t *testing.T) {
	m := newMachine(t)
	m.probe.hook = func(id kernel.TaskID, n, _ uint32) kernel.Result {
		return kernel.Outcome(m.probe.grant.Slots().Notify(id, 1, n, 0, m.Capabilities.MemorySharing))
	}
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.PageSize)
		k.AllowRW(probeDriver, 0, page, abi.PageSize)
		assert.Equal(t, failed(abi.INVAL), k.Command(probeDriver, probeHook, 3, 0))
		assert.Zero(t, m.Kernel.Lent(0, 1))
		assert.Equal(t, [4]uint64{success}, k.Command(probeDriver, probeHook, 2, 0))
		assert.NotZero(t, m.Kernel.Lent(0, 1))
	}, nil)
	m.AddTask("peer", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
}

func TestObjectInThePlaceOfLoansIsSkipped(t *testing.T) {
	m := newMachine(t)
	m.AddObject(kerneltest.Object(t, "misplaced", func(s *tbfbuild.Spec) {
		s.FixedAddresses = &tbf.FixedAddresses{RAM: abi.LoanEnd - abi.PageSize, Flash: tbf.Unset}
	}))
	assert.False(t, m.Run())
	assert.Contains(t, m.Log.String(), "skipped: its flash or RAM would lie where other tasks' memory is lent to it")
}

func TestFindingTasks(t *testing.T) {
	m := newMachine(t)
	m.AddTask("ends", func(*kerneltest.Task) {}, nil)
	m.AddTask("twin", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("twin", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("alone", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
	for name, want := range map[string]abi.ErrorCode{"alone": abi.OK, "twin": abi.FAIL, "ends": abi.NODEVICE, "": abi.NODEVICE, "tw": abi.NODEVICE} {
		id, e := m.Kernel.TaskNamed([]byte(name), m.byName("alone").ID())
		assert.Equal(t, want, e, name)
		assert.Equal(t, e == abi.OK, id == m.byName("alone").ID(), name)
	}
}
