package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// example is a storage of 1 MiB with 4 buckets and room for 239 pages of regions.
func example() Superblock {
	s := Superblock{Pages: 256, RegionPages: 16, BucketsPage: FirstFreePage, Buckets: 4, RegionsPage: FirstFreePage + 8}
	for i := range 16 {
		s.Identity[i], s.HashKey[i] = byte(i), byte(0xf0+i)
	}
	return s
}

func encoded(s Superblock) []byte {
	sector := bytes.Repeat([]byte{0xee}, SectorSize)
	s.Encode(sector)
	return sector
}

func TestSuperblock(t *testing.T) {
	want := example()
	var got Superblock
	require.Equal(t, Whole, got.Decode(encoded(want), want.Pages))
	assert.Equal(t, want, got)
	assert.Equal(t, "KAPSELST", string(encoded(want)[:8]))
	require.Equal(t, Whole, got.Decode(encoded(want), want.Pages+1), "the device may be larger")
}

func TestSuperblockProblems(t *testing.T) {
	const all = 1 << 40
	with := func(change func(*Superblock)) []byte {
		s := example()
		change(&s)
		return encoded(s)
	}
	poke := func(at int, v byte, sealing bool) []byte {
		b := encoded(example())
		b[at] = v
		if sealing {
			seal(b, superblockUsed)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		sector []byte
		pages  uint64
		want   Problem
	}{
		{"new", make([]byte, SectorSize), all, Blank},
		{"no sector", make([]byte, SectorSize-1), all, Truncated},
		{"foreign", bytes.Repeat([]byte{0x55}, SectorSize), all, Foreign},
		{"a region's entry", func() []byte { b := make([]byte, SectorSize); (&Region{Owner: 1, Pages: 1}).Encode(b, 0); return b }(), all, Foreign},
		{"other version, whatever its checksum", poke(superblockVersionAt, 2, false), all, OtherVersion},
		{"truncated", encoded(example()), 255, Truncated},
		{"a bit of a field", poke(superblockPagesAt, 1, false), all, BadChecksum},
		{"a bit behind the fields", poke(superblockUsed, 1, false), all, BadChecksum},
		{"a bit behind the fields, sealed", poke(superblockUsed, 1, true), all, BadChecksum},
		{"a bit of the checksum", poke(SectorSize-1, 1, false), all, BadChecksum},
		{"pages of another size", poke(superblockPageSizeAt+1, 0x20, true), all, BadField},
		{"more pages than can be", with(func(s *Superblock) { s.Pages = MaxPages + 1 }), 1 << 63, BadField},
		{"regions of no pages", with(func(s *Superblock) { s.RegionPages = 0 }), all, BadField},
		{"one bucket", with(func(s *Superblock) { s.Buckets = 1 }), all, BadField},
		{"too many buckets", with(func(s *Superblock) { s.Buckets = MaxBuckets + 1 }), all, BadField},
		{"buckets in the table", with(func(s *Superblock) { s.BucketsPage = FirstFreePage - 1 }), all, BadField},
		{"buckets at the end of all addresses", with(func(s *Superblock) { s.BucketsPage = ^uint64(0) - 7 }), all, BadField},
		{"regions in the buckets", with(func(s *Superblock) { s.RegionsPage-- }), all, BadField},
		{"regions behind the end", with(func(s *Superblock) { s.RegionsPage = s.Pages + 1 }), all, BadField},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Superblock
			assert.Equal(t, tt.want, s.Decode(tt.sector, tt.pages))
		})
	}
}

// Keys spread over all buckets, and no key has one bucket twice.
func TestCandidates(t *testing.T) {
	for _, buckets := range []uint64{2, 3, 128, MaxBuckets} {
		s := Superblock{Buckets: buckets}
		counts := map[uint32]int{}
		const keys = 4096
		for i := range keys {
			a, b := s.Candidates(binary.LittleEndian.AppendUint32(nil, uint32(i)))
			require.NotEqual(t, a, b)
			require.Less(t, uint64(max(a, b)), buckets)
			counts[a]++
			counts[b]++
		}
		if buckets > 128 {
			continue
		}
		for index, n := range counts {
			assert.InDelta(t, 2*keys/float64(buckets), n, 2*keys/float64(buckets), "bucket %d of %d", index, buckets)
		}
		assert.Len(t, counts, int(buckets))
	}
}

