package storage

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	layout "kapsel/guest/abi/storage"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestKeyValueSurvives: what a task set is there after a reboot, for the task that may read it; another one finds its keys taken.
func TestKeyValueSurvives(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	for _, want := range []string{"found 0", "found 1", "found 2"} {
		o := boot(t, disk, 0, owned(t, "ledger", 1))
		assertEnded(t, o, 0)
		assert.Contains(t, o.Console, "ledger: "+want+"\nledger: done\n")
		assert.NotContains(t, o.Console, "disk:")
	}
	o := boot(t, disk, 0, owned(t, "ledger", 2))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "ledger: add lives: NOSUPPORT\n")
	o = boot(t, disk, 0, owned(t, "ledger", 0))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "ledger: get lives: INVAL\n")
}

// TestKeyValueOfAReadOnlyDisk: what is there is got, and nothing is set.
func TestKeyValueOfAReadOnlyDisk(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	assertEnded(t, boot(t, disk, 0, owned(t, "ledger", 1)), 0)
	before, err := os.ReadFile(disk)
	require.NoError(t, err)
	o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{owned(t, "ledger", 1)}, Devices: []vmm.Device{vmm.Disk{Path: disk, ReadOnly: true}}})
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "ledger: found 1\nledger: set page: FAIL\n")
	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	assert.Equal(t, before, after, "the disk was changed")
}

// TestDamagedKeyValue: a bucket that is damaged is told of to who asks for what it has, and to nobody else.
func TestDamagedKeyValue(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	assertEnded(t, boot(t, disk, 0, owned(t, "ledger", 1)), 0)
	contents, err := os.ReadFile(disk)
	require.NoError(t, err)
	var s layout.Superblock
	require.Equal(t, layout.Whole, s.Decode(contents, uint64(len(contents)/layout.PageSize)))
	first, second := s.Candidates([]byte("lives"))
	for index := range uint32(s.Buckets) {
		if index == first || index == second {
			contents[s.BucketPage(index, 0)*layout.PageSize+100] ^= 1
			contents[s.BucketPage(index, 1)*layout.PageSize+100] ^= 1
		}
	}
	require.NoError(t, os.WriteFile(disk, contents, 0o600))
	o := boot(t, disk, 0, owned(t, "ledger", 1), owned(t, "keeper", 2))
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, "ledger: get lives: FAIL\n")
	assert.Contains(t, o.Console, "keeper: nonvolatile: 65536 bytes, found 0\n")
}
