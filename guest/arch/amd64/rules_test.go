//go:build !kapsel

package amd64

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// These tests run the kernel on this package's page tables, in an array: it holds its rules
// of memory against them after each change (guest/kernel/rules.go).

// pagesBelow returns what NextPage finds, in the form of ram.walk.
func pagesBelow(s *addressSpace) []region {
	var found []region
	for from := uint64(0); ; {
		p, ok := s.next(from)
		if !ok {
			return found
		}
		rights := "r"
		for _, x := range []struct {
			have   bool
			letter string
		}{{p.Write, "w"}, {p.Execute, "x"}, {p.User, "u"}} {
			if x.have {
				rights += x.letter
			}
		}
		found = join(found, region{p.Addr, p.Frame, p.Size, p.Size, rights})
		if from = p.Addr + p.Size; from == 0 {
			return found
		}
	}
}

func TestNextPageFindsWhatTheProcessorDoes(t *testing.T) {
	r, s := newSpace(t, 100, true)
	for _, m := range []struct{ virt, phys, size, bits uint64 }{
		{0, 0x5000, pageSize, userRX},
		{abi.FlashStart, 0x10000, 3 * pageSize, userRX},
		{abi.RAMStart + 2*mib - pageSize, 0x20000, 2 * pageSize, userRW},
		{abi.RAMStart + gib, 0, 4 * mib, userRW},
		{abi.UserMax - pageSize, 0x30000, pageSize, userRX},
		{abi.DirectMap, 0, 3*gib + 6*mib + pageSize, kernelRW},
		{abi.KernelBase, 2 * mib, 5 * pageSize, kernelRX},
		{^uint64(0) - 2*mib + 1, 0, 2 * mib, kernelR},
	} {
		require.True(t, s.mapRange(m.virt, m.phys, m.size, m.bits))
	}
	want := r.walk(s.root)
	for i := range want {
		want[i].rights = strings.TrimSuffix(want[i].rights, "g")
	}
	require.Len(t, want, 10)
	assert.Equal(t, want, pagesBelow(s))

	p, ok := s.next(abi.FlashStart + pageSize + 5)
	assert.True(t, ok)
	assert.EqualValues(t, abi.FlashStart+pageSize, p.Addr, "the page at an address within it")
	_, ok = (&addressSpace{}).next(0)
	assert.False(t, ok, "a slot without tables")
}

func TestUpperLevelsTakeRightsAway(t *testing.T) {
	r, s := newSpace(t, 100, false)
	require.True(t, s.mapRange(abi.FlashStart, 0, pageSize, pteP|pteU|pteW))
	root := r.word(s.root)
	for _, tt := range []struct {
		name string
		root uint64
		want string
	}{
		{"none", root, "rwxu"},
		{"ring 3", root &^ pteU, "rwx"},
		{"writing", root &^ pteW, "rxu"},
		{"executing", root | pteNX, "rwu"},
	} {
		r.put64(s.root, tt.root)
		assert.Equal(t, tt.want, pagesBelow(s)[0].rights, tt.name)
	}
}

// A rules is a kernel on page tables in an array, with tasks that are lists of system calls.
type rules struct {
	kernel kernel.Kernel
	cpu    *CPU
	ram    ram
	out    text
	grant  kernel.Grant[uint64]
	can    capability.Set
	steps  [2][]func(x *context) (on bool)
	answer func(command, a0, a1 uint32) kernel.Result // to commands, if not nil
}

// lender is the driver by which tasks lend buffer 0 to the task in a slot.
const lender = 5

// filler is the driver whose number is found in memory full of the byte 1.
const filler = 0x0101_0101

func newRules(t *testing.T) *rules { return newKernel(t, true) }

