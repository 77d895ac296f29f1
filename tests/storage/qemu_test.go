package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	layout "kapsel/guest/abi/storage"
	"kapsel/tests/machine"
)

// qemuDisk boots a task of owner 1 with a disk of QEMU's.
func qemuDisk(t *testing.T, drive string) machine.Outcome {
	t.Helper()
	if machine.Accelerator(t) != "qemu" {
		t.Skip("only QEMU has such devices")
	}
	return machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{owned(t, "keeper", 1)}, Timeout: 3 * time.Minute, Options: []string{
		"-global", "virtio-mmio.force-legacy=false",
		"-device", "virtio-blk-device,drive=disk,cyls=2,heads=16,secs=63", // else QEMU reads the geometry from it
		"-drive", "if=none,id=disk," + drive}})
}

// failing is a drive that answers an event with errors.
func failing(t *testing.T, rule, disk string) string {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("[inject-error]\nerrno = \"5\"\n"+rule), 0o600))
	return "format=raw,rerror=report,werror=report,file=blkdebug:" + rules + ":" + disk
}

// TestPlaceThatCannotBeWritten: who writes there is told so, and writes to other places succeed.
func TestPlaceThatCannotBeWritten(t *testing.T) {
	disk := newDisk(t, mib, 64<<10)
	const sector = (layout.FirstFreePage + 8) * layout.PageSize / layout.SectorSize // the first of the first region
	drive := failing(t, fmt.Sprintf("event = \"none\"\niotype = \"write\"\nsector = \"%d\"\n", sector), disk)
	for lives := range 2 {
		o := qemuDisk(t, drive)
		assertEnded(t, o, 1)
		assert.Contains(t, o.Console, fmt.Sprintf("keeper: nonvolatile: 65536 bytes, found 0\nkeeper: nonvolatile: write: FAIL\n"+
			"keeper: isolated: 65536 bytes, found %d\n", lives))
		assert.NotContains(t, o.Console, "isolated: write")
	}
}

// TestBootWithADiskThatFails: tasks are loaded without storage, whether the disk answers with errors or never, and one line says why.
func TestBootWithADiskThatFails(t *testing.T) {
	const refused = "disk: it has 256 pages of 4096 bytes, and its superblock and region table cannot be read: FAIL; tasks have no storage\n"
	for _, tt := range []struct {
		name, drive, want string
		long              bool
	}{
		{"answers with errors", failing(t, "event = \"read_aio\"\n", newDisk(t, mib, 64<<10)), refused, false},
		// Longer than the kernel waits for an answer, and an end, as QEMU waits for it.
		{"does not answer", "driver=null-co,read-zeroes=on,size=1M,latency-ns=60000000000", "it does not answer\n" + refused, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && !machine.Nightly() {
				t.Skip("takes a minute: scripts/nightly runs it")
			}
			o := qemuDisk(t, tt.drive)
			assertEnded(t, o, 1)
			assert.Contains(t, o.Console, tt.want)
			assert.Contains(t, o.Console, "keeper: nonvolatile: size: NODEVICE\nkeeper: isolated: size: NODEVICE\n")
		})
	}
}