func TestHashKeyDecidesCandidates(t *testing.T) {
	one, other := Superblock{Buckets: 128}, Superblock{Buckets: 128, HashKey: [16]byte{1}}
	differ := 0
	for i := range 100 {
		a, b := one.Candidates([]byte{byte(i)})
		c, d := other.Candidates([]byte{byte(i)})
		if a != c || b != d {
			differ++
		}
	}
	assert.Greater(t, differ, 90)
}

// table reads a table of sectors, and tells each entry that is in use.
func table(s *Superblock, sectors []byte) (tab Table, found []string) {
	tab.Start(s)
	for i := range Regions {
		var r Region
		switch p := tab.Next(sectors[i*SectorSize:], &r); p {
		case Blank:
		case Whole:
			found = append(found, fmt.Sprintf("%d: %#x/%d %d+%d", i, r.Driver, r.Owner, r.Page, r.Pages))
		default:
			found = append(found, fmt.Sprintf("%d: %v", i, p))
		}
	}
	return tab, found
}

func TestTable(t *testing.T) {
	s := example()
	sectors := make([]byte, TablePages*PageSize)
	tab, found := table(&s, sectors)
	assert.Empty(t, found)
	for i := range 14 {
		var r Region
		index, ok := tab.Allocate(&r, 0x50001, uint32(i+1), s.RegionPages)
		require.True(t, ok)
		require.EqualValues(t, i, index)
		r.Encode(sectors[i*SectorSize:], index)
	}
	var r Region
	_, ok := tab.Allocate(&r, 0x50001, 15, s.RegionPages)
	assert.False(t, ok, "15 pages are left")
	assert.EqualValues(t, 15, tab.FreePages())
	again, found := table(&s, sectors)
	assert.Equal(t, "0: 0x50001/1 17+16", found[0])
	assert.Equal(t, "13: 0x50001/14 225+16", found[13])
	assert.Equal(t, tab.FreePages(), again.FreePages())
	assert.False(t, again.Hurt())
	_, ok = again.Allocate(&r, 0x50001, 0, 1)
	assert.False(t, ok, "0 is nobody's")
}

func TestTableIsFull(t *testing.T) {
	s := example()
	var tab Table
	tab.Start(&s)
	tab, _ = table(&s, make([]byte, TablePages*PageSize))
	var r Region
	for range Regions {
		_, ok := tab.Allocate(&r, 1, 1, 1)
		require.True(t, ok)
	}
	_, ok := tab.Allocate(&r, 1, 1, 1)
	assert.False(t, ok)
}

