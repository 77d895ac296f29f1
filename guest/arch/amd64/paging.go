package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// An addressSpace is a tree of page tables.
type addressSpace struct {
	_      [0]func()   // not comparable: no function is made for it
	root   uint64      // physical address of the PML4; 0: there is none yet
	cr3    uint64      // that with the process-context identifier
	ram    *kernel.RAM // that tables are taken from
	record uint64      // physical address of the page with the record of the slot's task
	huge   bool        // the CPU has 1 GiB pages
	stale  bool        // the processor may remember mappings that have changed
}

// load is the value that makes CR3 use the page tables as they are now. With process-context
// identifiers the processor remembers the translations of several tasks, and bit 63, which keep
// is then, says that they still hold (SDM vol. 3, 4.10.4.1).
func (s *addressSpace) load(keep uint64) uint64 {
	if s.stale {
		s.stale = false
		return s.cr3
	}
	return s.cr3 | keep
}

// entries returns the entries of virt and what follows, at most n and at most to its table's
// end, in the table at the given level, which maps 1<<shift bytes an entry. The tables
// above are made if grow is set. nil: a table is missing, or no frame was left.
//
//go:nosplit
func (s *addressSpace) entries(virt uint64, shift uint, n uint64, grow bool) []uint64 {
	t := at[table](s.root)
	for level := uint(39); level > shift; level -= 9 {
		e := &t[virt>>(level&63)&511]
		if *e&pteP == 0 {
			if !grow {
				return nil
			}
			frame, ok := s.takeFrame()
			if !ok {
				return nil
			}
			*e = frame | tableBits
		}
		t = at[table](*e & pteAddress)
	}
	first := virt >> (shift & 63) & 511
	return t[first:min(first+n, uint64(len(t)))]
}

// takeFrame takes a page frame filled with zeros, and returns its physical address. It reports
// false if none is left.
func (s *addressSpace) takeFrame() (phys uint64, ok bool) {
	page := s.ram.Take(pageSize)
	if page == nil {
		return 0, false
	}
	clear(page)
	return physicalOf(page), true
}

// reserve makes the tables for 4 KiB pages in [virt, virt+size), so that mapping them cannot
// fail. It reports false if no frame was left.
func (s *addressSpace) reserve(virt, size uint64) bool {
	for end := virt + size; virt < end; virt = (virt + largePage) &^ (largePage - 1) {
		if s.entries(virt, 12, 1, true) == nil {
			return false
		}
	}
	return true
}

// reserved returns the entries of the first pages of a reserved range, at least one.
func (s *addressSpace) reserved(virt, size uint64) []uint64 {
	entries := s.entries(virt, 12, size>>12, false)
	if entries == nil {
		panic("page tables changed where none are reserved")
	}
	return entries
}

// mapPages maps 4 KiB pages. All addresses are page aligned and the range is reserved.
//
//go:nosplit
func (s *addressSpace) mapPages(virt, phys, size, bits uint64) {
	for size > 0 {
		entries := s.reserved(virt, size)
		value := phys | bits
		for i := range entries {
			entries[i] = value
			value += abi.PageSize
		}
		done := uint64(len(entries)) << 12
		virt, phys, size = virt+done, phys+done, size-done
	}
}

// unmapPages takes 4 KiB pages away. The range is reserved.
//
//go:nosplit
func (s *addressSpace) unmapPages(virt, size uint64) {
	for size > 0 {
		entries := s.reserved(virt, size)
		clear(entries)
		done := uint64(len(entries)) << 12
		virt, size = virt+done, size-done
	}
}

// mapRange maps page-aligned physical memory with the largest pages that fit. It reports
// false if no frame was left. Nothing is mapped in the range yet.
//
//go:nosplit
func (s *addressSpace) mapRange(virt, phys, size, bits uint64) bool {
	for size > 0 {
		shift, n, large := s.pagesFor(virt|phys, size)
		entries := s.entries(virt, shift, n, true)
		if entries == nil {
			return false
		}
		fill(entries, phys|bits|large, uint64(1)<<shift)
		done := uint64(len(entries)) << shift
		virt, phys, size = virt+done, phys+done, size-done
	}
	return true
}

// pagesFor chooses the pages for the start of a range of that alignment and size: their
// table's shift, how many there can be, and their large-page bit.
func (s *addressSpace) pagesFor(alignment, size uint64) (shift uint, n, large uint64) {
	switch {
	case s.huge && alignment%hugePage == 0 && size >= hugePage:
		return 30, size >> 30, ptePS
	case alignment%largePage == 0 && size >= largePage:
		return 21, size >> 21, ptePS
	}
	small := min(size, largePage-alignment%largePage) // up to where a large page may begin
	return 12, small >> 12, 0
}

// shareKernel copies the upper half of another space's top table: the kernel and the direct
// map up to the physical address end, which are the same everywhere.
func (s *addressSpace) shareKernel(from *addressSpace, end uint64) {
	to, kernel := at[table](s.root), at[table](from.root)
	for virt := uint64(abi.DirectMap); virt < abi.DirectMap+end; virt += topPage {
		to[virt>>39&511] = kernel[virt>>39&511]
	}
	const image = abi.KernelBase >> 39 & 511
	to[image] = kernel[image]
}