// newKernel makes a kernel whose first task has 64 bits or 32.
func newKernel(t *testing.T, bits64 bool) *rules {
	t.Helper()
	newHostCPU(t)
	s := &rules{ram: newRAM(t, 4*mib), can: capability.Mint()}
	s.cpu = newCPU(t, s.ram, false)
	s.cpu.timer = &Timer{apic: s.cpu.apic, hz: testHz}
	s.cpu.timer.start(testHz)
	s.kernel.Init(kernel.Config{
		CPU: s.cpu, Platform: s, Scheduler: &kernel.Cooperative{}, Policy: &kernel.FaultLimit{}, Debug: &s.out,
		Credentials: &kernel.NoCredentials{}, Identity: &kernel.NoIdentity{},
		RAM: &kernel.RAM{Low: s.ram[3*mib:]},
	})
	for _, number := range []uint32{lender, 0, filler} {
		s.kernel.AddDriver(number, s)
	}
	s.grant.Init(&s.kernel, lender, kernel.SlotCounts{Upcalls: 1, ReadWrite: 1}, s.can.MemoryAllocation)
	var objects []byte
	for slot, name := range []string{"first", "second"} {
		object, err := tbfbuild.Build(tbfbuild.Spec{
			Name: name, ABI64: bits64 || slot == 1, BinaryOffset: pageSize, Binary: make([]byte, 2*pageSize+100), MinimumRAM: 6 * pageSize,
			Writeable: []tbf.Region{{Offset: pageSize, Size: pageSize}},
		})
		require.NoError(t, err)
		objects = append(objects, object...)
		objects = append(objects, make([]byte, -len(objects)&(pageSize-1))...)
	}
	place := s.ram[2*mib:][:len(objects)]
	copy(place, objects)
	require.Equal(t, 2, s.kernel.Load([][]byte{place}, s.can.TaskManagement), s.out.s)
	hostCPU.task = func(x *context) {
		slot := 0
		if x == contexts[1] {
			slot = 1
		}
		for on := true; on; {
			step := s.steps[slot][0]
			s.steps[slot] = s.steps[slot][1:]
			on = step(x)
		}
	}
	return s
}

func (s *rules) Interrupt(int)        {}
func (s *rules) Slots() *kernel.Slots { return s.grant.Slots() }
func (s *rules) Command(id kernel.TaskID, command, slot, a1 uint32) kernel.Result {
	if s.answer != nil {
		return s.answer(command, slot, a1)
	}
	return kernel.Outcome(s.grant.Slots().Notify(id, slot, 0, 0, s.can.MemorySharing))
}

// call is a step that makes a system call.
func call(class abi.Class, words ...uint64) func(x *context) bool {
	return func(x *context) bool { return syscallEntry(x, class, words...) }
}

// sees is a step that looks at the result of the one before and at the low half of a
// slot's tables, and then makes a system call that changes nothing.
func (s *rules) sees(t *testing.T, what string, slot int, want ...region) func(x *context) bool {
	return func(x *context) bool {
		assert.GreaterOrEqual(t, x.results[0], uint64(abi.Success), "%s: the call", what)
		var low []region
		for _, f := range s.ram.walk(s.cpu.spaces[slot].root) {
			if f.virt < abi.UserMax {
				low = append(low, f)
			}
		}
		assert.Equal(t, want, low, what)
		return syscallEntry(x, abi.Memop, abi.MemopRAMStart)
	}
}

