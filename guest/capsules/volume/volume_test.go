package volume

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

const line = 9 // of the disk's interrupt

// example is a storage of 64 pages, with 39 for regions of 10.
func example() storage.Superblock {
	return storage.Superblock{Pages: 64, RegionPages: 10, BucketsPage: storage.FirstFreePage, Buckets: 8, RegionsPage: 25}
}

// entry is a region's.
type entry struct {
	index uint32
	storage.Region
}

// metadata is what lies on a disk in front of the buckets.
func metadata(s storage.Superblock, entries ...entry) []byte {
	b := make([]byte, MetadataSize)
	s.Encode(b)
	for i := range entries {
		entries[i].Encode(b[entryAt(entries[i].index):], entries[i].index)
	}
	return b
}

// A client notes what it is told.
type client struct{ told []abi.ErrorCode }

func (c *client) RegionAllocated(e abi.ErrorCode) { c.told = append(c.told, e) }

// boot makes a machine with such a disk, and lets it find out what that is.
func boot(t *testing.T, contents []byte, pages uint64) (*kerneltest.Machine, *kerneltest.Storage, *Volume, *client) {
	m := kerneltest.NewWithRAM(t, capability.Mint(), 1<<16)
	disk := kerneltest.NewStorage(m, line, contents)
	v, c := new(Volume), new(client)
	settle(m, v, disk, pages)
	v.SetRegionsClient(c)
	return m, disk, v, c
}

func settle(m *kerneltest.Machine, v *Volume, disk *kerneltest.Storage, pages uint64) {
	v.Init(disk, pages, &m.Log)
	m.Kernel.ServeUntil(v.Settled, m.Capabilities.MainLoop)
}

// allocate makes a region and returns what the client was told.
func allocate(m *kerneltest.Machine, v *Volume, c *client, driver, owner uint32) abi.ErrorCode {
	c.told = nil
	if e := v.AllocateRegion(driver, owner); e != abi.OK {
		return e
	}
	m.Kernel.ServeUntil(func() bool { return len(c.told) != 0 }, m.Capabilities.MainLoop)
	return c.told[0]
}

// TestDiskThatIsNotOurs: one line says what is on it and what to do, and it stays as it is.
func TestDiskThatIsNotOurs(t *testing.T) {
	whole := example()
	poke := func(at int, v byte) []byte {
		b := metadata(whole)
		b[at] ^= v
		return b
	}
	bad := whole
	bad.RegionsPage = 65
	for _, tt := range []struct {
		name     string
		contents []byte
		pages    uint64
		want     string
	}{
		{"new", make([]byte, MetadataSize), 64, "disk: nothing there, zeroes alone: kapsel disk format FILE makes a storage"},
		{"foreign", bytes.Repeat([]byte{0xeb}, MetadataSize), 64,
			"disk: something else than a Kapsel storage: kapsel disk show FILE says more, kapsel disk format --force FILE makes a storage and loses what is there"},
		{"another version", poke(8, 3), 64, "disk: a Kapsel storage of another version, 2, want 1: use the release that made it"},
		{"truncated", metadata(whole), 63, "disk: cut short: the device ends before the storage, 63 pages, want 64: copy the whole file again"},
		{"a flipped bit", poke(16, 1), 64,
			"disk: damaged: the checksum is another: kapsel disk show FILE says more, kapsel disk format --force FILE makes a storage and loses what is there"},
		{"a field that cannot be", metadata(bad), 100,
			"disk: damaged: a field has what cannot be: kapsel disk show FILE says more, kapsel disk format --force FILE makes a storage and loses what is there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, disk, v, _ := boot(t, tt.contents, tt.pages)
			assert.False(t, v.Usable())
			assert.Equal(t, tt.want+"; it is not touched, and tasks have no storage\n", m.Log.String())
			assertUnchanged(t, disk, tt.contents)
		})
	}
}

func assertUnchanged(t *testing.T, disk *kerneltest.Storage, contents []byte) {
	t.Helper()
	assert.Equal(t, contents, disk.Bytes)
	for _, r := range disk.Requests {
		assert.True(t, r == "flush 0 at 0" || strings.HasPrefix(r, "read "), r)
	}
}

// TestDiskThatCannotBeRead, at any point of the table, or because it is so small; or which cannot be flushed.
func TestDiskThatCannotBeRead(t *testing.T) {
	told := func(v uint64, why string) string {
		return fmt.Sprintf("disk: it has %d pages of 4096 bytes, and %s; tasks have no storage\n", v, why)
	}
	m, _, v, _ := boot(t, nil, 0)
	assert.False(t, v.Usable())
	assert.Equal(t, told(0, read+"INVAL"), m.Log.String())

	for fail, what := range map[int]string{0: flushed, 1: read, 2: read, 65: read} {
		m := kerneltest.NewWithRAM(t, capability.Mint(), 1<<16)
		disk := kerneltest.NewStorage(m, line, metadata(example()))
		disk.OnDone = func(all int) {
			if all > fail {
				disk.Fail = abi.FAIL
			}
		}
		v := new(Volume)
		settle(m, v, disk, 64)
		assert.False(t, v.Usable())
		assert.Equal(t, told(64, what+"FAIL"), m.Log.String())
		assert.Equal(t, abi.BUSY, v.AllocateRegion(1, 1))
	}
}

