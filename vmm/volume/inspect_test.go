package volume_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/storage"
	"kapsel/vmm/volume"
	"kapsel/vmm/volume/volumetest"
)

// empty is an empty storage of 1 MiB with 8 buckets.
func empty(t *testing.T) (path string, s *volumetest.Storage) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	_, err := volume.Format(path, volume.Options{Size: 1 << 20, RegionSize: 64 << 10, KeyValueSize: 64 << 10})
	require.NoError(t, err)
	return path, volumetest.Open(t, path)
}

// example is one with three regions and four records of two owners, one of which was changed.
func example(t *testing.T) (path string, s *volumetest.Storage) {
	t.Helper()
	path, s = empty(t)
	s.Allocate(0x50001, 7)
	s.Allocate(0x50001, 8)
	s.Allocate(0x50004, 7)
	s.Set(1, 7, "boots", "41")
	s.Set(1, 7, "name", "kapsel")
	s.Set(1, 8, "greeting", "hello")
	s.Set(2, 7, "boots", "42")
	return path, s
}

func TestInspect(t *testing.T) {
	path, s := example(t)
	v, err := volume.Inspect(path)
	require.NoError(t, err)
	assert.Equal(t, s.Superblock, v.Superblock)
	assert.EqualValues(t, 1<<20, v.Size)
	assert.Equal(t, []volume.Region{
		{0, storage.Region{Driver: 0x50001, Owner: 7, Page: 25, Pages: 16}},
		{1, storage.Region{Driver: 0x50001, Owner: 8, Page: 41, Pages: 16}},
		{2, storage.Region{Driver: 0x50004, Owner: 7, Page: 57, Pages: 16}},
	}, v.Regions)
	assert.EqualValues(t, 256-73, v.FreePages)
	assert.False(t, v.Hurt)
	assert.Empty(t, v.Damage)
	assert.False(t, v.Lost())
	assert.Equal(t, 3, v.KeyValue.Records)
	assert.Equal(t, []volume.Owner{{7, 2, 16 + 7 + 16 + 10}, {8, 1, 16 + 13}}, v.KeyValue.Owners)
	assert.Equal(t, 16+7+16+10+16+13, v.KeyValue.Bytes)
	assert.NotZero(t, v.KeyValue.Used)
	assert.LessOrEqual(t, v.KeyValue.Used, 3)
}

// A record that moved to the other bucket and is still in the first counts once.
func TestInspectCountsAMovedRecordOnce(t *testing.T) {
	path, s := example(t)
	_, second := s.Candidates([]byte("boots"))
	s.Put(second, storage.Record{Sequence: 3, Owner: 9, Key: []byte("boots"), Value: []byte("x")})
	v, err := volume.Inspect(path)
	require.NoError(t, err)
	assert.Empty(t, v.Damage)
	assert.Equal(t, []volume.Owner{{7, 1, 16 + 10}, {8, 1, 16 + 13}, {9, 1, 16 + 6}}, v.KeyValue.Owners)
}

