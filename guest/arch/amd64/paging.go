package amd64

import "kapsel/guest/abi"

// A table is a page table of any level (SDM vol. 3, 4.5).
type table [512]uint64

// Bits of an entry.
const (
	pteP   = 1 << 0 // present
	pteW   = 1 << 1 // writeable
	pteU   = 1 << 2 // ring 3 may
	ptePWT = 1 << 3
	ptePCD = 1 << 4 // with PWT: a device, not cached
	ptePS  = 1 << 7 // in a PDPT or PD: a large page
	pteG   = 1 << 8 // in every address space
	pteNX  = 1 << 63

	pteAddress = 0x000f_ffff_ffff_f000
)

// What pages are used for. There is none that is writeable and executable.
const (
	kernelRX = pteP | pteG
	kernelR  = pteP | pteG | pteNX
	kernelRW = pteP | pteG | pteNX | pteW
	deviceRW = pteP | pteG | pteNX | pteW | ptePCD | ptePWT
	userRX   = pteP | pteU
	userRW   = pteP | pteU | pteNX | pteW

	tableBits = pteP | pteW | pteU // rights are decided at the last level
)

const (
	largePage = 2 << 20
	hugePage  = 1 << 30
)

// An addressSpace is a tree of page tables.
type addressSpace struct {
	root   uint64 // physical address of the PML4
	frames *frames
	huge   bool // the CPU has 1 GiB pages
}

// entry returns the entry of virt in the table at the given level, which maps 1<<shift bytes
// an entry, making the tables above it if grow is set. nil: a table is missing, or, with
// grow, no frame was left.
func (s *addressSpace) entry(virt uint64, shift uint, grow bool) *uint64 {
	t := at[table](s.root)
	for level := uint(39); level > shift; level -= 9 {
		e := &t[virt>>level&511]
		if *e&pteP == 0 {
			if !grow {
				return nil
			}
			frame, ok := s.frames.take()
			if !ok {
				return nil
			}
			*e = frame | tableBits
		}
		t = at[table](*e & pteAddress)
	}
	return &t[virt>>shift&511]
}

// reserve makes the tables for 4 KiB pages in [virt, virt+size), so that mapping them cannot
// fail. It reports false if no frame was left.
func (s *addressSpace) reserve(virt, size uint64) bool {
	for end := virt + size; virt < end; virt = (virt + largePage) &^ (largePage - 1) {
		if s.entry(virt, 12, true) == nil {
			return false
		}
	}
	return true
}

// mapPages maps 4 KiB pages. All addresses are page aligned and the range is reserved.
func (s *addressSpace) mapPages(virt, phys, size, bits uint64) {
	for off := uint64(0); off < size; off += abi.PageSize {
		*s.entry(virt+off, 12, false) = (phys + off) | bits
	}
}

// unmapPages takes 4 KiB pages away. The range is reserved.
func (s *addressSpace) unmapPages(virt, size uint64) {
	for off := uint64(0); off < size; off += abi.PageSize {
		*s.entry(virt+off, 12, false) = 0
	}
}

// mapRange maps page-aligned physical memory with the largest pages that fit. It reports
// false if no frame was left. Nothing is mapped in the range yet.
func (s *addressSpace) mapRange(virt, phys, size, bits uint64) bool {
	for size > 0 {
		shift, step, large := s.pageFor(virt|phys, size)
		e := s.entry(virt, shift, true)
		if e == nil {
			return false
		}
		*e = phys | bits | large
		virt, phys, size = virt+step, phys+step, size-step
	}
	return true
}

// pageFor chooses the page for a range of that alignment and size: its table's shift, its
// size and its large-page bit.
func (s *addressSpace) pageFor(alignment, size uint64) (shift uint, step, large uint64) {
	switch {
	case s.huge && alignment%hugePage == 0 && size >= hugePage:
		return 30, hugePage, ptePS
	case alignment%largePage == 0 && size >= largePage:
		return 21, largePage, ptePS
	}
	return 12, abi.PageSize, 0
}

// shareKernel copies the upper half of another space's top table: the kernel and the direct
// map, which are the same everywhere.
func (s *addressSpace) shareKernel(from *addressSpace) {
	copy(at[table](s.root)[256:], at[table](from.root)[256:])
}
