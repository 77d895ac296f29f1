//go:build !kapsel || kapsel_debug

package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/format"
)

// This file holds the rules of memory (docs/abi.md, section 3) against what the page tables
// say, after each change of them or of a break: on the host always, in the kernel's own
// build if mkimage was asked for a debug build. In others checkMemory is nothing
// (rules_off.go).

// PageTables is the part of a CPU that serves to check what it does.
type PageTables interface {
	// NextPage reads the slot's page tables as the processor does, and returns the page at
	// the virtual address from, or else the first one above, in the kernel's half too. It
	// reports false if there is none.
	NextPage(slot int, from uint64) (Page, bool)
	// Frame is the physical address of memory that the board handed the kernel.
	Frame(mem []byte) uint64
}

// Rules, as they are told when one is broken.
const (
	ruleBreaks   = "start of memory <= app break < kernel break <= end of memory, and no grant in a page below the app break"
	ruleWX       = "no page is writeable and executable"
	ruleLowHalf  = "the kernel has no page in a task's half"
	ruleHighHalf = "ring 3 can use no page of the kernel's half"
	ruleShared   = "a page that is not lent is written by one task alone"
	ruleOutside  = "a task can use no page outside of its own ranges"
	ruleMemory   = "a task's page is the memory of its range"
	ruleRights   = "a task's page has the rights of its range: flash read and execute, all else read and write"
	ruleMissing  = "all pages of a task's ranges are mapped"
)

// checkMemory panics, naming task, page and rule, if a rule is broken.
func (k *Kernel) checkMemory() {
	for set := k.present; set != 0; set &= set - 1 {
		t := k.first(set)
		if !t.memory.inOrder() {
			k.broken(t, ruleBreaks, Page{Addr: t.memory.appBreak})
		}
		k.checkPages(t)
	}
}

// checkReady panics if what is known of who can run, and of what waits for whom, is not true.
func (k *Kernel) checkReady() {
	for set := k.present; set != 0; set &= set - 1 {
		t := k.first(set)
		if t.ready() != (k.ready&t.bit != 0) {
			panic("kernel: the set of tasks that can run is wrong")
		}
		k.checkWaiting(t)
		k.checkSets(t)
	}
}

// checkSets panics if a set that has the task or not is wrong about that.
func (k *Kernel) checkSets(t *Task) {
	for grant := range k.grants {
		if s := k.allSlots[grant]; (*s.of(t) != nil) != (s.holders&t.bit != 0) {
			panic("kernel: the set of tasks that have a grant is wrong")
		}
	}
	if t.kept&keptByMessages != 0 && k.held&t.bit == 0 {
		panic("kernel: a task waits for messages, and nobody knows")
	}
	for slot := range k.loaded {
		peer := k.tasks[slot]
		l := &t.loans[slot]
		switch {
		case (l.size != 0) != (t.lends&peer.bit != 0),
			(l.mapped != 0) != (peer.lenders&t.bit != 0),
			(l.mapped != l.size) != (peer.blanks&t.bit != 0):
			panic("kernel: the sets of who lends to whom are wrong")
		}
	}
}

// checkWaiting panics if the slots where events wait are miscounted, or one waits for room that
// there is.
func (k *Kernel) checkWaiting(t *Task) {
	older, late := t.older, t.late
	for grant := range k.grants {
		s := k.allSlots[grant]
		for n := uint32(0); *s.of(t) != nil && n < uint32(s.counts.Upcalls); n++ {
			slot := s.upcall(t, n)
			switch {
			case slot.waiting() == 0:
			case slot.function() == 0:
				older--
			default:
				late--
			}
		}
	}
	if older != 0 || late != 0 {
		panic("kernel: the slots where events wait are miscounted")
	}
	if t.late != 0 && t.queue.count < queueSize {
		panic("kernel: an event is late although the queue has room")
	}
}

func (m *Memory) inOrder() bool {
	return m.ramStart <= m.highWater && m.highWater <= m.appBreak && m.appBreak < m.kernelBreak &&
		m.mappedEnd() <= m.kernelBreak && m.kernelBreak <= m.ramEnd()
}

// checkPages walks all of the task's page tables, the kernel's half too.
func (k *Kernel) checkPages(t *Task) {
	missing := k.grantedPages(t)
	for from := uint64(0); ; {
		p, ok := k.cpu.NextPage(t.slot, from)
		if !ok {
			break
		}
		if rule := k.rule(t, p); rule != "" {
			k.broken(t, rule, p)
		}
		if p.User {
			missing--
		}
		if from = p.Addr + p.Size; from == 0 { // the last page of all
			break
		}
	}
	if missing != 0 {
		k.broken(t, ruleMissing, Page{})
	}
}

