package volume

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/storage"
)

// small is a storage of 14 pages, with a region and a record.
func small(t testing.TB) []byte {
	f := &fake{left: 100}
	_, err := format(f, Options{Size: 14 * storage.PageSize, RegionSize: storage.PageSize, KeyValueSize: 2 * bucketSize}, strings.NewReader(strings.Repeat("x", 32)))
	require.NoError(t, err)
	(&storage.Region{Driver: 1, Owner: 7, Page: 13, Pages: 1}).Encode(f.data[storage.PageSize:], 0)
	page := make([]byte, storage.PageSize)
	bucket := storage.NewBucket(page, 0)
	require.True(t, bucket.Append(&storage.Record{Sequence: 1, Owner: 7, Key: []byte("key"), Value: []byte("value")}))
	var before storage.Sums
	before.Compute(make([]byte, storage.PageSize))
	bucket.Seal(1, &before)
	copy(f.data[storage.FirstFreePage*storage.PageSize:], page)
	return f.data
}

// FuzzInspect writes something somewhere in a storage, and cuts it: whatever comes out is an error of one line, or a description
// of lines, whose regions are in the storage and which changed nothing.
func FuzzInspect(f *testing.F) {
	f.Add(uint32(0), []byte(nil), uint32(14*storage.PageSize))
	f.Add(uint32(storage.PageSize+24), []byte{12}, uint32(14*storage.PageSize))
	f.Add(uint32(9*storage.PageSize+100), []byte("\n\n"), uint32(14*storage.PageSize))
	f.Add(uint32(510), []byte{0x55, 0xaa}, uint32(600))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, size uint32) {
		data := small(t)
		data = data[:min(len(data), int(size))]
		if int(at) < len(data) {
			copy(data[at:], patch)
		}
		before := bytes.Clone(data)
		disk := &fake{data: data}
		v, err := inspect(disk)
		require.Equal(t, before, data)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.ErrorAs(t, err, new(*ProblemError))
			return
		}
		for _, d := range v.Damage {
			require.NotContains(t, d.String(), "\n")
		}
		for _, r := range v.Regions {
			require.GreaterOrEqual(t, r.Page, v.RegionsPage)
			require.LessOrEqual(t, r.Page+r.Pages, v.Pages)
		}
		require.GreaterOrEqual(t, v.Room(), 0)
		_, err = format(disk, Options{}, random("x"))
		require.ErrorAs(t, err, new(*HeldError))
		require.Equal(t, before, data)
	})
}
