package storage

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// The targets below seal their input first if they are told to, as no fuzzer finds a checksum.

func FuzzSuperblock(f *testing.F) {
	f.Add(encoded(example()), uint64(256), false)
	f.Add(make([]byte, SectorSize), uint64(0), false)
	f.Add(encoded(example())[:SectorSize-1], uint64(256), false)
	f.Fuzz(func(t *testing.T, sector []byte, pages uint64, sealing bool) {
		if sealing && len(sector) >= SectorSize {
			seal(sector[:SectorSize], superblockUsed)
		}
		var s Superblock
		if s.Decode(sector, pages) != Whole {
			return
		}
		require.LessOrEqual(t, s.RegionsPage, s.Pages)
		require.LessOrEqual(t, s.Pages, pages)
		require.LessOrEqual(t, s.BucketPage(uint32(s.Buckets-1), 1), s.RegionsPage-1)
		first, second := s.Candidates(sector[:MaxKey])
		require.NotEqual(t, first, second)
		require.Less(t, uint64(max(first, second)), s.Buckets)
		require.Equal(t, sector[:SectorSize], encoded(s))
	})
}

// FuzzTable reads a few entries as the start of a table: what is whole is in the storage and behind what was before.
func FuzzTable(f *testing.F) {
	two := make([]byte, 2*SectorSize)
	(&Region{1, 7, 17, 16}).Encode(two, 0)
	(&Region{1, 8, 33, 16}).Encode(two[SectorSize:], 1)
	f.Add(two, false)
	f.Add(make([]byte, 3*SectorSize), false)
	f.Fuzz(func(t *testing.T, sectors []byte, sealing bool) {
		s := example()
		var tab Table
		tab.Start(&s)
		next := s.RegionsPage
		for i := uint32(0); len(sectors) > 0 && i < Regions; i++ {
			sector := sectors[:min(len(sectors), SectorSize)]
			sectors = sectors[len(sector):]
			if sealing && len(sector) == SectorSize && !zeroes(sector) {
				seal(sector, regionUsed)
			}
			var r Region
			if tab.Next(sector, &r) != Whole {
				continue
			}
			require.GreaterOrEqual(t, r.Page, next)
			require.LessOrEqual(t, r.Page+r.Pages, s.Pages)
			next = r.Page + r.Pages
			again := make([]byte, SectorSize)
			r.Encode(again, i)
			require.Equal(t, sector, again)
		}
		var r Region
		if _, ok := tab.Allocate(&r, 1, 1, 1); ok {
			require.Equal(t, next, r.Page)
		}
	})
}

// FuzzBucket reads a page; what is whole is the same when its records are written anew.
func FuzzBucket(f *testing.F) {
	b := NewBucket(make([]byte, PageSize), 5)
	b.Append(record(1, 7, "key", "value"))
	b.Append(record(2, 8, "other", ""))
	b.Seal(3, new(Sums))
	f.Add(b.page, uint32(5), false)
	f.Add(make([]byte, PageSize), uint32(0), false)
	f.Add(b.page[:100], uint32(5), true)
	f.Fuzz(func(t *testing.T, data []byte, index uint32, sealing bool) {
		page := make([]byte, PageSize)
		copy(page, data)
		raw := Bucket{page}
		if sealing && !zeroes(page) {
			forge(page)
		}
		for records, r := raw.Records(), (Record{}); records.Next(&r); { // a page that nobody checked
			require.LessOrEqual(t, len(r.Key), MaxKey)
		}
		before := bytes.Clone(page)
		b, problem := CheckBucket(page, index, new(Sums))
		if problem != Whole {
			return
		}
		require.Equal(t, before, page)
		again := NewBucket(make([]byte, PageSize), index)
		for records, r := b.Records(), (Record{}); records.Next(&r); {
			require.True(t, again.Append(&r))
		}
		copy(again.page[bucketBeforeAt:bucketChecksumAt], page[bucketBeforeAt:]) // which may be anything
		put64(again.page, bucketGenerationAt, b.Generation())
		forge(again.page)
		require.Equal(t, page, again.page)
	})
}
