package kernel

import (
	"math/bits"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/format"
)

// HandleDeferredCall does what is left to do of failures, as kernel work: it prints reports, tells tasks that their operations have
// ended, and makes the capsules anew, or not. What waits for something is made later.
func (c *Components) HandleDeferredCall() {
	if c.untold != 0 {
		c.kernel.MessagesSent() // of a writer that fell nobody says that
	}
	if c.fallsSilent(c.off) {
		c.kernel.debug, c.kernel.backlog = c.host.Polled(), nil
	}
	for ; c.reported != 0; c.reported-- {
		c.printReport(&c.reports[0])
		copy(c.reports[:], c.reports[1:])
	}
	if c.missed != 0 {
		format.Print(c.kernel.debug, "kapsel: %d more failures of capsules were not shown\n", uint64(c.missed))
		c.missed = 0
	}
	for c.untold != 0 {
		i := bits.TrailingZeros64(c.untold)
		c.untold &^= 1 << i
		c.tell(i)
	}
	c.waits = false
	for left := c.fallen; left != 0; left &= left - 1 {
		if i := bits.TrailingZeros64(left); c.off>>i&1 == 0 && !c.revive(i) {
			c.waits = true
		}
	}
	if c.waits && c.kernel.deferred.pending != 0 { // what is waited for may come of that; else of an interrupt
		c.work.Set()
	}
}

// Look has components that wait for something looked at again: an interrupt was served.
func (c *Components) Look() {
	if c.waits {
		c.work.Set()
	}
}

// StaysOff reports whether a component that failed stays off.
func (c *Components) StaysOff() bool { return c.off != 0 }

// Unsettled reports whether there are failures for HandleDeferredCall, which a board calls itself when the main loop has ended.
func (c *Components) Unsettled() bool { return c.untold != 0 }

// fallsSilent reports whether the kernel's messages go through one of a set of components.
func (c *Components) fallsSilent(set uint64) bool {
	for i := range c.list {
		if c.list[i].Debug && set>>i&1 != 0 {
			return true
		}
	}
	return false
}

// printReport prints the report of a failure: by polling, as long as the kernel's messages went through what fell.
func (c *Components) printReport(r *report) {
	w := c.kernel.debug
	if c.fallsSilent(c.fallen) {
		w = c.host.Polled()
		w.WriteString("\n")
	}
	w.WriteString("kapsel: capsule ")
	w.WriteString(c.list[r.failed].Name)
	w.WriteString(" failed: ")
	format.Text(w, r.message[:r.length])
	w.WriteString("\n")
	for _, pc := range r.pcs[:r.count] {
		c.host.PrintFrame(w, pc)
	}
	between := "  with it fall "
	for left := r.fallen; left != 0; left &= left - 1 {
		w.WriteString(between)
		w.WriteString(c.list[bits.TrailingZeros64(left)].Name)
		between = ", "
	}
	if r.fallen != 0 {
		w.WriteString("\n")
	}
	if c.off>>r.failed&1 != 0 {
		w.WriteString("  it stays off\n")
		return
	}
	format.Print(w, "  it is made anew, %d of %d times\n", uint64(r.again), uint64(c.restarts))
}

// revive makes a component anew that fell, or reports false if it waits for something.
func (c *Components) revive(i int) bool {
	p := &c.list[i]
	if c.fallen&c.made&p.uses != 0 || p.Ready != nil && !p.Ready() {
		return false
	}
	c.fallen &^= 1 << i
	made := c.remake(i)
	switch {
	case c.fallen>>i&1 != 0: // again
	case made:
	default:
		c.fall(i)
		c.off |= c.closure(1 << i)
		w := c.kernel.debug
		w.WriteString("kapsel: capsule ")
		w.WriteString(p.Name)
		w.WriteString(" cannot be made anew: it stays off\n")
	}
	c.enlist(i)
	return true
}

