// Package storage boots the image with disks, the monitor's under KVM and QEMU's under QEMU, on which tasks keep data by the drivers
// of nonvolatile storage.
package storage

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	layout "kapsel/guest/abi/storage"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/volume"
)

const (
	image = "bare.elf"
	mib   = 1 << 20
)

// newDisk makes a disk with a storage of so many bytes, and regions of so many.
func newDisk(t *testing.T, size, region uint64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	_, err := volume.Format(path, volume.Options{Size: size, RegionSize: region, KeyValueSize: 8 * layout.PageSize})
	require.NoError(t, err)
	return path
}

// newFile makes a file with contents.
func newFile(t *testing.T, contents []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, contents, 0o600))
	return path
}

// boot boots tasks with a disk.
func boot(t *testing.T, disk string, timeout time.Duration, tasks ...[]byte) machine.Outcome {
	t.Helper()
	g := machine.Guest{Image: image, Modules: tasks, Timeout: timeout}
	if disk != "" {
		g.Devices = []vmm.Device{vmm.Disk{Path: disk}}
	}
	return machine.Boot(t, g)
}

// assertEnded checks that the machine ended by itself with a status.
func assertEnded(t *testing.T, o machine.Outcome, status int) {
	t.Helper()
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: status}, o.Exit)
}

// owned is a task of the build folder with another owner.
func owned(t *testing.T, name string, owner uint32) []byte {
	t.Helper()
	return machine.Owned(t, machine.Object(t, "test/"+name+".tbf"), owner)
}

// TestDataSurvives: what a task stored is there after a reboot, for tasks of its write identifier, whatever they are called and
// wherever they run, and for no others. Each driver has a region of its own.
func TestDataSurvives(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	found := func(o machine.Outcome) (lines []string) {
		for _, line := range strings.Split(o.Console, "\n") {
			if after, ok := strings.CutPrefix(line, "keeper: "); ok {
				lines = append(lines, after)
			}
		}
		return lines
	}
	const empty = " 65536 bytes, found 0"
	for _, tt := range []struct {
		name   string
		owners []uint32
		want   []string
	}{
		{"new", []uint32{1}, []string{"nonvolatile:" + empty, "isolated:" + empty}},
		{"the same", []uint32{1}, []string{"nonvolatile: 65536 bytes, found 1", "isolated: 65536 bytes, found 1"}},
		{"another", []uint32{2}, []string{"nonvolatile:" + empty, "isolated:" + empty}},
		{"both at once, and a third", []uint32{2, 1, 3}, []string{
			"nonvolatile: 65536 bytes, found 1", "isolated: 65536 bytes, found 1",
			"nonvolatile: 65536 bytes, found 2", "isolated: 65536 bytes, found 2",
			"nonvolatile:" + empty, "isolated:" + empty}},
	} {
		var tasks [][]byte
		for _, owner := range tt.owners {
			tasks = append(tasks, owned(t, "keeper", owner))
		}
		o := boot(t, disk, 0, tasks...)
		assertEnded(t, o, 0)
		assert.ElementsMatch(t, tt.want, found(o), tt.name)
		assert.NotContains(t, o.Console, "disk:", tt.name)
	}
	assert.Equal(t, []string{"1 1", "4 1", "1 2", "4 2", "1 3", "4 3"}, regionsOf(t, disk))
}

// regionsOf are the regions of a disk's table: "1 7" is one of driver 0x50001 and owner 7.
func regionsOf(t *testing.T, disk string) (regions []string) {
	t.Helper()
	contents, err := os.ReadFile(disk)
	require.NoError(t, err)
	var s layout.Superblock
	require.Equal(t, layout.Whole, s.Decode(contents, uint64(len(contents)/layout.PageSize)))
	var table layout.Table
	table.Start(&s)
	for i := range layout.Regions {
		var r layout.Region
		if table.Next(contents[layout.TablePage*layout.PageSize+i*layout.SectorSize:], &r) == layout.Whole {
			regions = append(regions, string([]byte{byte('0' + r.Driver&0xf), ' ', byte('0' + r.Owner)}))
		}
	}
	assert.False(t, table.Hurt())
	return regions
}

// TestNoPermission: a task without storage permissions is refused, and nothing is stored for it.
func TestNoPermission(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	o := boot(t, disk, 0, owned(t, "keeper", 0))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "keeper: nonvolatile: size: NOSUPPORT\nkeeper: isolated: size: NOSUPPORT\n")
	assert.Empty(t, regionsOf(t, disk))
}

// TestFullStorage: who comes too late is told so, by each driver.
func TestFullStorage(t *testing.T) {
	o := boot(t, newDisk(t, (9+8+3)*layout.PageSize, 2*layout.PageSize), 0, owned(t, "keeper", 1))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "keeper: nonvolatile: 8192 bytes, found 0\nkeeper: isolated: size: NOMEM\n")
}

// TestNoDisk: without one there are no drivers, and nothing is said of it.
func TestNoDisk(t *testing.T) {
	o := boot(t, "", 0, owned(t, "keeper", 1))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "keeper: nonvolatile: size: NODEVICE\nkeeper: isolated: size: NODEVICE\n")
	assert.NotContains(t, o.Console, "disk:")
}

