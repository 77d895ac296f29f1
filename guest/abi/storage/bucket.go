package storage

import "kapsel/guest/kernel/crc32c"

// Offsets in a bucket, a page. A device writes sectors whole, a page not: the first sector says what is in all others, and what was
// there before, so that a write that did not end is told from damage. Behind the records all is zero.
const (
	bucketMagicAt      = 0
	bucketGenerationAt = 8
	bucketIndexAt      = 16
	bucketUsedAt       = 20 // bytes of the records
	bucketCountAt      = 22 // of the records
	bucketSumsAt       = 24 // of the sectors behind the first
	bucketBeforeAt     = bucketSumsAt + 4*(bucketSectors-1)
	bucketChecksumAt   = bucketBeforeAt + 4*(bucketSectors-1) // of the first sector without these four bytes
	bucketRecordsAt    = bucketChecksumAt + checksumSize
	bucketSectors      = PageSize / SectorSize
)

// Offsets in a record. Behind the header are key and value.
const (
	recordSequenceAt = 0
	recordOwnerAt    = 8
	recordKeyAt      = 12 // bytes of the key
	recordValueAt    = 14 // bytes of the value
	recordHeader     = 16
)

// Limits of records, in bytes.
const (
	MaxKey   = 64
	MaxValue = 2048
	// BucketRoom is what a bucket has room for: RecordBytes of all its records.
	BucketRoom = PageSize - bucketRecordsAt
)

// RecordBytes is what a record takes of a bucket.
func RecordBytes(key, value int) int { return recordHeader + key + value }

// Record is a key with its value. Key and Value are parts of the bucket's page.
type Record struct {
	Sequence uint64 // the highest of those with one key counts
	Owner    uint32 // the write identifier of who wrote it, not 0
	Key      []byte // up to MaxKey bytes
	Value    []byte // up to MaxValue bytes
}

// Sums are the checksums of a page's sectors behind the first.
type Sums [bucketSectors - 1]uint32

// Compute fills them in.
func (s *Sums) Compute(page []byte) {
	for i := range s {
		s[i] = sectorSum(page[(i+1)*SectorSize : (i+2)*SectorSize])
	}
}

// sumOfZeroes is the checksum of a sector of zeroes.
const sumOfZeroes = 0x30fc_edc0

// sectorSum is the checksum of a sector. Most sectors of most buckets are zeroes, which is found out much faster.
func sectorSum(sector []byte) uint32 {
	if zeroes(sector) {
		return sumOfZeroes
	}
	return crc32c.Sum(sector)
}

// put writes them at an offset.
func (s *Sums) put(page []byte, at int) {
	for i, sum := range s {
		put32(page, at+4*i, sum)
	}
}

// standing compares them with what the page's first sector says of the others.
func (s *Sums) standing(page []byte) Problem {
	found := Whole
	for i, sum := range s {
		switch sum {
		case get32(page, bucketSumsAt+4*i):
		case get32(page, bucketBeforeAt+4*i):
			found = Torn
		default:
			return BadChecksum
		}
	}
	return found
}

// headSum is the checksum of a page's first sector.
func headSum(page []byte) uint32 {
	return crc32c.Add(crc32c.Sum(page[:bucketChecksumAt]), page[bucketRecordsAt:SectorSize])
}

// Bucket is the page of a bucket's copy. NewBucket and CheckBucket make one; nobody else changes the page meanwhile, but even then
// no method reads or writes behind it.
type Bucket struct {
	page []byte
}

// NewBucket makes an empty bucket in a page, of generation 0: it has to be sealed before it is written.
func NewBucket(page []byte, index uint32) Bucket {
	b := page[:PageSize]
	clear(b)
	put64(b, bucketMagicAt, bucketMagic)
	put32(b, bucketIndexAt, index)
	return Bucket{b}
}

// CheckBucket reads a copy of the bucket with an index out of a page, and computes the page's sums. One whose first sector is
// zeroes is Blank, an empty bucket of generation 0, which the page becomes. Of one that is neither that nor Whole the records are
// not to be read, and the page stays. Newer looks at its generation, if the first sector is right.
func CheckBucket(page []byte, index uint32, sums *Sums) (Bucket, Problem) {
	if len(page) < PageSize {
		return Bucket{}, Truncated
	}
	b := page[:PageSize]
	sums.Compute(b)
	switch used := int(get16(b, bucketUsedAt)); {
	case zeroes(b[:SectorSize]):
		return NewBucket(b, index), Blank
	case get64(b, bucketMagicAt) != bucketMagic:
		return Bucket{}, Foreign
	case get32(b, bucketChecksumAt) != headSum(b):
		return Bucket{}, BadChecksum
	case get64(b, bucketGenerationAt) == 0 || get32(b, bucketIndexAt) != index || used > BucketRoom:
		return Bucket{}, BadField
	case sums.standing(b) != Whole:
		return Bucket{b}, sums.standing(b)
	case !zeroes(b[bucketRecordsAt+used:]) || !recordsFit(b, used):
		return Bucket{}, BadField
	}
	return Bucket{b}, Whole
}