// TestRulesHoldOnPageTables: loading, breaks, loans, restarts and ends, with the tables at each
// step as they are to be. Each change is checked by the kernel besides.
func TestRulesHoldOnPageTables(t *testing.T) {
	const (
		flash0, flash1 = 2 * mib, 2*mib + 4*pageSize
		ram0           = 3*mib + 8*pageSize // behind two records and six tables
		ram1           = ram0 + 13*pageSize
		blank          = ram1 + 7*pageSize // what is left of RAM
		base           = abi.RAMStart
	)
	s := newRules(t)
	own := func(flash, ram, pages uint64, loans ...region) []region {
		return append(append([]region{
			{abi.FlashStart, flash, 2 * pageSize, pageSize, "rxu"},
			{abi.FlashStart + 2*pageSize, flash + 2*pageSize, pageSize, pageSize, "rwu"},
			{abi.FlashStart + 3*pageSize, flash + 3*pageSize, pageSize, pageSize, "rxu"},
		}, loans...), region{base, ram, pages * pageSize, pageSize, "rwu"})
	}
	lent := func(phys, pages uint64) region {
		return region{abi.LoanStart, phys, pages * pageSize, pageSize, "rwu"}
	}
	s.steps[0] = []func(*context) bool{
		call(abi.Memop, abi.MemopBrk, base+4*pageSize),
		s.sees(t, "break up", 0, own(flash0, ram0, 4)...),
		call(abi.Memop, abi.MemopBrk, base+2*pageSize+1),
		s.sees(t, "break down", 0, own(flash0, ram0, 3)...),
		call(abi.AllowReadWrite, lender, 0, base, pageSize),
		call(abi.Command, lender, 1, 1),
		s.sees(t, "lent", 1, own(flash1, ram1, 1, lent(ram0, 1))...),
		call(abi.AllowReadWrite, lender, 0, base+pageSize, pageSize),
		s.sees(t, "taken back", 1, own(flash1, ram1, 1, lent(blank, 1))...),
		call(abi.Command, lender, 1, 1),
		s.sees(t, "another lent", 1, own(flash1, ram1, 1, lent(ram0+pageSize, 1))...),
		call(abi.AllowReadWrite, lender, 0, base, 2*pageSize),
		s.sees(t, "taken back again", 1, own(flash1, ram1, 1, lent(blank, 1))...),
		call(abi.Command, lender, 1, 1),
		s.sees(t, "more lent", 1, own(flash1, ram1, 1, lent(ram0, 2))...),
		call(abi.AllowReadWrite, lender, 0, base+pageSize, pageSize),
		s.sees(t, "all of it taken back", 1, own(flash1, ram1, 1, lent(blank, 1), region{abi.LoanStart + pageSize, blank, pageSize, pageSize, "rwu"})...),
		call(abi.Command, lender, 1, 1),
		s.sees(t, "less lent, and it is not told", 1, own(flash1, ram1, 1, lent(ram0+pageSize, 1), region{abi.LoanStart + pageSize, blank, pageSize, pageSize, "rwu"})...),
		call(abi.Exit, abi.ExitRestart, 0),
		call(abi.Memop, abi.MemopRAMStart),
		s.sees(t, "after a restart", 0, own(flash0, ram0, 1)...),
		call(abi.Command, lender, 1, 1),
		call(abi.Yield, abi.YieldWaitFor, lender, 0), // until the other has been told
		call(abi.Exit, abi.ExitTerminate, 0),
	}
	s.steps[1] = []func(*context) bool{
		call(abi.Memop, abi.MemopRAMStart),
		s.sees(t, "the lender's restart took it", 1, own(flash1, ram1, 1, lent(blank, 1), region{abi.LoanStart + pageSize, blank, pageSize, pageSize, "rwu"})...),
		call(abi.Yield, abi.YieldWaitFor, lender, 0), // until the other, which restarts, notifies it
		call(abi.Memop, abi.MemopRAMStart),
		s.sees(t, "told that nothing is lent", 1, own(flash1, ram1, 1)...),
		call(abi.Command, lender, 0, 0),
		call(abi.Memop, abi.MemopBrk, base+6*pageSize),
		s.sees(t, "the other's break", 1, own(flash1, ram1, 6)...),
		call(abi.Exit, abi.ExitTerminate, 0),
	}
	s.kernel.Run(s.can.MainLoop)
	assert.Empty(t, s.steps[0])
	assert.Empty(t, s.steps[1])
	assert.NotContains(t, s.out.s, "rule")
}