// TestRegionTable: regions that are whole are found; after damage of whatever kind none are made any more, and one line says so.
func TestRegionTable(t *testing.T) {
	const damaged = "disk: the region table is damaged; regions that are whole are used, none are made any more: kapsel disk show FILE lists them\n"
	a := entry{0, storage.Region{Driver: 1, Owner: 7, Page: 25, Pages: 10}}
	b := entry{1, storage.Region{Driver: 1, Owner: 8, Page: 35, Pages: 5}}
	place := func(e entry, index uint32, page, pages uint64) entry {
		e.index, e.Page, e.Pages = index, page, pages
		return e
	}
	for _, tt := range []struct {
		name    string
		entries []entry
		poke    int // a byte of the table that is changed, 0: none
		a, b    [2]uint64
		hurt    bool
		room    uint64 // pages of the next region
	}{
		{"empty", nil, 0, [2]uint64{}, [2]uint64{}, false, 10},
		{"two", []entry{a, b}, 0, [2]uint64{0, 10}, [2]uint64{10, 5}, false, 10},
		{"full", []entry{a, place(b, 1, 35, 20)}, 0, [2]uint64{0, 10}, [2]uint64{10, 20}, false, 0},
		{"a flipped bit of the first", []entry{a, b}, 24, [2]uint64{}, [2]uint64{10, 5}, true, 0},
		{"a flipped bit of a free one", []entry{a}, 3*512 + 7, [2]uint64{0, 10}, [2]uint64{}, true, 0},
		{"the first is missing", []entry{b}, 0, [2]uint64{}, [2]uint64{10, 5}, true, 0},
		{"they overlap", []entry{a, place(b, 1, 34, 5)}, 0, [2]uint64{0, 10}, [2]uint64{}, true, 0},
		{"one in the buckets", []entry{place(a, 0, 24, 10)}, 0, [2]uint64{}, [2]uint64{}, true, 0},
		{"one behind the end", []entry{place(a, 0, 60, 5)}, 0, [2]uint64{}, [2]uint64{}, true, 0},
		{"one as large as can be", []entry{place(a, 0, 25, 1<<64-1)}, 0, [2]uint64{}, [2]uint64{}, true, 0},
		{"another's entry", []entry{a, place(b, 2, 35, 5)}, 2*512 + 12, [2]uint64{0, 10}, [2]uint64{}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contents := metadata(example(), tt.entries...)
			if tt.poke != 0 {
				contents[storage.PageSize+tt.poke]++
			}
			m, disk, v, c := boot(t, contents, 64)
			require.True(t, v.Usable())
			want := ""
			if tt.hurt {
				want = damaged
			}
			assert.Equal(t, want, m.Log.String())
			for owner, pages := range map[uint32][2]uint64{7: tt.a, 8: tt.b} {
				address, size := v.FindRegion(1, owner)
				assert.Equal(t, [2]uint64{pages[0] * 4096, pages[1] * 4096}, [2]uint64{address, size}, "owner %d", owner)
				_, size = v.FindRegion(2, owner)
				assert.Zero(t, size, "of another driver")
			}
			_, size := v.FindRegion(0, 0)
			assert.Zero(t, size, "nobody's")
			assert.Equal(t, tt.room*4096, v.NewRegionSize())
			if tt.room == 0 {
				assert.Equal(t, abi.NOMEM, allocate(m, v, c, 1, 9))
				assertUnchanged(t, disk, contents)
			}
		})
	}
}

// TestAllocate: a region is durable before anybody hears of it, and there after a boot; the storage ends.
func TestAllocate(t *testing.T) {
	m, disk, v, c := boot(t, metadata(example()), 64)
	disk.Requests = nil
	for i, owner := range []uint32{5, 3, 4} {
		assert.Equal(t, abi.OK, allocate(m, v, c, 1, owner))
		assert.Equal(t, disk.Bytes, disk.Durable)
		address, size := v.FindRegion(1, owner)
		assert.Equal(t, [2]uint64{uint64(i) * 10 * 4096, 10 * 4096}, [2]uint64{address, size})
	}
	assert.Equal(t, []string{"write 512 at 4096", "flush 0 at 0", "write 512 at 4608", "flush 0 at 0", "write 512 at 5120", "flush 0 at 0"}, disk.Requests)
	assert.Zero(t, v.NewRegionSize(), "nine pages are left")
	assert.Equal(t, abi.NOMEM, allocate(m, v, c, 1, 6))
	_, _, again, _ := boot(t, disk.Durable, 64)
	assert.Equal(t, v.listed, again.listed)
	assert.Equal(t, v.table, again.table)
}