// recordsFit reports whether the records are as many as the bucket says, and take what it says.
func recordsFit(page []byte, used int) bool {
	records := Records{rest: page[bucketRecordsAt : bucketRecordsAt+used]}
	n := 0
	for r := (Record{}); records.Next(&r); n++ {
		if r.Owner == 0 {
			return false
		}
	}
	return len(records.rest) == 0 && n == int(get16(page, bucketCountAt))
}

// Newer is the copy that counts of the two of a bucket, 0 or 1: that of the higher generation, or the other one while its write did
// not end. It reports false if a damage may have hit the one that counts: then the bucket is lost, as the other one is older.
func Newer(first Bucket, firstProblem Problem, second Bucket, secondProblem Problem) (copy int, ok bool) {
	switch {
	case first.page == nil || second.page == nil:
		return 0, false
	case first.Generation() == second.Generation():
		return 0, first.Generation() == 0
	case first.Generation() > second.Generation():
		return newer(0, firstProblem, secondProblem)
	}
	return newer(1, secondProblem, firstProblem)
}

// newer is Newer, where the copy of the higher generation is known.
func newer(higher int, higherProblem, lowerProblem Problem) (copy int, ok bool) {
	if higherProblem == Torn {
		return 1 - higher, lowerProblem <= Blank
	}
	return higher, higherProblem == Whole
}

// Generation counts the writes of the bucket.
func (b Bucket) Generation() uint64 { return get64(b.page, bucketGenerationAt) }

// Count is how many records there are.
func (b Bucket) Count() int { return int(get16(b.page, bucketCountAt)) }

// Room is how many bytes are free: RecordBytes of what fits.
func (b Bucket) Room() int { return BucketRoom - b.used() }

// used is how many bytes the records take. A page that someone changed has no more than there is.
func (b Bucket) used() int { return min(int(get16(b.page, bucketUsedAt)), BucketRoom) }

// Records begins with the first record.
func (b Bucket) Records() Records {
	return Records{rest: b.page[bucketRecordsAt : bucketRecordsAt+b.used()]}
}

// Records are those that are still to come of a bucket.
type Records struct {
	rest []byte
}

// Next fills r with the next record, and reports whether there was one.
func (c *Records) Next(r *Record) bool {
	rest := c.rest
	if len(rest) < recordHeader {
		return false
	}
	key, value := int(get16(rest, recordKeyAt)), int(get16(rest, recordValueAt))
	size := RecordBytes(key, value)
	if key > MaxKey || value > MaxValue || size > len(rest) {
		return false
	}
	r.Sequence, r.Owner = get64(rest, recordSequenceAt), get32(rest, recordOwnerAt)
	r.Key, r.Value = rest[recordHeader:recordHeader+key], rest[recordHeader+key:size]
	c.rest = rest[size:]
	return true
}

// Append adds a record, whose key and value are not parts of this page, and reports false if it has no room or is no record.
func (b Bucket) Append(r *Record) bool {
	size := RecordBytes(len(r.Key), len(r.Value))
	if r.Owner == 0 || len(r.Key) > MaxKey || len(r.Value) > MaxValue || size > b.Room() {
		return false
	}
	used := b.used()
	to := b.page[bucketRecordsAt+used : bucketRecordsAt+used+size]
	put64(to, recordSequenceAt, r.Sequence)
	put32(to, recordOwnerAt, r.Owner)
	put16(to, recordKeyAt, uint16(len(r.Key)))
	put16(to, recordValueAt, uint16(len(r.Value)))
	copy(to[recordHeader:], r.Key)
	copy(to[recordHeader+len(r.Key):], r.Value)
	put16(b.page, bucketUsedAt, uint16(used+size))
	put16(b.page, bucketCountAt, get16(b.page, bucketCountAt)+1)
	return true
}

// CopyWithout makes the bucket in another page, without the records of a key, as a new one of generation 0.
func (b Bucket) CopyWithout(page []byte, key []byte) Bucket {
	to := NewBucket(page, get32(b.page, bucketIndexAt))
	records := b.Records()
	for r := (Record{}); records.Next(&r); {
		if !Equal(r.Key, key) {
			to.Append(&r)
		}
	}
	return to
}

// Equal reports whether two keys are the same.
func Equal(a, b []byte) bool { return string(a) == string(b) }

// Seal makes the page one that can be written, of a generation above 0, over a page of which the sums are before.
func (b Bucket) Seal(generation uint64, before *Sums) {
	var sums Sums
	sums.Compute(b.page)
	put64(b.page, bucketGenerationAt, generation)
	sums.put(b.page, bucketSumsAt)
	before.put(b.page, bucketBeforeAt)
	put32(b.page, bucketChecksumAt, headSum(b.page))
}
