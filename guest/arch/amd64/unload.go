package amd64

import "kapsel/guest/abi"

// FreeSpace implements kernel.SpaceCPU. The processor goes to the kernel's own tables first, and makes
// what it ran last load its tables anew. What it remembers of the slot's it forgets when they are used again.
func (c *CPU) FreeSpace(slot int) {
	s := &c.spaces[slot]
	if s.root == 0 {
		return
	}
	writeCR3(c.kernel.root)
	ready = nil
	if running.space != nil {
		running.space.stale = true
	}
	s.freeTables()
	s.root, s.cr3, s.stale = 0, 0, true
}

// FreeTask implements kernel.SpaceCPU.
func (c *CPU) FreeTask(slot int) {
	c.forget(slot)
	contexts[slot] = nil
	s := &c.spaces[slot]
	s.ram.Give(bytesAt(s.record, pageSize))
	s.record = 0
}

// freeTables gives back the tables of the low half and the top one, which the processor does not use.
func (s *addressSpace) freeTables() {
	for _, e4 := range at[table](s.root)[:abi.UserMax>>39] {
		if e4&pteP == 0 {
			continue
		}
		for _, e3 := range at[table](e4 & pteAddress) {
			if e3&pteP != 0 {
				s.freeLast(e3)
			}
		}
		s.freeFrame(e4)
	}
	s.freeFrame(s.root)
}

// freeLast gives back the table that an entry of the third level leads to, and the tables below it.
func (s *addressSpace) freeLast(e3 uint64) {
	for _, e2 := range at[table](e3 & pteAddress) {
		if e2&pteP != 0 {
			s.freeFrame(e2)
		}
	}
	s.freeFrame(e3)
}

// freeFrame gives back the frame that an entry names.
func (s *addressSpace) freeFrame(entry uint64) { s.ram.Give(bytesAt(entry&pteAddress, pageSize)) }
