// Package volumetest fills storages for tests, as the guest's drivers do.
package volumetest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/storage"
)

// Storage is a storage in a file.
type Storage struct {
	storage.Superblock
	t    *testing.T
	file *os.File
}

// Open opens the storage in a file until the test's end.
func Open(t *testing.T, path string) *Storage {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	s := &Storage{t: t, file: file}
	require.Equal(t, storage.Whole, s.Decode(s.Read(0, storage.SectorSize), storage.MaxPages))
	return s
}

// Read reads n bytes at an offset.
func (s *Storage) Read(at uint64, n int) []byte {
	s.t.Helper()
	b := make([]byte, n)
	_, err := s.file.ReadAt(b, int64(at))
	require.NoError(s.t, err)
	return b
}

// Write writes bytes at an offset.
func (s *Storage) Write(at uint64, b []byte) {
	s.t.Helper()
	_, err := s.file.WriteAt(b, int64(at))
	require.NoError(s.t, err)
}

// Flip turns a byte at an offset over.
func (s *Storage) Flip(at uint64) {
	s.t.Helper()
	s.Write(at, []byte{^s.Read(at, 1)[0]})
}

// Entry is where an entry of the region table is.
func (s *Storage) Entry(index int) uint64 {
	return storage.TablePage*storage.PageSize + uint64(index)*storage.SectorSize
}

// Copy is where a copy of a bucket is.
func (s *Storage) Copy(bucket uint32, copy int) uint64 {
	return s.BucketPage(bucket, copy) * storage.PageSize
}

// Allocate makes a region.
func (s *Storage) Allocate(driver, owner uint32) {
	s.t.Helper()
	var t storage.Table
	var r storage.Region
	t.Start(&s.Superblock)
	for i := range storage.Regions {
		t.Next(s.Read(s.Entry(i), storage.SectorSize), &r)
	}
	index, ok := t.Allocate(&r, driver, owner, s.RegionPages)
	require.True(s.t, ok)
	sector := make([]byte, storage.SectorSize)
	r.Encode(sector, index)
	s.Write(s.Entry(int(index)), sector)
}

// Put adds a record to a bucket, in the copy that does not count, and returns that copy.
func (s *Storage) Put(bucket uint32, r storage.Record) (copy int) {
	s.t.Helper()
	var buckets [2]storage.Bucket
	var problems [2]storage.Problem
	var sums [2]storage.Sums
	for i := range buckets {
		buckets[i], problems[i] = storage.CheckBucket(s.Read(s.Copy(bucket, i), storage.PageSize), bucket, &sums[i])
	}
	counts, ok := storage.Newer(buckets[0], problems[0], buckets[1], problems[1])
	require.True(s.t, ok)
	page := make([]byte, storage.PageSize)
	changed := buckets[counts].CopyWithout(page, r.Key)
	require.True(s.t, changed.Append(&r))
	changed.Seal(buckets[counts].Generation()+1, &sums[1-counts])
	s.Write(s.Copy(bucket, 1-counts), page)
	return 1 - counts
}

// Set puts a record into the first of its key's buckets, which it returns.
func (s *Storage) Set(sequence uint64, owner uint32, key, value string) (bucket uint32) {
	s.t.Helper()
	bucket, _ = s.Candidates([]byte(key))
	s.Put(bucket, storage.Record{Sequence: sequence, Owner: owner, Key: []byte(key), Value: []byte(value)})
	return bucket
}
