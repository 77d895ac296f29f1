package kernel_test

import (
	"fmt"
	"strings"
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
	loanHook(m)
	return m
}

func loanHook(m *machine) {
	m.probe.hook = func(id kernel.TaskID, n, slot uint32) kernel.Result {
		if e := m.probe.grant.Slots().Notify(id, slot, 0, n, m.Capabilities.MemorySharing); e != abi.OK {
			return kernel.Failed(e)
		}
		return kernel.Value64(m.Kernel.Lent(id.Slot(), slot))
	}
}

func lent(size uint64) [4]uint64 { return [4]uint64{uint64(abi.SuccessU64), size} }

func TestLoanRules(t *testing.T) {
	m := newLoanMachine(t)
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+40*abi.PageSize)
		k.Spin(20_000) // until the others wait or have ended
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
			{"to an empty slot", page, abi.PageSize, 1, 3, failed(abi.INVAL)},
			{"to a task that has ended", page, abi.PageSize, 1, 2, failed(abi.NODEVICE)},
			{"to no slot", page, abi.PageSize, 1, 99, failed(abi.INVAL)},
			{"a number that there is not", page, abi.PageSize, 2, 1, failed(abi.INVAL)},
		} {
			k.AllowRW(probeDriver, 1, c.addr, c.length)
			assert.Equal(t, c.want, k.Command(probeDriver, probeHook, c.n, c.to), c.name)
		}
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = 50 * abi.PageSize })
	m.AddTask("borrower", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("ended", func(*kerneltest.Task) {}, nil)
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
	assert.Contains(t, m.Log.String(), "task 2 borrower faulted: page fault: read at 0x7f801000")
}

// TestLoanEnds: behind each of these events the borrower finds zeroes and not what was lent, until
// it is told.
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
		"terminated": {func(m *machine, _ *kerneltest.Task, _ uint64) {
			m.Kernel.Terminate(m.byName("lender").ID(), m.Capabilities.TaskManagement)
		}, false},
		"stopped": {func(m *machine, _ *kerneltest.Task, _ uint64) {
			m.Kernel.Stop(m.byName("lender").ID(), m.Capabilities.TaskManagement)
		}, true}, // and can be started again
		"a smaller loan": {func(_ *machine, k *kerneltest.Task, page uint64) {
			k.AllowRW(probeDriver, 1, page+2*abi.PageSize, abi.PageSize)
			k.Command(probeDriver, probeHook, 1, 1)
		}, false}, // it is at the same address
	} {
		for _, bits := range []int{64, 32} {
			t.Run(fmt.Sprintf("%s, borrower of %d bits", name, bits), func(t *testing.T) {
				m := newLoanMachine(t)
				started, survived := false, false
				m.AddTask("lender", func(k *kerneltest.Task) {
					if started {
						return
					}
					started = true
					page := k.Start.RAMStart + abi.PageSize
					k.Memop(abi.MemopBrk, page+3*abi.PageSize)
					k.Store(page, 'l')
					k.Store(page+abi.PageSize, 'l')
					k.AllowRW(probeDriver, 0, page, 2*abi.PageSize)
					assert.Equal(t, lent(2*abi.PageSize), k.Command(probeDriver, probeHook, 0, 1))
					k.Spin(20_000)
					c.end(m, k, page)
					k.Wait()
				}, nil)
				m.AddTask("borrower", func(k *kerneltest.Task) {
					at := loanOf(0)
					assert.Equal(t, []byte{'l'}, k.Load(at+abi.PageSize, 1))
					k.Spin(50_000)
					want := byte(0)
					if c.stays {
						want = 'l'
					}
					assert.Equal(t, []byte{want}, k.Load(at, 1))
					assert.Equal(t, []byte{want}, k.Load(at+abi.PageSize, 1))
					k.Store(at+2*abi.PageSize-1, 1)
					survived = true
				}, func(s *tbfbuild.Spec) { s.ABI64 = bits == 64 })
				m.Run()
				assert.True(t, survived, m.Log.String())
			})
		}
	}
}