// TestInspectSaysInOneLine what a disk is that is none of ours, or none any more: new, foreign, another version, truncated,
// damaged.
func TestInspectSaysInOneLine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(t *testing.T, path string, s *volumetest.Storage)
		problem storage.Problem
		want    string
	}{
		{"new", func(t *testing.T, path string, s *volumetest.Storage) {
			require.NoError(t, os.Truncate(path, 0))
			require.NoError(t, os.Truncate(path, 1<<20))
		}, storage.Blank, "it is new, without anything but zeroes: kapsel disk format FILE makes a storage of it"},
		{"new and empty", func(t *testing.T, path string, s *volumetest.Storage) {
			require.NoError(t, os.Truncate(path, 0))
		}, storage.Blank, "it is new, without anything but zeroes: kapsel disk format FILE makes a storage of it"},
		{"foreign", func(t *testing.T, path string, s *volumetest.Storage) {
			s.Write(0, make([]byte, 510))
			s.Write(510, []byte{0x55, 0xaa})
		}, storage.Foreign, "it holds a partition table or a boot sector: want a file that kapsel disk format made"},
		{"foreign, with nothing in the first sector", func(t *testing.T, path string, s *volumetest.Storage) {
			s.Write(0, make([]byte, 512))
		}, storage.Foreign, "it holds something else than a Kapsel storage: want a file that kapsel disk format made"},
		{"other version", func(t *testing.T, path string, s *volumetest.Storage) {
			s.Write(8, []byte{2})
		}, storage.OtherVersion, "it holds a Kapsel storage of version 2, and this kapsel has version 1: use the release that made it"},
		{"truncated", func(t *testing.T, path string, s *volumetest.Storage) {
			require.NoError(t, os.Truncate(path, 512<<10))
		}, storage.Truncated, "it holds a Kapsel storage of 1M, of which 512K are there: copy it again, whole, or put zeroes in the place of what is missing: truncate -s 1048576 FILE"},
		{"truncated by a byte", func(t *testing.T, path string, s *volumetest.Storage) {
			require.NoError(t, os.Truncate(path, 1<<20-1))
		}, storage.Truncated, "it holds a Kapsel storage of 1M, of which 1048575 are there: copy it again, whole"},
		{"truncated in the superblock", func(t *testing.T, path string, s *volumetest.Storage) {
			require.NoError(t, os.Truncate(path, 100))
		}, storage.Truncated, "it holds the first bytes of a Kapsel storage: copy it again, whole"},
		{"damaged superblock", func(t *testing.T, path string, s *volumetest.Storage) {
			s.Flip(40)
		}, storage.BadChecksum, "it holds a Kapsel storage with a superblock that is damaged: the checksum is another: take a copy, if there is one, as kapsel disk format --force FILE makes it empty"},
		{"a superblock that cannot be", func(t *testing.T, path string, s *volumetest.Storage) {
			bad := s.Superblock
			bad.RegionPages = 0
			sector := make([]byte, storage.SectorSize)
			bad.Encode(sector)
			s.Write(0, sector)
		}, storage.BadField, "it holds a Kapsel storage with a superblock that is damaged: a field has what cannot be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, s := example(t)
			tt.change(t, path, s)
			_, err := volume.Inspect(path)
			require.ErrorContains(t, err, `disk "`+path+`": `+tt.want)
			assert.NotContains(t, err.Error(), "\n")
			var problem *volume.ProblemError
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, tt.problem, problem.Problem)
		})
	}
}

// TestInspectFindsDamage within a storage: one line for each, and what is not hit is still there.
func TestInspectFindsDamage(t *testing.T) {
	regions := func(v *volume.Volume) (all []int) {
		for _, r := range v.Regions {
			all = append(all, r.Index)
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		change  func(s *volumetest.Storage)
		want    string
		regions []int
	}{
		{"damaged table entry", func(s *volumetest.Storage) { s.Flip(s.Entry(1) + 20) },
			"region 1: its entry is damaged: the checksum is another", []int{0, 2}},
		{"foreign table entry", func(s *volumetest.Storage) { s.Flip(s.Entry(1)) },
			"region 1: its entry is something that Kapsel did not write", []int{0, 2}},
		{"lost table entry", func(s *volumetest.Storage) { s.Write(s.Entry(1), make([]byte, 512)) },
			"region 2: the entry before it is lost", []int{0, 2}},
		{"something behind the table's end", func(s *volumetest.Storage) { s.Flip(s.Entry(63) + 511) },
			"region 63: its entry is something that Kapsel did not write", []int{0, 1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, s := example(t)
			tt.change(s)
			v, err := volume.Inspect(path)
			require.NoError(t, err)
			require.Len(t, v.Damage, 1)
			assert.Contains(t, v.Damage[0].String(), tt.want)
			assert.NotContains(t, v.Damage[0].String(), "\n")
			assert.True(t, v.Lost())
			assert.True(t, v.Hurt)
			assert.Zero(t, v.Room())
			assert.Equal(t, tt.regions, regions(v))
			assert.Equal(t, 3, v.KeyValue.Records)
		})
	}
}

// TestInspectOfMuchDamage: what is told of it is bounded.
func TestInspectOfMuchDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	v, err := volume.Format(path, volume.Options{Size: 16 << 20, RegionSize: 1 << 20, KeyValueSize: 12 << 20})
	require.NoError(t, err)
	garbage := bytes.Repeat([]byte("garbage "), 12<<20/8)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(garbage, int64(v.BucketPage(0, 0)*storage.PageSize))
	require.NoError(t, errors.Join(err, f.Close()))
	v, err = volume.Inspect(path)
	require.NoError(t, err)
	assert.Len(t, v.Damage, volume.MaxDamage)
	assert.Equal(t, int(v.Buckets)-volume.MaxDamage, v.MoreDamage)
	assert.True(t, v.Lost())
}

