package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

// The rules of pages are tested on real page tables: guest/arch/amd64, TestBrokenRules.

const (
	brokenRule = "kernel: a rule of memory is broken: the kernel's last message says which"
	againstIt  = ": against the rule: "
)

// TestBreaksInOrder: start of memory <= app break < kernel break <= end of memory, and the
// page of the app break ends at or below the kernel break.
func TestBreaksInOrder(t *testing.T) {
	const (
		page = abi.PageSize
		end  = 5 * page // what the object asks for, and a page for grants
		rule = againstIt + "start of memory <= app break < kernel break <= end of memory, and no grant in a page below the app break\n"
	)
	for _, c := range []struct {
		name                             string
		highWater, appBreak, kernelBreak uint64
		ok                               bool
	}{
		{"as it starts", 0, page, end, true},
		{"grants, at the end of the break's page", 0, page - 1, page, true},
		{"a buffer shared up to the break", page, page, end, true},
		{"grants in the break's page", 0, page - 8, page - 4, false},
		{"the breaks meet", 0, page, page, false},
		{"the app break above the kernel break", 0, page, page - 8, false},
		{"the kernel break above the end", 0, page, end + 1, false},
		{"a shared buffer above the app break", page + 1, page, end, false},
		{"the app break below the start", 0, ^uint64(0), end, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) {}, nil)
			m.Load()
			m.byName("task").SetBreaks(c.highWater, c.appBreak, c.kernelBreak)
			if c.ok {
				assert.NotPanics(t, m.Kernel.CheckMemory)
				return
			}
			assert.PanicsWithValue(t, brokenRule, m.Kernel.CheckMemory)
			assert.Contains(t, m.Log.String(), "memory of task 1 task: address ")
			assert.Contains(t, m.Log.String(), rule)
		})
	}
}

// TestEveryChangeIsChecked: a page that should not be there is found by whatever changes a
// task's memory next, of the same task or of another.
func TestEveryChangeIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *machine, k *kerneltest.Task)
	}{
		{"break", func(_ *machine, k *kerneltest.Task) { k.Memop(abi.MemopBrk, k.Start.InitialBreak+abi.PageSize) }},
		{"loan", func(_ *machine, k *kerneltest.Task) { k.Command(probeDriver, probeHook, 1, 1) }},
		{"end of a loan", func(_ *machine, k *kerneltest.Task) { k.AllowRW(probeDriver, 0, 0, 0) }},
		{"exit", func(_ *machine, k *kerneltest.Task) { k.Syscall(abi.Exit, abi.ExitTerminate, 0) }},
		{"restart", func(_ *machine, k *kerneltest.Task) { k.Restart(0) }},
		{"fault", func(_ *machine, k *kerneltest.Task) { k.Fault(kernel.Fault{Name: "divide error"}) }},
		{"load", func(m *machine, _ *kerneltest.Task) {
			m.AddTask("late", func(*kerneltest.Task) {}, nil)
			m.Load()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newLoanMachine(t)
			m.AddTask("lender", func(k *kerneltest.Task) {
				page := k.Start.RAMStart + abi.PageSize
				k.Memop(abi.MemopBrk, page+abi.PageSize)
				k.AllowRW(probeDriver, 0, page, abi.PageSize)
				k.AllowRW(probeDriver, 1, page, abi.PageSize)
				k.Command(probeDriver, probeHook, 0, 1)
				k.AllowRW(probeDriver, 0, page, abi.PageSize) // ends the loan
				k.Command(probeDriver, probeHook, 0, 1)
				assert.NotContains(t, m.Log.String(), againstIt)
				m.CPU.Plant(1, kernel.Page{Addr: abi.UserMin, Size: abi.PageSize, Frame: 0x5000, User: true})
				c.change(m, k)
				t.Error("nothing was noticed")
			}, nil)
			m.AddTask("borrower", func(k *kerneltest.Task) { k.Wait() }, nil)
			assert.PanicsWithValue(t, brokenRule, func() { m.Run() })
			assert.Contains(t, m.Log.String(), "memory of task 2 borrower: address 0x10000, physical 0x5000, rights r--u"+
				againstIt+"a task can use no page outside of its own ranges\n")
		})
	}
}