// TestBlankPage: what was taken back from a borrower is, until it is told, one page of its own,
// which begins as zeroes each time and no other task has.
func TestBlankPage(t *testing.T) {
	m := newLoanMachine(t)
	var lender *kerneltest.Task
	page := func(k *kerneltest.Task) uint64 { return k.Start.RAMStart + abi.PageSize }
	lendAll := func(k *kerneltest.Task, n uint64) {
		k.Memop(abi.MemopBrk, page(k)+2*abi.PageSize)
		k.Store(page(k), 'l')
		k.AllowRW(probeDriver, 0, page(k), n*abi.PageSize)
		for slot := range uint64(2) {
			k.Command(probeDriver, probeHook, 0, slot)
		}
	}
	m.AddTask("first", func(k *kerneltest.Task) {
		k.Spin(20_000)
		k.Store(loanOf(2), 'a')
		k.Store(loanOf(3)+abi.PageSize, 'b')
		assert.Equal(t, []byte("b"), k.Load(loanOf(2), 1), "all it was lent is one page now")
		assert.Equal(t, []byte("b"), k.Load(loanOf(3), 1))
		assert.Equal(t, []byte("l"), lender.Load(page(lender), 1), "and not the lender's")
		k.Spin(60_000)
		assert.Equal(t, [4]uint64{2}, k.WaitFor(probeDriver, 0), "it is told that nothing is lent")
		assert.Equal(t, []byte("b"), k.Load(loanOf(3), 1), "of the other lender it has not been told")
		assert.Equal(t, [4]uint64{3}, k.WaitFor(probeDriver, 0))
		k.Spin(60_000)
		assert.Equal(t, []byte{0}, k.Load(loanOf(2), 1), "zeroes again")
		k.Load(loanOf(3), 1)
		t.Error("a page is where nothing was lent since the task was told")
	}, nil)
	m.AddTask("second", func(k *kerneltest.Task) {
		k.Spin(20_000)
		assert.Equal(t, []byte{0}, k.Load(loanOf(2), 1), "it does not see what the first wrote")
		k.Spin(20_000)
	}, nil)
	lends := func(again bool) kerneltest.Program {
		return func(k *kerneltest.Task) {
			lendAll(k, 2)
			k.AllowRW(probeDriver, 0, 0, 0)
			k.Spin(40_000)
			k.Command(probeDriver, probeHook, 0, 0)
			k.Spin(60_000)
			if again {
				lendAll(k, 1)
				k.AllowRW(probeDriver, 0, 0, 0)
			}
			k.Wait()
		}
	}
	m.AddTask("lender", func(k *kerneltest.Task) { lender = k; lends(true)(k) }, nil)
	m.AddTask("other lender", lends(false), nil)
	m.Run()
	assert.Contains(t, m.Log.String(), "first faulted: page fault: read at 0x7f860000")
	assert.Equal(t, 1, strings.Count(m.Log.String(), "faulted"))
}

// TestLenderCannotStopABorrower: a client that lends and takes back while the service is at work,
// more often than a task may fault.
func TestLenderCannotStopABorrower(t *testing.T) {
	const rounds = 40
	m := newLoanMachine(t)
	m.Policy = &kernel.FaultLimit{Restarts: 32}
	lengths := map[uint64]int{}
	m.AddTask("service", func(k *kerneltest.Task) {
		for range 2 * rounds {
			event := k.WaitFor(probeDriver, 0)
			lengths[event[1]]++
			for at := range event[1] / abi.PageSize {
				k.Spin(100)
				k.Store(event[2]+at*abi.PageSize, k.Load(event[2]+at*abi.PageSize, 1)[0]+1)
			}
		}
	}, nil)
	m.AddTask("client", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.LoanSize)
		for range rounds {
			k.AllowRW(probeDriver, 0, page, abi.LoanSize)
			k.Command(probeDriver, probeHook, 0, 0)
			k.Spin(1000)
			k.AllowRW(probeDriver, 0, 0, 0)
			k.Spin(30_000)
			k.Command(probeDriver, probeHook, 0, 0)
			k.Spin(10_000)
		}
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = 2*abi.PageSize + abi.LoanSize })
	assert.False(t, m.Run(), m.Tasks())
	assert.Equal(t, map[uint64]int{abi.LoanSize: rounds, 0: rounds}, lengths)
	assert.NotContains(t, m.Log.String(), "faulted")
}