func TestTableProblems(t *testing.T) {
	s := example()
	three := func(change func(regions []Region, sectors []byte)) []byte {
		sectors := make([]byte, TablePages*PageSize)
		regions := []Region{{1, 7, 17, 16}, {1, 8, 33, 16}, {2, 7, 49, 16}}
		change(regions, nil)
		for i := range regions {
			regions[i].Encode(sectors[i*SectorSize:], uint32(i))
		}
		change(regions, sectors)
		return sectors
	}
	field := func(change func([]Region)) []byte {
		return three(func(r []Region, sectors []byte) {
			if sectors == nil {
				change(r)
			}
		})
	}
	raw := func(change func([]byte)) []byte {
		return three(func(_ []Region, sectors []byte) {
			if sectors != nil {
				change(sectors)
			}
		})
	}
	whole := []string{"0: 0x1/7 17+16", "1: 0x1/8 33+16", "2: 0x2/7 49+16"}
	second := func(what Problem) []string { return []string{whole[0], "1: " + what.String(), whole[2]} }
	for _, tt := range []struct {
		name    string
		sectors []byte
		want    []string
	}{
		{"a bit", raw(func(b []byte) { b[SectorSize+regionPageAt] ^= 1 }), second(BadChecksum)},
		{"a bit behind the fields", raw(func(b []byte) { b[SectorSize+100] ^= 1 }), second(BadChecksum)},
		{"something else", raw(func(b []byte) { copy(b[SectorSize:], "something") }), second(Foreign)},
		{"an entry at another's place", raw(func(b []byte) { copy(b[SectorSize:2*SectorSize], b) }), second(BadField)},
		{"another version", raw(func(b []byte) { b[SectorSize+regionVersionAt]++; seal(b[SectorSize:2*SectorSize], regionUsed) }), second(BadField)},
		{"nobody's", field(func(r []Region) { r[1].Owner = 0 }), second(BadField)},
		{"no pages", field(func(r []Region) { r[1].Pages = 0 }), second(BadField)},
		{"within the one before", field(func(r []Region) { r[1].Page-- }), second(BadField)},
		{"in front of the regions", field(func(r []Region) { r[1].Page = 0 }), second(BadField)},
		{"behind the end", field(func(r []Region) { r[1].Page = 256 }), second(BadField)},
		{"beyond the end", field(func(r []Region) { r[1].Pages = 256 - 33 + 1 }), second(BadField)},
		{"at the end of all addresses", field(func(r []Region) { r[1].Page, r[1].Pages = ^uint64(0), 2 }), second(BadField)},
		{"longer than all addresses", field(func(r []Region) { r[1].Pages = ^uint64(0) }), second(BadField)},
		{"into the one behind", field(func(r []Region) { r[1].Pages++ }), []string{whole[0], "1: 0x1/8 33+17", "2: " + BadField.String()}},
		{"an entry is lost", raw(func(b []byte) { clear(b[SectorSize : 2*SectorSize]) }), []string{whole[0], whole[2]}},
		{"a gap", field(func(r []Region) { r[2].Page++ }), []string{whole[0], whole[1], "2: 0x2/7 50+16"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab, found := table(&s, tt.sectors)
			assert.Equal(t, tt.want, found)
			assert.True(t, tab.Hurt())
			var r Region
			_, ok := tab.Allocate(&r, 3, 3, 1)
			assert.False(t, ok, "nothing is allocated any more")
		})
	}
	tab, found := table(&s, raw(func([]byte) {}))
	assert.Equal(t, whole, found)
	assert.False(t, tab.Hurt())
}

func record(sequence uint64, owner uint32, key, value string) *Record {
	return &Record{sequence, owner, []byte(key), []byte(value)}
}

// content tells the records of a bucket.
func content(b Bucket) (all []string) {
	records := b.Records()
	for r := (Record{}); records.Next(&r); {
		all = append(all, fmt.Sprintf("%d %d %s=%s", r.Sequence, r.Owner, r.Key, r.Value))
	}
	return all
}

// forge makes the checksums of a bucket right for whatever its page has.
func forge(page []byte) {
	var before Sums
	for i := range before {
		before[i] = get32(page, bucketBeforeAt+4*i)
	}
	Bucket{page}.Seal(get64(page, bucketGenerationAt), &before)
}

func TestBucket(t *testing.T) {
	var sums Sums
	page := bytes.Repeat([]byte{0xee}, PageSize)
	b := NewBucket(page, 5)
	require.True(t, b.Append(record(1, 7, "one", "1")))
	require.True(t, b.Append(record(2, 8, "two", "")))
	require.True(t, b.Append(record(3, 7, "", "three")))
	b.Seal(9, &sums)
	got, problem := CheckBucket(bytes.Clone(page), 5, &sums)
	require.Equal(t, Whole, problem)
	assert.Equal(t, []string{"1 7 one=1", "2 8 two=", "3 7 =three"}, content(got))
	assert.EqualValues(t, 9, got.Generation())
	assert.Equal(t, 3, got.Count())
	assert.Equal(t, BucketRoom-3*recordHeader-12, got.Room())

	without := got.CopyWithout(bytes.Repeat([]byte{0xee}, PageSize), []byte("one"))
	require.True(t, without.Append(record(4, 7, "one", "2")))
	without.Seal(10, &sums)
	assert.Equal(t, []string{"2 8 two=", "3 7 =three", "4 7 one=2"}, content(without))
	_, problem = CheckBucket(without.page, 5, &sums)
	assert.Equal(t, Whole, problem)
	empty := got.CopyWithout(make([]byte, PageSize), []byte("one")).CopyWithout(make([]byte, PageSize), []byte("two")).CopyWithout(make([]byte, PageSize), nil)
	assert.Equal(t, BucketRoom, empty.Room())
	assert.True(t, zeroes(empty.page[bucketRecordsAt:]), "nothing is left of what was removed")
}

