package kernel

import "kapsel/guest/abi"

// loan is memory of a task, its lender, that another, the borrower, may read and write too.
// What is taken back leaves a page of the borrower's own in its place, at each address of the
// loan the same one, so that no access of a borrower that does not know yet is a fault. It
// stays until the borrower is told.
type loan struct {
	_      notComparable
	of     sharedBuffer
	size   uint8  // in pages, as what follows; 0: nothing is lent
	mapped uint8  // where the borrower has pages, from loanAddress on: from size on its blank page
	start  uint32 // where it begins in the lender's RAM
}

// sharedBuffer names a buffer that a task shares: the grant and the allow number.
type sharedBuffer struct{ grant, number uint8 }

// A loan's pages can be counted so: else this does not compile. (A task's RAM has 4 GiB and the
// reserve for grants at most.)
const _ = uint8(abi.LoanSize / abi.PageSize)

// page is a page of memory.
type page [abi.PageSize]byte

// There are addresses for a loan from every slot: else this does not compile.
const _ = uint(abi.LoanEnd - abi.LoanStart - MaxTasks*abi.LoanSize)

// loanAddress is where every task finds what t lends to it.
func loanAddress(t *Task) uint64 { return abi.LoanStart + uint64(t.slot)*abi.LoanSize }

// loanTo is what the task lends to a borrower.
func (t *Task) loanTo(borrower *Task) *loan { return &t.loans[uint(borrower.slot)%MaxTasks] }

// lend lends a buffer to the borrower, as it mostly is already. With an error, one of those of Notify,
// nothing has changed.
//
//go:nosplit
func (k *Kernel) lend(lender, borrower *Task, of sharedBuffer, addr, size uint64) abi.ErrorCode {
	l := lender.loanTo(borrower)
	if l.of == of && uint64(l.size)*abi.PageSize == size && uint64(l.start)*abi.PageSize == addr-lender.memory.ramStart {
		return abi.OK
	}
	return k.lendAnew(lender, borrower, of, addr, size)
}

// lendAnew maps a buffer for the borrower, in the place of what the lender lent to it before.
//
//go:nosplit
func (k *Kernel) lendAnew(lender, borrower *Task, of sharedBuffer, addr, size uint64) abi.ErrorCode {
	l := lender.loanTo(borrower)
	m := &lender.memory
	switch {
	case addr%abi.PageSize != 0 || size%abi.PageSize != 0:
		k.advise(lender, adviceWholePages, borrower, addr, size)
		return abi.INVAL
	case size > abi.LoanSize:
		k.advise(lender, adviceTooLarge, borrower, addr, size)
		return abi.SIZE
	case !k.makeBlank(borrower) || !k.cpu.Reserve(borrower.slot, loanAddress(lender), size):
		return abi.NOMEM
	}
	k.endLoan(lender, borrower)
	start, pages := uint32((addr-m.ramStart)/abi.PageSize), uint8(size/abi.PageSize)
	mem, _ := m.readWrite(addr, size) // the break stays above shared buffers
	k.cpu.Map(borrower.slot, loanAddress(lender), mem, ReadWrite)
	*l = loan{of: of, start: start, size: pages, mapped: max(pages, l.mapped)}
	lender.lends |= borrower.bit
	borrower.lenders |= lender.bit
	if l.mapped == l.size {
		borrower.blanks &^= lender.bit
	}
	k.checkMemory()
	return abi.OK
}

// makeBlank makes sure that a borrower has its blank page, so that what is lent to it can be
// taken back. It reports false if no memory is left.
func (k *Kernel) makeBlank(borrower *Task) bool {
	if borrower.blank == nil {
		if ram := k.ram.Take(abi.PageSize); ram != nil {
			borrower.blank = (*page)(ram)
		}
	}
	return borrower.blank != nil
}

// endLoan takes from the borrower what the lender lent to it, if anything, and leaves its blank
// page in the place. That holds zeroes, or what the borrower itself wrote there while it was
// in the place of other loans.
func (k *Kernel) endLoan(lender, borrower *Task) {
	l := lender.loanTo(borrower)
	if l.size == 0 {
		return
	}
	if borrower.blanks == 0 {
		clear(borrower.blank[:])
	}
	for page := range uint64(l.size) {
		k.cpu.Map(borrower.slot, loanAddress(lender)+page*abi.PageSize, borrower.blank[:], ReadWrite)
	}
	borrower.blanks |= lender.bit
	lender.lends &^= borrower.bit
	*l = loan{mapped: l.mapped}
	k.checkMemory()
}

// endLoansOf ends the lender's loans of one buffer.
func (k *Kernel) endLoansOf(lender *Task, of sharedBuffer) {
	for set := lender.lends; set != 0; set &= set - 1 {
		if borrower := k.first(set); lender.loanTo(borrower).of == of {
			k.endLoan(lender, borrower)
		}
	}
}

// endLoans ends all loans from a task that ends, and to it, of which nothing stays.
func (k *Kernel) endLoans(t *Task) {
	for set := t.lends; set != 0; set &= set - 1 {
		k.endLoan(t, k.first(set))
	}
	for set := t.lenders; set != 0; set &= set - 1 {
		lender := k.first(set)
		l := lender.loanTo(t)
		*l = loan{mapped: l.mapped}
		lender.lends &^= t.bit
		k.dropBlank(lender, t)
	}
}

// tellLoan is what the borrower is told of a loan: length and address of what is lent now, or
// zeroes. It has no page behind that any more.
//
//go:nosplit
func (k *Kernel) tellLoan(lender, borrower *Task) (length, addr uint32) {
	l := lender.loanTo(borrower)
	if l.mapped != l.size {
		k.dropBlank(lender, borrower)
	}
	if l.size == 0 {
		return 0, 0
	}
	return uint32(l.size) * abi.PageSize, uint32(loanAddress(lender))
}

// dropBlank takes the borrower's page from the place of what the lender took back.
func (k *Kernel) dropBlank(lender, borrower *Task) {
	l := lender.loanTo(borrower)
	if l.mapped != l.size {
		k.cpu.Unmap(borrower.slot, loanAddress(lender)+uint64(l.size)*abi.PageSize, uint64(l.mapped-l.size)*abi.PageSize)
		l.mapped = l.size
		k.checkMemory()
	}
	if l.mapped == 0 {
		borrower.lenders &^= lender.bit
	}
	borrower.blanks &^= lender.bit
}