// TestOneRegionAtATime is made.
func TestOneRegionAtATime(t *testing.T) {
	m, _, v, c := boot(t, metadata(example()), 64)
	assert.Equal(t, abi.OK, v.AllocateRegion(1, 1))
	assert.Equal(t, abi.BUSY, v.AllocateRegion(2, 1))
	m.Kernel.ServeUntil(func() bool { return len(c.told) != 0 }, m.Capabilities.MainLoop)
	assert.Equal(t, abi.OK, allocate(m, v, c, 2, 1))
}

// TestKilledAtEachRequest: whatever instant the machine ends at, a region is whole or not there.
func TestKilledAtEachRequest(t *testing.T) {
	m, disk, v, c := boot(t, metadata(example()), 64)
	var left [][]byte // on the disk, had the machine ended then
	disk.OnDone = func(int) { left = append(left, bytes.Clone(disk.Durable), bytes.Clone(disk.Bytes)) }
	for owner := range uint32(3) {
		require.Equal(t, abi.OK, allocate(m, v, c, 1, owner+1))
	}
	assert.Len(t, left, 12)
	last := 0
	for _, contents := range left {
		m, _, again, _ := boot(t, contents, 64)
		assert.True(t, again.Usable())
		assert.Empty(t, m.Log.String())
		there := 0
		for owner := range uint32(3) {
			if address, size := again.FindRegion(1, owner+1); size != 0 {
				assert.Equal(t, [2]uint64{uint64(owner) * 40960, 40960}, [2]uint64{address, size})
				there++
			}
		}
		last = there
	}
	assert.Equal(t, 3, last)
}

// TestAllocationFails: nothing is there by it, the next one takes its place, and no two owners have one place after a boot.
func TestAllocationFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(disk *kerneltest.Storage)
		want abi.ErrorCode
	}{
		{"a disk that is only read", func(d *kerneltest.Storage) { d.Refuse = abi.NOSUPPORT }, abi.NOSUPPORT},
		{"the write", func(d *kerneltest.Storage) { d.Fail = abi.FAIL }, abi.FAIL},
		{"the flush cannot begin", func(d *kerneltest.Storage) { d.OnDone = func(int) { d.Refuse = abi.FAIL } }, abi.FAIL},
		{"the flush", func(d *kerneltest.Storage) { d.OnDone = func(int) { d.Fail = abi.FAIL } }, abi.FAIL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, disk, v, c := boot(t, metadata(example()), 64)
			tt.fail(disk)
			assert.Equal(t, tt.want, allocate(m, v, c, 1, 1))
			_, size := v.FindRegion(1, 1)
			assert.Zero(t, size)
			disk.Refuse, disk.Fail, disk.OnDone = abi.OK, abi.OK, nil
			assert.Equal(t, abi.OK, allocate(m, v, c, 1, 2))
			_, _, again, _ := boot(t, disk.Durable, 64)
			_, size = again.FindRegion(1, 1)
			assert.Zero(t, size)
			address, size := again.FindRegion(1, 2)
			assert.Equal(t, [2]uint64{0, 40960}, [2]uint64{address, size})
		})
	}
}

// FuzzDisk: whatever is on a disk, regions lie in it side by side, and nothing is written but by AllocateRegion.
func FuzzDisk(f *testing.F) {
	one := metadata(example(), entry{0, storage.Region{Driver: 1, Owner: 7, Page: 25, Pages: 10}})
	f.Add(one[:512], one[4096:4096+512], uint64(64), uint32(7))
	f.Add(make([]byte, 512), []byte{}, uint64(1), uint32(0))
	f.Fuzz(func(t *testing.T, superblock, table []byte, pages uint64, owner uint32) {
		contents := make([]byte, MetadataSize)
		copy(contents[:512], superblock)
		copy(contents[4096:], table)
		m, disk, v, c := boot(t, contents, pages)
		assertUnchanged(t, disk, contents)
		if !v.Usable() {
			require.NotEmpty(t, m.Log.String())
			return
		}
		if v.NewRegionSize() != 0 && owner != 0 {
			require.Equal(t, abi.OK, allocate(m, v, c, 99, owner))
		}
		end := v.super.RegionsPage
		for i := range v.listed {
			if r := &v.listed[i]; r.Pages != 0 {
				require.GreaterOrEqual(t, r.Page, end)
				end = r.Page + r.Pages
			}
		}
		require.LessOrEqual(t, end, v.super.Pages)
	})
}