// TestInspectFindsDamagedBuckets: one copy, both copies, a write that did not end, and records that cannot be where they are. The
// bucket has a record with the value 1 in copy 1, then 2 in copy 0.
func TestInspectFindsDamagedBuckets(t *testing.T) {
	const old, counts = 1, 0
	for _, tt := range []struct {
		name    string
		change  func(s *volumetest.Storage, bucket uint32)
		want    string // what the bucket is said to be; nothing if nothing is said
		lost    bool
		records int
	}{
		{"whole", func(*volumetest.Storage, uint32) {}, "", false, 1},
		{"an older copy in a sector behind the first", func(s *volumetest.Storage, b uint32) { s.Flip(s.Copy(b, old) + 4000) },
			"nothing is lost: copy 0 counts, and copy 1 is not whole", false, 1},
		{"a write that did not end", func(s *volumetest.Storage, b uint32) {
			s.Put(b, storage.Record{Sequence: 3, Owner: 7, Key: []byte("key"), Value: bytes.Repeat([]byte{1}, 1000)})
			s.Write(s.Copy(b, old)+storage.SectorSize, make([]byte, storage.PageSize-storage.SectorSize))
		}, "nothing is lost: copy 0 counts, and copy 1 is not whole", false, 1},
		{"the copy that counts, one copy", func(s *volumetest.Storage, b uint32) { s.Flip(s.Copy(b, counts) + 4000) },
			"lost, as none of its copies counts for sure: copy 0 is damaged: the checksum is another, copy 1 is whole", true, 0},
		{"both copies", func(s *volumetest.Storage, b uint32) { s.Flip(s.Copy(b, old) + 200); s.Flip(s.Copy(b, counts) + 200) },
			"lost, as none of its copies counts for sure: copy 0 is damaged: the checksum is another, copy 1 is damaged: the checksum is another", true, 0},
		{"something else in both copies", func(s *volumetest.Storage, b uint32) { s.Flip(s.Copy(b, old)); s.Flip(s.Copy(b, counts)) },
			"lost", true, 0},
		{"another key's record", func(s *volumetest.Storage, b uint32) {
			for i := byte('a'); ; i++ {
				if first, second := s.Candidates([]byte{i}); first != b && second != b {
					s.Put(b, storage.Record{Sequence: 1, Owner: 7, Key: []byte{i}})
					return
				}
			}
		}, "does not belong there", true, 1},
		{"one sequence number in both buckets", func(s *volumetest.Storage, b uint32) {
			_, second := s.Candidates([]byte("key"))
			s.Put(second, storage.Record{Sequence: 2, Owner: 7, Key: []byte("key"), Value: []byte("3")})
		}, `the key "key" stands twice`, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, s := empty(t)
			s.Set(1, 7, "key", "1")
			bucket := s.Set(2, 7, "key", "2")
			tt.change(s, bucket)
			v, err := volume.Inspect(path)
			require.NoError(t, err)
			if tt.want == "" {
				assert.Empty(t, v.Damage)
			} else {
				require.Len(t, v.Damage, 1)
				assert.Regexp(t, `^bucket [0-7]: [^\n]+$`, v.Damage[0].String())
				assert.Contains(t, v.Damage[0].String(), tt.want)
			}
			assert.Equal(t, tt.lost, v.Lost())
			assert.Equal(t, tt.records, v.KeyValue.Records)
			assert.False(t, v.Hurt, "the region table is whole")
		})
	}
}