func TestSums(t *testing.T) {
	page := make([]byte, PageSize)
	for i := range page {
		page[i] = byte(i * i >> 3)
	}
	clear(page[2*SectorSize : 4*SectorSize])
	var sums Sums
	sums.Compute(page)
	for i, sum := range sums {
		assert.Equal(t, crc32.Checksum(page[(i+1)*SectorSize:(i+2)*SectorSize], crc32.MakeTable(crc32.Castagnoli)), sum, "sector %d", i+1)
	}
}

func BenchmarkCheckBucket(b *testing.B) {
	page := make([]byte, PageSize)
	bucket := NewBucket(page, 1)
	bucket.Append(record(1, 7, "key", "value"))
	var sums Sums
	sums.Compute(page)
	bucket.Seal(1, &sums)
	for b.Loop() {
		CheckBucket(page, 1, &sums)
	}
}

func TestAppendRefuses(t *testing.T) {
	b := NewBucket(make([]byte, PageSize), 0)
	long := func(n int) string { return string(make([]byte, n)) }
	assert.False(t, b.Append(record(1, 0, "k", "v")), "nobody's")
	assert.False(t, b.Append(record(1, 1, long(MaxKey+1), "")))
	assert.False(t, b.Append(record(1, 1, "", long(MaxValue+1))))
	require.True(t, b.Append(record(1, 1, long(MaxKey), long(MaxValue))))
	assert.False(t, b.Append(record(1, 1, "", long(b.Room()-recordHeader+1))))
	require.True(t, b.Append(record(1, 1, "", long(b.Room()-recordHeader))))
	assert.Zero(t, b.Room())
	assert.False(t, b.Append(record(1, 1, "", "")))
	b.Seal(1, new(Sums))
	_, problem := CheckBucket(b.page, 0, new(Sums))
	assert.Equal(t, Whole, problem)
}

func TestBucketProblems(t *testing.T) {
	change := func(sealing bool, at int, v ...byte) []byte {
		b := NewBucket(make([]byte, PageSize), 5)
		b.Append(record(1, 7, "key", "value"))
		b.Append(record(2, 7, "key", "value"))
		b.Seal(3, new(Sums))
		copy(b.page[at:], v)
		if sealing {
			forge(b.page)
		}
		return b.page
	}
	const second = bucketRecordsAt + recordHeader + 8
	for _, tt := range []struct {
		name string
		page []byte
		want Problem
	}{
		{"whole", change(false, 0), Whole},
		{"never written", make([]byte, PageSize), Blank},
		{"emptied", change(false, 0, make([]byte, SectorSize)...), Blank},
		{"half a page", make([]byte, PageSize-1), Truncated},
		{"something else", change(true, 0, 'k'), Foreign},
		{"a bit of a value", change(false, second-1, 'f'), BadChecksum},
		{"a bit behind the records", change(true, PageSize-1, 1), BadField},
		{"a bit of the last sector", change(false, PageSize-1, 1), BadChecksum},
		{"a bit of the checksum", change(false, bucketChecksumAt, 1), BadChecksum},
		{"more bytes than a page has", change(true, bucketUsedAt, 0xff, 0xff), BadField},
		{"generation 0", change(true, bucketGenerationAt, 0), BadField},
		{"another's place", change(true, bucketIndexAt, 6), BadField},
		{"fewer bytes", change(true, bucketUsedAt, 2*recordHeader+15), BadField},
		{"more bytes", change(true, bucketUsedAt, 2*recordHeader+17), BadField},
		{"fewer records", change(true, bucketCountAt, 1), BadField},
		{"more records", change(true, bucketCountAt, 3), BadField},
		{"a key over the end", change(true, second+recordKeyAt, 9), BadField},
		{"a value over the end", change(true, second+recordValueAt, 6), BadField},
		{"a long key", change(true, second+recordKeyAt, MaxKey+1), BadField},
		{"a long value", change(true, second+recordValueAt, 1, 8), BadField},
		{"nobody's", change(true, second+recordOwnerAt, 0), BadField},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := bytes.Clone(tt.page)
			_, problem := CheckBucket(tt.page, 5, new(Sums))
			assert.Equal(t, tt.want, problem)
			if problem != Blank {
				assert.Equal(t, before, tt.page, "it is only read")
			}
		})
	}
}

