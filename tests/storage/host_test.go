package storage

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	layout "kapsel/guest/abi/storage"
	"kapsel/vmm/volume"
)

// TestHostSeesWhatTasksKeep: on a disk that the host formatted two owners get their regions, in the order in which they ask, and
// the host finds these and no damage.
func TestHostSeesWhatTasksKeep(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.img")
	_, err := volume.Format(disk, volume.Options{Size: mib, RegionSize: 64 << 10, KeyValueSize: 64 << 10})
	require.NoError(t, err)
	for _, owner := range []uint32{7, 1234} {
		assertEnded(t, boot(t, disk, time.Minute, owned(t, "keeper", owner)), 0)
	}
	v, err := volume.Inspect(disk)
	require.NoError(t, err)
	assert.Empty(t, v.Damage)
	var want []volume.Region
	for i, r := range []layout.Region{
		{Driver: abi.DriverNonvolatileStorage, Owner: 7}, {Driver: abi.DriverIsolatedNonvolatile, Owner: 7},
		{Driver: abi.DriverNonvolatileStorage, Owner: 1234}, {Driver: abi.DriverIsolatedNonvolatile, Owner: 1234},
	} {
		r.Page, r.Pages = 25+16*uint64(i), 16
		want = append(want, volume.Region{Index: i, Region: r})
	}
	assert.Equal(t, want, v.Regions)
}