// remake has a component make itself again, with the driver numbers, grants and deferred calls that it had.
func (c *Components) remake(i int) bool {
	k, p := c.kernel, &c.list[i]
	sealed, grants, calls, drivers := k.sealed, k.grants, k.deferred.count, k.drivers.count
	k.sealed, k.grants, k.deferred.count, k.drivers.count = false, p.grants.from, uint32(p.deferred.from), p.drivers.from
	k.drivers.rekey(p.drivers, taken)
	c.clear(i) // once more: who still called it may have left something
	for n := p.grants.from; n < p.grants.to; n++ {
		*k.allSlots[n] = Slots{}
	}
	made := c.make(i)
	if !made || c.fallen>>i&1 != 0 {
		k.drivers.drop(p.drivers)
	}
	k.drivers.rekey(p.drivers, gone)
	k.sealed, k.grants, k.deferred.count, k.drivers.count = sealed, grants, calls, drivers
	return made
}

// enlist gives a component that was made anew the tasks that have its grants: with their upcalls and buffers.
func (c *Components) enlist(i int) {
	k, p := c.kernel, &c.list[i]
	for n := p.grants.from; n < p.grants.to; n++ {
		s := k.allSlots[n]
		if s.kernel == nil { // this time it did without
			*s = c.kept[n]
		}
		s.holders = 0
		for _, t := range k.tasks[:k.loaded] {
			if *s.of(t) != nil {
				s.holders |= t.bit
			}
		}
	}
}

// tell tells the tasks that have a component's grants of each operation that may have ended with it: a task that waits for the upcall that
// ends one, has a function for it, or is owed it. What the kernel keeps for the component is given up.
func (c *Components) tell(i int) {
	k, p := c.kernel, &c.list[i]
	if p.Fell != nil {
		p.Fell()
	}
	for n := p.grants.from; n < p.grants.to; n++ {
		s := k.allSlots[n]
		for _, t := range k.tasks[:k.loaded] {
			if *s.of(t) != nil {
				s.tell(t)
			}
		}
	}
}

func (s *Slots) tell(t *Task) {
	pending := s.takePending(t)
	for n := uint32(0); n < uint32(s.counts.Upcalls); n++ {
		if s.counts.Ends.has(n) && (s.awaited(t, n) || s.upcall(t, n).function() != 0 || pending>>n&1 != 0) {
			s.happen(t, n, s.counts.Ends.argument(n), 0, 0)
		}
	}
}

// Pending is which upcalls a task is owed as the ends of its operations: a bit for each, by its number. The value of a grant, if it has
// room for it, begins with its Pending; or, where one upcall alone ends operations, with 64 bits that are not 0 while one goes on. So
// a task is told that its operation has ended that does not wait for it yet. It is not told of others: it would take that for the end of its next.
type Pending uint64

const pendingSize = 8

// takePending takes from the grant's value which upcalls the task is owed.
func (s *Slots) takePending(t *Task) Pending {
	p := s.pending(t)
	if value := (*s.of(t))[s.at.value:]; p != 0 {
		store64(value, 0)
	}
	return p
}

// pending is which upcalls the task is owed, by the grant's value.
func (s *Slots) pending(t *Task) Pending {
	value := (*s.of(t))[s.at.value:]
	if len(value) < pendingSize {
		return 0
	}
	p := Pending(load64(value))
	if p != 0 && s.counts.Ends.one() {
		p = ^Pending(0)
	}
	return p
}

// Ends says which upcalls of a driver end an operation, so that a task is told when the capsule fails: a union of EndsFailed and
// EndsEmpty, or EndsNothing.
type Ends uint32

// EndsNothing is for upcalls that tell of what happens, and end no operation.
const EndsNothing Ends = 0

// EndsFailed is an upcall, of a number below 16, that ends an operation and has a status as its first argument: abi.FAIL then.
func EndsFailed(n uint32) Ends { return 1 << n }

// EndsEmpty is an upcall, of a number below 16, that ends an operation and has no status: its arguments are 0 then.
func EndsEmpty(n uint32) Ends { return 1 << 16 << n }

// has reports whether an upcall ends an operation.
func (e Ends) has(n uint32) bool { return n < 16 && (e|e>>16)>>n&1 != 0 }

// one reports whether there is one that ends an operation.
func (e Ends) one() bool {
	e = (e | e>>16) & 0xffff
	return e&(e-1) == 0
}

// argument is the first argument of an upcall that ends an operation.
func (e Ends) argument(n uint32) uint32 {
	if e>>n&1 != 0 {
		return abi.FAIL.Status()
	}
	return 0
}