// TestBrokenRules puts wrong entries into page tables, behind the kernel's back. The next
// change of any task's memory finds them.
func TestBrokenRules(t *testing.T) {
	const (
		ram0, ram1 = 3*mib + 8*pageSize, 3*mib + 21*pageSize
		userR      = pteP | pteU | pteNX
		shared     = "a page that is not lent is written by one task alone"
		outside    = "a task can use no page outside of its own ranges"
		memory     = "a task's page is the memory of its range"
		rights     = "a task's page has the rights of its range: flash read and execute, all else read and write"
		wx         = "no page is writeable and executable"
		high       = "ring 3 can use no page of the kernel's half"
	)
	for _, tt := range []struct {
		name                   string
		virt, phys, size, bits uint64 // bits 0: unmapped
		found, rule            string
	}{
		{"RAM that can be executed", abi.RAMStart, ram0, pageSize, userRW &^ pteNX, "0x80000000, physical 0x308000, rights rwxu", wx},
		{"RAM that can be executed instead of written", abi.RAMStart, ram0, pageSize, userRX, "0x80000000, physical 0x308000, rights r-xu", rights},
		{"RAM that cannot be written", abi.RAMStart, ram0, pageSize, userR, "0x80000000, physical 0x308000, rights r--u", rights},
		{"flash that can be written", abi.FlashStart, 2 * mib, pageSize, userRW, "0x40000000, physical 0x200000, rights rw-u", rights},
		{"flash that cannot be executed", abi.FlashStart, 2 * mib, pageSize, userR, "0x40000000, physical 0x200000, rights r--u", rights},
		{"a writeable region that can be executed", abi.FlashStart + 2*pageSize, 2*mib + 2*pageSize, pageSize, userRX,
			"0x40002000, physical 0x202000, rights r-xu", rights},
		{"another's RAM in the place of its own", abi.RAMStart, ram1, pageSize, userRW, "0x80000000, physical 0x315000, rights rw-u", shared},
		{"another's RAM where nothing is lent", abi.LoanStart + abi.LoanSize, ram1, pageSize, userRW,
			"0x7f820000, physical 0x315000, rights rw-u", shared},
		{"another's blank page", abi.LoanStart + abi.LoanSize, ram1 + 7*pageSize, pageSize, userRW,
			"0x7f820000, physical 0x31c000, rights rw-u", shared},
		{"another's RAM to read", abi.LoanStart + abi.LoanSize, ram1, pageSize, userR, "0x7f820000, physical 0x315000, rights r--u", outside},
		{"another's flash to execute", abi.FlashStart, 2*mib + 4*pageSize, pageSize, userRX, "0x40000000, physical 0x204000, rights r-xu", memory},
		{"the kernel's memory", abi.RAMStart, mib, pageSize, userRW, "0x80000000, physical 0x100000, rights rw-u", memory},
		{"a device", abi.RAMStart, abi.LAPICBase, pageSize, userRW, "0x80000000, physical 0xfee00000, rights rw-u", memory},
		{"RAM pages in another order", abi.RAMStart, ram0 + pageSize, pageSize, userRW, "0x80000000, physical 0x309000, rights rw-u", memory},
		{"a page above the break", abi.RAMStart + pageSize, ram0 + pageSize, pageSize, userRW, "0x80001000, physical 0x309000, rights rw-u", outside},
		{"the page of the grants", abi.RAMStart + 6*pageSize, ram0 + 6*pageSize, pageSize, userRW, "0x80006000, physical 0x30e000, rights rw-u", outside},
		{"a page behind flash", abi.FlashStart + 4*pageSize, 0x5000, pageSize, userRX, "0x40004000, physical 0x5000, rights r-xu", outside},
		{"a page at 0", 0, 0x5000, pageSize, userR, "0x0, physical 0x5000, rights r--u", outside},
		{"a large page", gib / 2, 2 * mib, 2 * mib, userRX, "0x20000000, physical 0x200000, rights r-xu", outside},
		{"the last page of the low half", abi.UserMax - pageSize, 0x5000, pageSize, userR, "0x7ffffffff000, physical 0x5000, rights r--u", outside},
		{"a page of the kernel's in the low half", 2 * gib, ram0, pageSize, kernelRW, "0x80000000, physical 0x308000, rights rw--",
			"the kernel has no page in a task's half"},
		{"the kernel's constants", abi.KernelBase, 0, pageSize, userR, "0xffffffff80000000, physical 0x0, rights r--u", high},
		{"the last page of all", ^uint64(0) - pageSize + 1, 0x5000, pageSize, userR, "0xfffffffffffff000, physical 0x5000, rights r--u", high},
		{"code of the kernel's that can be written", abi.KernelBase + pageSize, 0x5000, pageSize, kernelRW &^ pteNX,
			"0xffffffff80001000, physical 0x5000, rights rwx-", wx},
		{"RAM that is not mapped", abi.RAMStart, 0, pageSize, 0, "0x0, physical 0x0, rights ----", "all pages of a task's ranges are mapped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newRules(t)
			s.steps[1] = []func(*context) bool{call(abi.Memop, abi.MemopBrk, abi.RAMStart+pageSize)}
			s.steps[0] = []func(*context) bool{call(abi.AllowReadWrite, lender, 0, abi.RAMStart, pageSize), call(abi.Command, lender, 1, 1),
				call(abi.AllowReadWrite, lender, 0, 0, 0), func(x *context) bool { // the second has its blank page
					space := &s.cpu.spaces[0]
					switch {
					case tt.bits == 0:
						space.unmapPages(tt.virt, tt.size)
					case tt.size == pageSize:
						space.entries(tt.virt, 12, 1, true)[0] = tt.phys | tt.bits
					default:
						require.True(t, space.mapRange(tt.virt, tt.phys, tt.size, tt.bits))
					}
					return syscallEntry(x, abi.Yield, abi.YieldWait) // now the other task moves its break
				}}
			assert.PanicsWithValue(t, "kernel: a rule of memory is broken: the kernel's last message says which",
				func() { s.kernel.Run(s.can.MainLoop) })
			assert.Contains(t, s.out.s, "memory of task 1 first: address "+tt.found+": against the rule: "+tt.rule+"\n")
		})
	}
}
