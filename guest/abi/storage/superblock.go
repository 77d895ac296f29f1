package storage

import "kapsel/guest/kernel/siphash"

// Offsets in the superblock, a sector. What is behind the last field is zero up to the checksum.
const (
	superblockMagicAt       = 0
	superblockVersionAt     = 8
	superblockPageSizeAt    = 12
	superblockIdentityAt    = 16
	superblockHashKeyAt     = 32
	superblockPagesAt       = 48
	superblockRegionPagesAt = 56
	superblockBucketsAt     = 64 // first page
	superblockBucketCountAt = 72
	superblockRegionsAt     = 80 // first page
	superblockUsed          = 88
)

// Superblock says what a storage is and where its parts are. It is written when the storage is made, and never again.
type Superblock struct {
	Identity    [16]byte // random
	HashKey     [16]byte // of Candidates, random
	Pages       uint64   // of the whole storage
	RegionPages uint64   // of each region that is new, at least 1
	BucketsPage uint64   // where the buckets begin
	Buckets     uint64   // how many, MinBuckets to MaxBuckets; each is two pages
	RegionsPage uint64   // where the regions begin
}

// Encode writes the superblock into a sector.
func (s *Superblock) Encode(sector []byte) {
	b := sector[:SectorSize]
	clear(b)
	put64(b, superblockMagicAt, superblockMagic)
	put32(b, superblockVersionAt, Version)
	put32(b, superblockPageSizeAt, PageSize)
	for i := range s.Identity {
		b[superblockIdentityAt+i], b[superblockHashKeyAt+i] = s.Identity[i], s.HashKey[i]
	}
	put64(b, superblockPagesAt, s.Pages)
	put64(b, superblockRegionPagesAt, s.RegionPages)
	put64(b, superblockBucketsAt, s.BucketsPage)
	put64(b, superblockBucketCountAt, s.Buckets)
	put64(b, superblockRegionsAt, s.RegionsPage)
	seal(b, superblockUsed)
}

// Decode reads the superblock out of the first sector of a device that has so many whole pages. Its fields are right if the
// storage is Whole or Truncated.
func (s *Superblock) Decode(sector []byte, pages uint64) Problem {
	if len(sector) < SectorSize {
		return Truncated
	}
	b := sector[:SectorSize]
	switch {
	case zeroes(b):
		return Blank
	case get64(b, superblockMagicAt) != superblockMagic:
		return Foreign
	case VersionOf(b) != Version:
		return OtherVersion
	case !sealed(b, superblockUsed):
		return BadChecksum
	case get32(b, superblockPageSizeAt) != PageSize:
		return BadField
	}
	for i := range s.Identity {
		s.Identity[i], s.HashKey[i] = b[superblockIdentityAt+i], b[superblockHashKeyAt+i]
	}
	s.Pages = get64(b, superblockPagesAt)
	s.RegionPages = get64(b, superblockRegionPagesAt)
	s.BucketsPage = get64(b, superblockBucketsAt)
	s.Buckets = get64(b, superblockBucketCountAt)
	s.RegionsPage = get64(b, superblockRegionsAt)
	if !s.sound() {
		return BadField
	}
	if s.Pages > pages {
		return Truncated
	}
	return Whole
}

// VersionOf is the version that a superblock's sector says, if it is a superblock of whatever version.
func VersionOf(sector []byte) uint32 { return get32(sector, superblockVersionAt) }

// sound reports whether the parts lie in the storage in their order.
func (s *Superblock) sound() bool {
	if s.Pages > MaxPages || s.RegionPages == 0 || s.RegionPages > MaxPages || s.Buckets < MinBuckets || s.Buckets > MaxBuckets {
		return false
	}
	return s.BucketsPage >= FirstFreePage && s.BucketsPage <= s.Pages && // so that the sum is small
		s.BucketsPage+2*s.Buckets <= s.RegionsPage && s.RegionsPage <= s.Pages
}

// BucketPage is the page of a copy, 0 or 1, of the bucket with an index below Buckets.
func (s *Superblock) BucketPage(index uint32, copy int) uint64 {
	return s.BucketsPage + 2*uint64(index) + uint64(copy)
}

// Candidates are the two buckets in which a key's record may be. They are different ones, and without HashKey nobody can choose
// a key for the sake of its buckets.
func (s *Superblock) Candidates(key []byte) (first, second uint32) {
	hash, buckets := siphash.Sum(&s.HashKey, key), uint32(s.Buckets)
	first = uint32(hash) % buckets
	second = (first + 1 + uint32(hash>>32)%(buckets-1)) % buckets
	return first, second
}
