package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
)

// loan is memory of a task, its lender, that another, the borrower, may read and write too.
type loan struct {
	of         event // driver and allow number of the buffer
	addr, size uint64
}

// Lend lets another task, the borrower, read and write the buffer that the task id, the
// lender, shares by Allow Read-Write number n, and returns where the borrower finds it, and
// its length: 0, 0 if the lender shares none; then to is not looked at. The buffer consists
// of whole pages, of at most abi.LoanSize bytes, so that nothing else is lent with it.
//
// A loan ends when either task ends or restarts, and when the lender puts another buffer,
// or none, into the place of this one. A task lends one buffer to each other at a time. The
// borrower cannot share with drivers what was lent to it. The errors are
//   - abi.INVAL if id is stale, n is out of range, the borrower is the lender itself or is
//     not alive, or the buffer does not begin and end on pages,
//   - abi.SIZE if the buffer is too large,
//   - abi.NOMEM if there is no memory for the borrower's page tables.
//
//go:nosplit
func (s *Slots) Lend(id TaskID, n uint32, to TaskID, c capability.MemorySharing) (addr, length uint64, e abi.ErrorCode) {
	c.Require()
	lender := s.kernel.task(id)
	if lender == nil || n >= uint32(s.counts.ReadWrite) {
		return 0, 0, abi.INVAL
	}
	if *s.of(lender) == nil { // it never shared anything
		return 0, 0, abi.OK
	}
	slot := s.readWrite(lender, n)
	l := loan{event{s.driver, n}, load64(slot[slotAddr:]), load64(slot[slotLen:])}
	if l.size == 0 {
		return 0, 0, abi.OK
	}
	borrower := s.kernel.task(to)
	switch {
	case borrower == nil || borrower == lender:
		return 0, 0, abi.INVAL
	case l.addr%abi.PageSize != 0 || l.size%abi.PageSize != 0:
		return 0, 0, abi.INVAL
	case l.size > abi.LoanSize:
		return 0, 0, abi.SIZE
	}
	if !s.kernel.lend(lender, borrower, l) {
		return 0, 0, abi.NOMEM
	}
	return loanAddress(lender), l.size, abi.OK
}

// There are addresses for a loan from every slot: else this does not compile.
const _ = uint(abi.LoanEnd - abi.LoanStart - MaxTasks*abi.LoanSize)

// loanAddress is where every task finds what t lends to it.
func loanAddress(t *Task) uint64 { return abi.LoanStart + uint64(t.slot)*abi.LoanSize }

// lend maps the loan, in the place of what the lender lent to the borrower before. It reports
// false, changing nothing, if that cannot be.
//
//go:nosplit
func (k *Kernel) lend(lender, borrower *Task, l loan) bool {
	if lender.loans[borrower.slot] == l {
		return true
	}
	if !k.cpu.Reserve(borrower.slot, loanAddress(lender), l.size) {
		return false
	}
	k.endLoan(lender, borrower)
	mem, _ := lender.memory.readWrite(l.addr, l.size) // the break stays above shared buffers
	k.cpu.Map(borrower.slot, loanAddress(lender), mem, ReadWrite)
	lender.loans[borrower.slot] = l
	lender.lends |= 1 << borrower.slot
	k.checkMemory()
	return true
}

// endLoan takes from the borrower what the lender lent to it, if anything.
func (k *Kernel) endLoan(lender, borrower *Task) {
	l := &lender.loans[borrower.slot]
	if l.size != 0 {
		k.cpu.Unmap(borrower.slot, loanAddress(lender), l.size)
		*l = loan{}
		lender.lends &^= 1 << borrower.slot
		k.checkMemory()
	}
}

// endLoansOf ends the lender's loans of one buffer.
func (k *Kernel) endLoansOf(lender *Task, of event) {
	if lender.lends == 0 {
		return
	}
	for slot := range k.loaded {
		if lender.loans[slot].of == of {
			k.endLoan(lender, &k.tasks[slot])
		}
	}
}

// endLoans ends all loans from the task and to it.
func (k *Kernel) endLoans(t *Task) {
	for slot := range k.loaded {
		other := &k.tasks[slot]
		k.endLoan(t, other)
		k.endLoan(other, t)
	}
}

// TaskNamed finds the task with that package name, the lowest slot first, that is alive.
func (k *Kernel) TaskNamed(name []byte) (TaskID, bool) {
	for slot := range k.loaded {
		if t := &k.tasks[slot]; t.alive() && t.NameIs(name) {
			return t.id, true
		}
	}
	return TaskID{}, false
}

// TaskIn finds the task in a slot, if there is one that is alive.
func (k *Kernel) TaskIn(slot uint32) (TaskID, bool) {
	if slot >= MaxTasks || !k.tasks[slot].alive() {
		return TaskID{}, false
	}
	return k.tasks[slot].id, true
}