// TestBlankPageBeginsAsZeroes: what a borrower wrote to its blank page is not there when a later
// loan is taken back, though nobody told it of either.
func TestBlankPageBeginsAsZeroes(t *testing.T) {
	m := newLoanMachine(t)
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.PageSize)
		for range 3 {
			k.AllowRW(probeDriver, 0, page, abi.PageSize)
			k.Command(probeDriver, probeHook, 0, 1)
			k.AllowRW(probeDriver, 0, 0, 0)
			k.Spin(20_000)
		}
	}, nil)
	m.AddTask("borrower", func(k *kerneltest.Task) {
		for range 3 {
			assert.Equal(t, []byte{0}, k.Load(loanOf(0), 1))
			k.Store(loanOf(0), 'x')
			k.Spin(20_000)
		}
	}, nil)
	m.Run()
	assert.NotContains(t, m.Log.String(), "faulted")
}

// TestEndOfABorrower: of what was lent to it, or taken back from it, its next run has nothing.
func TestEndOfABorrower(t *testing.T) {
	for name, takenBack := range map[string]bool{"lent": false, "taken back": true} {
		t.Run(name, func(t *testing.T) {
			m := newLoanMachine(t)
			m.AddTask("lender", func(k *kerneltest.Task) {
				page := k.Start.RAMStart + abi.PageSize
				k.Memop(abi.MemopBrk, page+abi.PageSize)
				k.AllowRW(probeDriver, 0, page, abi.PageSize)
				k.Command(probeDriver, probeHook, 0, 1)
				if takenBack {
					k.AllowRW(probeDriver, 0, 0, 0)
				}
				k.Spin(50_000)
				assert.Zero(t, m.Kernel.Lent(0, 1))
			}, nil)
			lives := 0
			m.AddTask("borrower", func(k *kerneltest.Task) {
				if lives++; lives == 1 {
					k.Load(loanOf(0), 1)
					k.Restart(0)
				}
				k.Load(loanOf(0), 1)
			}, nil)
			m.Run()
			assert.Equal(t, 2, lives)
			assert.Contains(t, m.Log.String(), "borrower faulted: page fault: read at 0x7f800000")
		})
	}
}

// TestNoMemoryForABlankPage: what could not be taken back is not lent.
func TestNoMemoryForABlankPage(t *testing.T) {
	m := newMachineWithRAM(t, 13*abi.PageSize)
	loanHook(m)
	m.AddTask("lender", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.PageSize)
		k.AllowRW(probeDriver, 0, page, abi.PageSize)
		assert.Equal(t, lent(abi.PageSize), k.Command(probeDriver, probeHook, 0, 1), "there is one page")
		assert.Equal(t, failed(abi.NOMEM), k.Command(probeDriver, probeHook, 0, 2))
		assert.Zero(t, m.Kernel.Lent(0, 2))
	}, nil)
	for _, name := range []string{"first", "second"} {
		m.AddTask(name, func(k *kerneltest.Task) { k.Wait() }, func(s *tbfbuild.Spec) { s.MinimumRAM = abi.PageSize })
	}
	assert.True(t, m.Run(), m.Log.String())
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

// TestFindingTasks: a name that several tasks have, even if all but one have ended, finds none.
func TestFindingTasks(t *testing.T) {
	m := newMachine(t)
	m.AddTask("ends", func(*kerneltest.Task) {}, nil)
	m.AddTask("service", func(*kerneltest.Task) {}, nil)
	m.AddTask("service", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("twin", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("twin", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("alone", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
	for name, want := range map[string]abi.ErrorCode{"alone": abi.OK, "twin": abi.FAIL, "service": abi.FAIL, "ends": abi.NODEVICE, "": abi.NODEVICE, "tw": abi.NODEVICE} {
		id, e := m.Kernel.TaskNamed([]byte(name), m.byName("alone").ID())
		assert.Equal(t, want, e, name)
		assert.Equal(t, e == abi.OK, id == m.byName("alone").ID(), name)
	}
	assert.Equal(t, 1, strings.Count(m.Log.String(), "not found"), "said once: %s", m.Log.String())
	assert.Regexp(t, `\ntask 6 alone asks for a task named (twin: not found, because several have that name, the first two in slots 3 and 4|service: not found, because several have that name, the first two in slots 1 and 2)\n`, m.Log.String())
}
