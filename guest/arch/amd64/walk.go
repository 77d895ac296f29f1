package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// NextPage implements kernel.CPU.
func (c *CPU) NextPage(slot int, from uint64) (kernel.Page, bool) {
	return c.spaces[slot].next(from)
}

// Frame implements kernel.CPU.
func (c *CPU) Frame(mem []byte) uint64 { return physicalOf(mem) }

// next finds the page at from, or else the first one above, as the processor would: rights
// are what all levels give (SDM vol. 3, 4.6.1).
func (s *addressSpace) next(from uint64) (kernel.Page, bool) {
	for s.root != 0 {
		if from == abi.UserMax { // the last address of the low half plus 1: the high half is next
			from = abi.DirectMap
		}
		p, shift, ok := s.lookup(from)
		if ok {
			return p, true
		}
		if from = (from>>shift + 1) << shift; from == 0 { // what the missing entry would map is passed over
			break
		}
	}
	return kernel.Page{}, false
}

// lookup finds the page at virt, or reports false, with the shift of the level at which
// there is no entry.
func (s *addressSpace) lookup(virt uint64) (p kernel.Page, shift uint, ok bool) {
	p = kernel.Page{User: true, Write: true, Execute: true}
	table := s.root
	for shift = 39; ; shift -= 9 {
		e := *at[uint64](table + virt>>shift&511*8)
		if e&pteP == 0 {
			return kernel.Page{}, shift, false
		}
		p.User = p.User && e&pteU != 0
		p.Write = p.Write && e&pteW != 0
		p.Execute = p.Execute && e&pteNX == 0
		if shift == 12 || shift < 39 && e&ptePS != 0 {
			p.Size = 1 << shift
			p.Addr = virt &^ (p.Size - 1)
			p.Frame = e & pteAddress &^ (p.Size - 1)
			return p, shift, true
		}
		table = e & pteAddress
	}
}
