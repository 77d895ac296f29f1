package storage

// Offsets in a bucket, a page. Behind the records all is zero up to the checksum.
const (
	bucketMagicAt      = 0
	bucketGenerationAt = 8
	bucketIndexAt      = 16
	bucketUsedAt       = 20 // bytes of the records
	bucketCountAt      = 22 // of the records
	bucketRecordsAt    = 24
	bucketRecordsEnd   = PageSize - checksumSize
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
	BucketRoom = bucketRecordsEnd - bucketRecordsAt
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

// CheckBucket reads a copy of the bucket with an index out of a page. What is Blank is an empty bucket of generation 0, which the
// page becomes; what is neither that nor Whole has no bucket, and the page stays.
func CheckBucket(page []byte, index uint32) (Bucket, Problem) {
	if len(page) < PageSize {
		return Bucket{}, Truncated
	}
	b := page[:PageSize]
	if zeroes(b) {
		return NewBucket(b, index), Blank
	}
	if get64(b, bucketMagicAt) != bucketMagic {
		return Bucket{}, Foreign
	}
	used := int(get16(b, bucketUsedAt))
	if used > BucketRoom || !sealed(b, bucketRecordsAt+used) {
		return Bucket{}, BadChecksum
	}
	if get64(b, bucketGenerationAt) == 0 || get32(b, bucketIndexAt) != index || !recordsFit(b, used) {
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

// Newer is the copy that counts of the two of a bucket, 0 or 1: a valid one, and the one of the higher generation. It reports
// false if neither is valid.
func Newer(first Bucket, firstProblem Problem, second Bucket, secondProblem Problem) (copy int, ok bool) {
	firstOK, secondOK := firstProblem <= Blank, secondProblem <= Blank
	if secondOK && (!firstOK || second.Generation() > first.Generation()) {
		return 1, true
	}
	return 0, firstOK
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

// Seal makes the page one that can be written, of a generation above 0.
func (b Bucket) Seal(generation uint64) {
	put64(b.page, bucketGenerationAt, generation)
	seal(b.page, bucketRecordsAt+b.used())
}
