package storage

// Offsets in an entry of the region table, a sector. What is behind the last field is zero up to the checksum.
const (
	regionMagicAt   = 0
	regionVersionAt = 8
	regionIndexAt   = 12
	regionDriverAt  = 16
	regionOwnerAt   = 20
	regionPageAt    = 24 // first page
	regionPagesAt   = 32
	regionUsed      = 40
)

// Region is an entry of the region table: pages that belong to an owner at a driver.
type Region struct {
	Driver uint32
	Owner  uint32 // the write identifier of tasks, not 0
	Page   uint64 // the first
	Pages  uint64 // at least 1
}

// Encode writes the entry with an index into a sector.
func (r *Region) Encode(sector []byte, index uint32) {
	b := sector[:SectorSize]
	clear(b)
	put64(b, regionMagicAt, regionMagic)
	put32(b, regionVersionAt, Version)
	put32(b, regionIndexAt, index)
	put32(b, regionDriverAt, r.Driver)
	put32(b, regionOwnerAt, r.Owner)
	put64(b, regionPageAt, r.Page)
	put64(b, regionPagesAt, r.Pages)
	seal(b, regionUsed)
}

// Decode reads the entry with an index out of a sector. Blank is a free one. The region is right if the entry is Whole; whether
// it lies in the storage is for Table to say.
func (r *Region) Decode(sector []byte, index uint32) Problem {
	if len(sector) < SectorSize {
		return Truncated
	}
	b := sector[:SectorSize]
	switch {
	case zeroes(b):
		return Blank
	case get64(b, regionMagicAt) != regionMagic:
		return Foreign
	case !sealed(b, regionUsed):
		return BadChecksum
	case get32(b, regionVersionAt) != Version, get32(b, regionIndexAt) != index:
		return BadField
	}
	r.Driver, r.Owner = get32(b, regionDriverAt), get32(b, regionOwnerAt)
	r.Page, r.Pages = get64(b, regionPageAt), get64(b, regionPagesAt)
	if r.Owner == 0 || r.Pages == 0 || r.Page > MaxPages || r.Pages > MaxPages {
		return BadField
	}
	return Whole
}

// Table follows the region table, entry by entry from the first on, and finds regions that are not in the storage, or not
// behind the one before. A region that it calls Whole is disjoint from all others.
type Table struct {
	next  uint64 // the page behind the last region
	end   uint64 // the page behind the storage
	index uint32 // of the entry that comes next
	used  uint32 // the entries up to the last in use
	hurt  bool
}

// Start begins with the table of a storage.
func (t *Table) Start(s *Superblock) {
	t.next, t.end, t.index, t.used, t.hurt = s.RegionsPage, s.Pages, 0, 0, false
}

// Next reads the next entry, of Regions in all, and returns its region, if it is Whole. Blank is a free entry; all else is damage.
func (t *Table) Next(sector []byte, r *Region) Problem {
	index := t.index
	t.index++
	problem := r.Decode(sector, index)
	if problem == Whole && (r.Page < t.next || r.Page > t.end || r.Pages > t.end-r.Page) {
		problem = BadField
	}
	switch problem {
	case Blank:
	case Whole:
		if r.Page != t.next || index != t.used { // an entry before it is lost
			t.hurt = true
		}
		t.next, t.used = r.Page+r.Pages, t.index
	default:
		t.hurt, t.used = true, t.index
	}
	return problem
}

// Hurt reports whether an entry is damaged or lost. Then nothing is allocated any more, as it could be what another has.
func (t *Table) Hurt() bool { return t.hurt }

// Allocate makes the region that comes behind all others and returns the index of its entry, which the caller writes. It reports
// false if the table is hurt or full, or the storage has no room. Precondition: all entries were read.
func (t *Table) Allocate(r *Region, driver, owner uint32, pages uint64) (index uint32, ok bool) {
	if t.hurt || t.used == Regions || owner == 0 || pages == 0 || pages > t.end-t.next {
		return 0, false
	}
	r.Driver, r.Owner, r.Page, r.Pages = driver, owner, t.next, pages
	index = t.used
	t.next, t.used = t.next+pages, index+1
	return index, true
}

// FreePages is how many pages are behind all regions.
func (t *Table) FreePages() uint64 { return t.end - t.next }
