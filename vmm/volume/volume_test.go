package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/files"
	"kapsel/guest/abi/storage"
	"kapsel/vmm/disk"
)

// file makes a file with a text at an offset and so many bytes in all.
func file(t *testing.T, text string, at, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(text), at)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	return path
}

// formatted makes a storage on a file.
func formatted(t *testing.T, path string, o Options) {
	t.Helper()
	_, err := Format(path, o)
	require.NoError(t, err)
}

// allocated is how many bytes a file takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var s unix.Stat_t
	require.NoError(t, unix.Stat(path, &s))
	return s.Blocks * 512
}

func TestFormatNew(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string
		o    Options
		size uint64
	}{
		{"no file", filepath.Join(t.TempDir(), "new"), Options{}, DefaultSize},
		{"an empty file", file(t, "", 0, 0), Options{}, DefaultSize},
		{"a file of zeroes keeps its size", file(t, "", 0, 8<<20), Options{}, 8 << 20},
		{"zeroes that no hole has", file(t, string(make([]byte, 3<<20)), 0, 8<<20), Options{}, 8 << 20},
		{"half a page behind the last", file(t, "", 0, 8<<20+2048), Options{}, 8 << 20},
		{"a longer one", file(t, "", 0, 8<<20), Options{Size: 16 << 20}, 16 << 20},
		{"a shorter one", file(t, "", 0, 8<<20), Options{Size: 4 << 20}, 4 << 20},
		{"the smallest", file(t, "", 0, 0), Options{Size: 56 << 10, RegionSize: 4 << 10, KeyValueSize: 16 << 10}, 56 << 10},
		{"force over nothing", file(t, "", 0, 8<<20), Options{Force: true}, 8 << 20},
		{"force over something", file(t, "something", 5<<20, 8<<20), Options{Force: true}, 8 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made, err := Format(tt.path, tt.o)
			require.NoError(t, err)
			v, err := Inspect(tt.path)
			require.NoError(t, err)
			assert.Equal(t, v, made)
			assert.Equal(t, tt.size, v.Size)
			assert.Equal(t, tt.size, v.Pages*storage.PageSize)
			assert.Equal(t, or(tt.o.RegionSize, DefaultRegionSize), v.RegionPages*storage.PageSize)
			assert.Equal(t, or(tt.o.KeyValueSize, DefaultKeyValueSize), v.Buckets*bucketSize)
			assert.Equal(t, v.Pages-v.RegionsPage, v.FreePages)
			assert.Empty(t, v.Damage)
			assert.Empty(t, v.Regions)
			assert.Equal(t, KeyValue{}, v.KeyValue)
			content, err := os.ReadFile(tt.path)
			require.NoError(t, err)
			assert.Len(t, content, int(tt.size))
			assert.Empty(t, bytes.Trim(content[storage.SectorSize:], "\x00"), "all but the superblock is zero")
		})
	}
}

func TestFormatIsSparse(t *testing.T) {
	path := file(t, "something", 5<<20, 8<<20)
	formatted(t, path, Options{Size: 1 << 30, Force: true})
	assert.LessOrEqual(t, allocated(t, path), int64(64<<10))
}

// Two storages have nothing in common by which one could be taken for the other, or a key be aimed.
func TestFormatIsRandom(t *testing.T) {
	var all [2]*Volume
	for i := range all {
		path := file(t, "", 0, 0)
		formatted(t, path, Options{})
		v, err := Inspect(path)
		require.NoError(t, err)
		all[i] = v
	}
	assert.NotEqual(t, all[0].Identity, all[1].Identity)
	assert.NotEqual(t, all[0].HashKey, all[1].HashKey)
	assert.NotEqual(t, all[0].HashKey, all[0].Identity)
}

func TestFormatRefusesSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no whole pages", Options{Size: 64<<20 + 512}, "a storage of 67109376: want a multiple of 4K"},
		{"half a page", Options{Size: 8<<20 + 2048}, "a storage of 8194K: want a multiple of 4K, from 4K to 262144G"},
		{"more than all pages", Options{Size: MaxSize + storage.PageSize}, "from 4K to 262144G"},
		{"a region of half a page", Options{RegionSize: 2048}, "a region of 2K: want a multiple of 4K"},
		{"one bucket", Options{KeyValueSize: 8 << 10}, "the key-value store of 8K: want a multiple of 8K, from 16K to 8G"},
		{"half a bucket", Options{KeyValueSize: 20 << 10}, "the key-value store of 20K: want a multiple of 8K"},
		{"too many buckets", Options{KeyValueSize: 8<<30 + 8<<10, Size: 16 << 30}, "from 16K to 8G"},
		{"no room for a region", Options{Size: 2 << 20}, "a storage of 2M has no room for a key-value store of 1M and a region of 1M: these take 2084K"},
		{"a sum over all numbers", Options{Size: 1 << 20, RegionSize: MaxSize}, "has no room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new")
			_, err := Format(path, tt.o)
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, `disk "`+path+`": `)
			var sizes *SizeError
			assert.ErrorAs(t, err, &sizes)
			assert.NoFileExists(t, path, "nothing is left of it")
		})
	}
}

// TestFormatRefusesWhatIsThere: what is there is named and stays, byte for byte.
func TestFormatRefusesWhatIsThere(t *testing.T) {
	ours := file(t, "", 0, 8<<20)
	formatted(t, ours, Options{})
	for _, tt := range []struct{ name, path, want string }{
		{"a storage", ours, "a Kapsel storage of 8M"},
		{"a text", file(t, "hello\n", 0, 6), "something else than a Kapsel storage"},
		{"one byte far behind", file(t, "x", 7<<20, 8<<20), "something else than a Kapsel storage"},
		{"the last byte", file(t, "x", 8<<20, 8<<20+1), "something else than a Kapsel storage"},
		{"a boot sector", file(t, "\x55\xaa", 510, 8<<20), "a partition table or a boot sector"},
		{"a partition table", file(t, "EFI PART", 512, 8<<20), "a partition table (GPT)"},
		{"an ISO", file(t, "CD001", 32769, 8<<20), "an ISO 9660 file system"},
		{"ext4", file(t, "\x53\xef", 1080, 8<<20), "an ext2, ext3 or ext4 file system"},
		{"a QCOW image", file(t, "QFI\xfb", 0, 8<<20), "a QCOW disk image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, err := os.ReadFile(tt.path)
			require.NoError(t, err)
			_, err = Format(tt.path, Options{Size: 4 << 20})
			assert.EqualError(t, err, `disk "`+tt.path+`": it holds `+tt.want+": nothing was written")
			var held *HeldError
			require.ErrorAs(t, err, &held)
			assert.Equal(t, tt.want, held.Holds)
			after, err := os.ReadFile(tt.path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, after), "nothing is lost")
			formatted(t, tt.path, Options{Size: 4 << 20, Force: true})
		})
	}
}

func TestFormatRefusesWhatIsInUse(t *testing.T) {
	path := file(t, "", 0, 8<<20)
	machine, err := disk.Open(path, false)
	require.NoError(t, err)
	defer machine.Close()
	_, err = Format(path, Options{Force: true})
	assert.ErrorIs(t, err, disk.ErrInUse)
	_, err = Inspect(path)
	assert.ErrorIs(t, err, disk.ErrInUse)
}

// fake is an image in memory that notes what is done to it, and fails from some operation on.
type fake struct {
	data   []byte
	device bool
	log    []string
	left   int    // operations that still work
	most   uint64 // size of a file, if it is not 0
	synced []byte
}

var errBroken = errors.New("the disk is broken")

func (f *fake) do(format string, args ...any) error {
	if f.left--; f.left < 0 {
		return errBroken
	}
	f.log = append(f.log, fmt.Sprintf(format, args...))
	return nil
}

func (f *fake) Size() uint64  { return uint64(len(f.data)) }
func (f *fake) Regular() bool { return !f.device }
func (f *fake) NextData(at uint64) (from, to uint64, err error) {
	return at, f.Size(), nil
}

func (f *fake) Read(pieces [][]byte, at uint64) error {
	for _, p := range pieces {
		at += uint64(copy(p, f.data[at:]))
	}
	return nil
}

