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

// Notify makes the event of subscribe number n happen to the task in a slot, the peer, with
// (slot of the task id, length, address) of the buffer that id shares by the Allow Read-Write
// number buffer. It is lent to the peer: the peer may read and write it, and finds it at that
// address. If id shares none, length and address are 0.
//
// The buffer consists of whole pages, of at most abi.LoanSize bytes, so that nothing else is
// lent with it. A loan ends when either task ends or restarts, and when the lender puts another
// buffer, or none, into the place of this one. A task lends one buffer to each other at a time.
// The borrower cannot share with drivers what was lent to it. The errors are
//   - abi.INVAL if id is stale, the peer is the task itself or not alive, a number is out of
//     range, or the buffer does not begin and end on pages,
//   - abi.SIZE if the buffer is too large,
//   - abi.NOMEM if there is no memory for the peer's page tables, its queue is full, or its RAM
//     has no room for the grant: in the last two cases the buffer is lent, but the peer does
//     not know.
//
//go:nosplit
func (s *Slots) Notify(id TaskID, slot, n, buffer uint32, c capability.MemorySharing) abi.ErrorCode {
	c.Require()
	k := s.kernel
	t := k.task(id)
	if t == nil || slot >= MaxTasks || n >= uint32(s.counts.Upcalls) || buffer >= uint32(s.counts.ReadWrite) {
		return abi.INVAL
	}
	peer := &k.tasks[slot]
	if !peer.alive() || peer == t {
		return abi.INVAL
	}
	var addr, length uint64
	if *s.of(t) != nil { // else it never shared anything
		b := s.readWrite(t, buffer)
		if length = load64(b[slotLen:]); length != 0 {
			if e := k.lend(t, peer, loan{event{s.driver, buffer}, load64(b[slotAddr:]), length}); e != abi.OK {
				return e
			}
			addr = loanAddress(t)
		}
	}
	if *s.of(peer) == nil && !s.allocate(peer) {
		return abi.NOMEM
	}
	return s.happen(peer, n, uint32(t.slot), uint32(length), uint32(addr))
}

// There are addresses for a loan from every slot: else this does not compile.
const _ = uint(abi.LoanEnd - abi.LoanStart - MaxTasks*abi.LoanSize)

// loanAddress is where every task finds what t lends to it.
func loanAddress(t *Task) uint64 { return abi.LoanStart + uint64(t.slot)*abi.LoanSize }

// lend maps the loan, in the place of what the lender lent to the borrower before. With an error,
// one of those of Notify, nothing has changed.
//
//go:nosplit
func (k *Kernel) lend(lender, borrower *Task, l loan) abi.ErrorCode {
	switch {
	case l.addr%abi.PageSize != 0 || l.size%abi.PageSize != 0:
		return abi.INVAL
	case l.size > abi.LoanSize:
		return abi.SIZE
	case lender.loans[borrower.slot] == l:
		return abi.OK
	case !k.cpu.Reserve(borrower.slot, loanAddress(lender), l.size):
		return abi.NOMEM
	}
	k.endLoan(lender, borrower)
	mem, _ := lender.memory.readWrite(l.addr, l.size) // the break stays above shared buffers
	k.cpu.Map(borrower.slot, loanAddress(lender), mem, ReadWrite)
	lender.loans[borrower.slot] = l
	lender.lends |= 1 << borrower.slot
	k.checkMemory()
	return abi.OK
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