// TestDiskThatIsNotOurs: what it is is told in one line, tasks find no drivers, and it is byte for byte what it was.
func TestDiskThatIsNotOurs(t *testing.T) {
	whole, err := os.ReadFile(newDisk(t, mib, 64<<10))
	require.NoError(t, err)
	poke := func(at int, v byte) []byte {
		b := bytes.Clone(whole)
		b[at] ^= v
		return b
	}
	for _, tt := range []struct {
		name     string
		contents []byte
		want     string
	}{
		{"new", make([]byte, mib), "disk: nothing there, zeroes alone: kapsel disk format FILE makes a storage; "},
		{"small", make([]byte, 4096), "disk: nothing there, zeroes alone: kapsel disk format FILE makes a storage; "},
		{"foreign", bytes.Repeat([]byte("\xeb\x63\x90 no storage.\n"), 4096), "disk: something else than a Kapsel storage: "},
		{"another version", poke(8, 3), "disk: a Kapsel storage of another version, 2, want 1: use the release that made it; "},
		{"truncated", whole[:mib/2], "disk: cut short: the device ends before the storage, 128 pages, want 256: "},
		{"damaged", poke(50, 1), "disk: damaged: the checksum is another: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := newFile(t, tt.contents)
			before, err := os.ReadFile(disk)
			require.NoError(t, err)
			o := boot(t, disk, 0, owned(t, "keeper", 1))
			assertEnded(t, o, 1)
			assert.Equal(t, 1, strings.Count(o.Console, "disk:"))
			assert.Contains(t, o.Console, tt.want)
			assert.Contains(t, o.Console, "it is not touched, and tasks have no storage\n")
			assert.Contains(t, o.Console, "keeper: nonvolatile: size: NODEVICE\nkeeper: isolated: size: NODEVICE\n")
			after, err := os.ReadFile(disk)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, after), "the disk was changed")
		})
	}
}

// TestDamagedTable: regions that are whole are used, and none are made any more.
func TestDamagedTable(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	assertEnded(t, boot(t, disk, 0, owned(t, "keeper", 1)), 0)
	contents, err := os.ReadFile(disk)
	require.NoError(t, err)
	contents[layout.TablePage*layout.PageSize+layout.SectorSize+20] ^= 1 // the isolated region's owner
	require.NoError(t, os.WriteFile(disk, contents, 0o600))
	o := boot(t, disk, 0, owned(t, "keeper", 1))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "disk: the region table is damaged; regions that are whole are used, none are made any more: kapsel disk show FILE lists them\n")
	assert.Contains(t, o.Console, "keeper: nonvolatile: 65536 bytes, found 1\nkeeper: isolated: size: NOMEM\n")
}

// TestReadOnlyDisk: what is there is read, and nothing is written.
func TestReadOnlyDisk(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	assertEnded(t, boot(t, disk, 0, owned(t, "keeper", 1)), 0)
	before, err := os.ReadFile(disk)
	require.NoError(t, err)
	o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{owned(t, "keeper", 1)}, Devices: []vmm.Device{vmm.Disk{Path: disk, ReadOnly: true}}})
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "keeper: nonvolatile: 65536 bytes, found 1\nkeeper: nonvolatile: write: FAIL\n"+
		"keeper: isolated: 65536 bytes, found 1\nkeeper: isolated: write: NOSUPPORT\n")
	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before, after), "the disk was changed")
}

// TestLittleMemory: the cache leaves tasks most of what there is.
func TestLittleMemory(t *testing.T) {
	o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{owned(t, "keeper", 1)}, Memory: 3 * mib,
		Devices: []vmm.Device{vmm.Disk{Path: newDisk(t, mib, 64<<10)}}})
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "keeper: nonvolatile: 65536 bytes, found 0\nkeeper: isolated: 65536 bytes, found 0\n")
}

// TestBulk: a task writes and reads 64 MiB, with checksums, which are those of the disk; 16 MiB in the nested machine.
func TestBulk(t *testing.T) {
	mibs := 64
	if machine.InRig() && !machine.Nightly() {
		mibs = 16
	}
	size := uint64(mibs) * mib
	disk := newDisk(t, size+2*mib, size)
	o := boot(t, disk, 5*time.Minute, owned(t, "bulk", 1))
	assertEnded(t, o, 0)
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	region := io.NewSectionReader(f, (layout.FirstFreePage+8)*layout.PageSize, int64(size))
	sum, piece := uint64(0), make([]byte, mib)
	for range mibs {
		_, err := io.ReadFull(region, piece)
		require.NoError(t, err)
		for at := 0; at < mib; at += 8 {
			sum = (sum ^ binary.LittleEndian.Uint64(piece[at:])) * 0x100_0000_01b3
		}
	}
	assert.Contains(t, o.Console, fmt.Sprintf("bulk: wrote %#x\n", sum))
	assert.Contains(t, o.Console, fmt.Sprintf("bulk: read %#x\n", sum))
}

// TestCallsAsLibtockC, of a 64-bit task (tests/guest/caller): each command with its return variants.
func TestCallsAsLibtockC(t *testing.T) {
	o := boot(t, newDisk(t, mib, 3*layout.PageSize), 0, owned(t, "caller", 1))
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "caller: all is as it should be\n")
	assert.NotContains(t, o.Console, "FAILED")
}

//go:embed testdata/storage32.bin
var storage32 []byte

// TestCallsAsLibtockC32, of a 32-bit task (testdata/storage32).
func TestCallsAsLibtockC32(t *testing.T) {
	const header = 0x80
	one := []uint32{1}
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "storage32", Binary: storage32, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x15_0000 + header, RAM: 0x21_0000},
		Storage:        &tbfbuild.Storage{WriteID: 1, Read: one, Modify: one},
	})
	require.NoError(t, err)
	disk := newDisk(t, mib, 3*layout.PageSize)
	o := boot(t, disk, 0, object)
	assertEnded(t, o, int(abi.ExitOK))
	assert.Contains(t, o.Console, "exit with code 0\n", "another code is the line of testdata/storage32/main.c whose check failed")
	assert.Equal(t, []string{"1 1", "4 1"}, regionsOf(t, disk))
}