// TestNewer: each write is over the older copy, and can end after any of its sectors. What is neither is damage, and where it may
// have hit what counts there is no copy that counts: the other one is older.
func TestNewer(t *testing.T) {
	page := func(generation uint64, over []byte) []byte {
		if generation == 0 {
			return make([]byte, PageSize)
		}
		b := NewBucket(make([]byte, PageSize), 0)
		b.Append(record(generation, 1, "key", string(bytes.Repeat([]byte{byte(generation)}, MaxValue))))
		var before Sums
		before.Compute(over)
		b.Seal(generation, &before)
		return b.page
	}
	blank := page(0, nil)
	one := page(1, blank)
	two := page(2, blank)
	three := page(3, one)
	torn := func(old, new []byte, sectors ...int) []byte {
		p := bytes.Clone(old)
		for _, i := range sectors {
			copy(p[i*SectorSize:(i+1)*SectorSize], new[i*SectorSize:])
		}
		return p
	}
	damaged := func(p []byte, at int) []byte {
		p = bytes.Clone(p)
		p[at] ^= 0x10
		return p
	}
	const lost = -1
	for _, tt := range []struct {
		name          string
		first, second []byte
		want          int
	}{
		{"both never written", blank, blank, 0},
		{"the first", three, two, 0},
		{"the second", one, two, 1},
		{"the second is the first one", blank, one, 1},
		{"a write of the first sector alone", torn(one, three, 0), two, 1},
		{"a write of the first sector, and others", torn(one, three, 0, 2, 4), two, 1},
		{"a write that lacks one", torn(one, three, 0, 1, 2, 4, 5, 6, 7), two, 1},
		{"a write that lacks one that is the same", torn(one, three, 0, 1, 2, 3, 4, 5, 6), two, 0},
		{"a write without the first sector", torn(one, three, 1, 2, 3), two, 1},
		{"the second first write", one, torn(blank, two, 0, 1), 0},
		{"the very first write", torn(blank, one, 0, 1), blank, 1},
		{"the very first write without the first sector", torn(blank, one, 1, 2), blank, 0},
		{"damage of the newer one", damaged(three, 2000), two, lost},
		{"damage of the newer one's first sector", damaged(three, bucketGenerationAt), two, lost},
		{"damage of the older one", three, damaged(two, 2000), 0},
		{"damage of the older one's first sector", three, damaged(two, 100), lost},
		{"damage of one that was never written", one, damaged(blank, 2000), 0},
		{"damage under a write that did not end", torn(damaged(one, 2000), three, 0), two, lost},
		{"damage beside a write that did not end", torn(one, three, 0, 1), damaged(two, 2000), lost},
		{"the same generation", three, bytes.Clone(three), lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, p := CheckBucket(bytes.Clone(tt.first), 0, new(Sums))
			second, q := CheckBucket(bytes.Clone(tt.second), 0, new(Sums))
			copy, ok := Newer(first, p, second, q)
			assert.Equal(t, tt.want != lost, ok)
			if ok {
				assert.Equal(t, tt.want, copy)
			}
			copy, ok = Newer(second, q, first, p)
			assert.Equal(t, tt.want != lost, ok)
			if ok && p != q {
				assert.Equal(t, 1-tt.want, copy)
			}
		})
	}
}

func TestProblemsHaveWords(t *testing.T) {
	for p := Whole; p <= Truncated; p++ {
		assert.NotEmpty(t, p.String())
	}
	assert.Equal(t, "an unknown problem", (Truncated + 1).String())
}

func TestNothingNeedsMemory(t *testing.T) {
	s, sector, page, other := example(), make([]byte, SectorSize), make([]byte, PageSize), make([]byte, PageSize)
	r, sums := record(1, 1, "key", "value"), new(Sums)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		s.Encode(sector)
		s.Decode(sector, 256)
		s.Candidates(r.Key)
		b := NewBucket(page, 1)
		b.Append(r)
		b.Seal(1, sums)
		b, _ = CheckBucket(page, 1, sums)
		b.CopyWithout(other, r.Key).Seal(2, sums)
	}))
}