func (f *fake) Write(pieces [][]byte, at uint64) error {
	for _, p := range pieces {
		if err := f.do("write %s at %s", files.Size(uint64(len(p))), files.Size(at)); err != nil {
			return err
		}
		at += uint64(copy(f.data[at:], p))
	}
	return nil
}

func (f *fake) Resize(size uint64) error {
	if f.most != 0 && size > f.most {
		return errBroken
	}
	if err := f.do("resize %s", files.Size(size)); err != nil {
		return err
	}
	f.data = append(f.data[:min(size, f.Size())], make([]byte, size-min(size, f.Size()))...)
	return nil
}

func (f *fake) Flush() error {
	if err := f.do("flush"); err != nil {
		return err
	}
	f.synced = bytes.Clone(f.data)
	return nil
}

// random is what a storage with an identity that begins with a word takes.
func random(word string) io.Reader { return strings.NewReader(strings.Repeat(word, 20)) }

// made makes a storage on a fake.
func made(t *testing.T, f *fake, o Options, word string) {
	t.Helper()
	_, err := format(f, o, random(word))
	require.NoError(t, err)
}

// An old storage with an entry in its table, which is to be overwritten.
func oldStorage(t *testing.T, device bool) *fake {
	t.Helper()
	f := &fake{data: make([]byte, 3<<20), left: 100}
	made(t, f, Options{}, "old")
	(&storage.Region{Driver: 1, Owner: 1, Page: 265, Pages: 256}).Encode(f.data[storage.PageSize:], 0)
	f.device, f.log, f.synced = device, nil, bytes.Clone(f.data)
	return f
}

func TestFormatWritesTheSuperblockLast(t *testing.T) {
	options := Options{Force: true, Size: 3 << 20, KeyValueSize: 16 << 10}
	for _, tt := range []struct {
		name   string
		device bool
		want   []string
	}{
		{"file", false, []string{"resize 3M", "resize 0", "resize 3M", "flush", "write 512 at 0", "flush"}},
		{"block device", true, []string{"write 4K at 0", "flush", "write 1M at 4K", "write 1M at 1028K", "write 1020K at 2052K", "flush", "write 512 at 0", "flush"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := oldStorage(t, tt.device)
			made(t, f, options, "new")
			assert.Equal(t, tt.want, f.log)
			for n := range len(tt.want) { // the disk breaks, or the machine ends, at each step
				f := oldStorage(t, tt.device)
				f.left = n
				_, err := format(f, options, random("new"))
				require.ErrorIs(t, err, errBroken)
				for _, data := range [][]byte{f.data, f.synced} {
					v, err := inspect(&fake{data: data})
					if err == nil && string(v.Identity[:3]) == "old" {
						assert.Len(t, v.Regions, 1, "the old storage is whole, after %d steps", n)
						assert.EqualValues(t, 128, v.Buckets)
					} else if err == nil {
						assert.Empty(t, v.Regions, "the new storage is whole, after %d steps", n)
						assert.EqualValues(t, 2, v.Buckets)
					}
				}
			}
		})
	}
}

// TestFormatOfAFileThatCannotBeSoLong: what it holds is still there, whole.
func TestFormatOfAFileThatCannotBeSoLong(t *testing.T) {
	f := oldStorage(t, false)
	before := bytes.Clone(f.data)
	f.most = 8 << 20
	_, err := format(f, Options{Force: true, Size: 16 << 20}, random("new"))
	require.ErrorIs(t, err, errBroken)
	assert.True(t, bytes.Equal(before, f.data))
}

func TestFormatOfASmallBlockDevice(t *testing.T) {
	f := &fake{data: make([]byte, 3<<20), device: true, left: 100}
	_, err := format(f, Options{Size: 4 << 20}, random("new"))
	assert.EqualError(t, err, "a storage of 4M is wanted, and the block device has 3M")
	assert.Empty(t, f.log)
	made(t, f, Options{}, "new")
	assert.Equal(t, []string{"flush", "write 512 at 0", "flush"}, f.log, "nothing was there that had to go")
}