// rule is the rule that a page breaks, or "".
func (k *Kernel) rule(t *Task, p Page) string {
	switch {
	case p.Write && p.Execute:
		return ruleWX
	case !p.User && p.Addr < abi.UserMax:
		return ruleLowHalf
	case !p.User:
		return ""
	case p.Addr >= abi.UserMax:
		return ruleHighHalf
	}
	want, lent, ok := k.granted(t, p.Addr)
	switch {
	case p.Write && !(lent && p.Frame == want.Frame) && k.isOthers(t, p):
		return ruleShared
	case !ok || p.Size != want.Size:
		return ruleOutside
	case p.Frame != want.Frame:
		return ruleMemory
	case p != want:
		return ruleRights
	}
	return ""
}

// granted is the page that the task is to have at addr, and whether another lends it. It
// reports false if there is to be none.
func (k *Kernel) granted(t *Task, addr uint64) (p Page, lent, ok bool) {
	m := &t.memory
	p = Page{Addr: addr, Size: abi.PageSize, User: true, Write: true}
	switch {
	case within(addr, abi.PageSize, m.flashStart, m.flashStart+uint64(len(m.flash))):
		offset := addr - m.flashStart
		p.Frame = k.cpu.Frame(m.flash) + offset
		p.Write = t.mayWriteFlash(offset)
		p.Execute = !p.Write
		return p, false, true
	case within(addr, abi.PageSize, m.ramStart, m.mappedEnd()):
		p.Frame = k.cpu.Frame(m.ram) + addr - m.ramStart
		return p, false, true
	case within(addr, abi.PageSize, abi.LoanStart, abi.LoanEnd):
		lender := &k.tasks[(addr-abi.LoanStart)/abi.LoanSize].memory
		l := &k.tasks[(addr-abi.LoanStart)/abi.LoanSize].loans[t.slot]
		offset := (addr - abi.LoanStart) % abi.LoanSize
		switch {
		case offset/abi.PageSize >= uint64(l.mapped):
			return Page{}, false, false
		case offset/abi.PageSize >= uint64(l.size):
			p.Frame = k.cpu.Frame(t.blank[:])
			return p, false, true
		case !within(l.addr(lender), uint64(l.size)*abi.PageSize, lender.ramStart, lender.appBreak):
			return Page{}, false, false
		}
		p.Frame = k.cpu.Frame(lender.ram) + l.addr(lender) - lender.ramStart + offset
		return p, true, true
	}
	return Page{}, false, false
}

// grantedPages is how many pages the task is to have.
func (k *Kernel) grantedPages(t *Task) uint64 {
	m := &t.memory
	size := uint64(len(m.flash)) + m.mappedEnd() - m.ramStart
	for slot := range k.loaded {
		size += uint64(k.tasks[slot].loans[t.slot].mapped) * abi.PageSize
	}
	return size / abi.PageSize
}

// addr is where what is lent begins in the lender's memory.
func (l *loan) addr(lender *Memory) uint64 { return lender.ramStart + uint64(l.start)*abi.PageSize }

func (t *Task) mayWriteFlash(offset uint64) bool {
	for i := range t.object.WriteableRegions() {
		r, _ := t.object.WriteableRegion(i)
		if r.WholePages() && within(offset, abi.PageSize, uint64(r.Offset), uint64(r.Offset)+uint64(r.Size)) {
			return true
		}
	}
	return false
}

// isOthers reports whether the page's memory is a task's other than t.
func (k *Kernel) isOthers(t *Task, p Page) bool {
	for slot := range k.loaded {
		other := k.tasks[slot]
		if slot != t.slot && (k.touches(p, other.memory.ram) || k.touches(p, other.memory.flash) || other.blank != nil && k.touches(p, other.blank[:])) {
			return true
		}
	}
	return false
}

// touches reports whether a byte of mem is in the page.
func (k *Kernel) touches(p Page, mem []byte) bool {
	start := k.cpu.Frame(mem)
	return p.Frame < start+uint64(len(mem)) && start < p.Frame+p.Size
}

// broken says which rule is broken, by what, and panics.
func (k *Kernel) broken(t *Task, rule string, p Page) {
	w := k.debug
	format.Print(w, "memory of task %d ", t.id.Number())
	t.printName(w)
	format.Print(w, ": address 0x%x, physical 0x%x, rights ", p.Addr, p.Frame)
	for _, right := range [...]struct {
		have   bool
		letter string
	}{{p.Size != 0, "r"}, {p.Write, "w"}, {p.Execute, "x"}, {p.User, "u"}} {
		if right.have {
			w.WriteString(right.letter)
		} else {
			w.WriteString("-")
		}
	}
	w.WriteString(": against the rule: ")
	w.WriteString(rule)
	w.WriteString("\n")
	panic("kernel: a rule of memory is broken: the kernel's last message says which")
}
