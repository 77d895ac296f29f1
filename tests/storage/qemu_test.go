package storage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// TestBootWithADiskThatFails: tasks are loaded without storage, whether the disk answers with errors or never, and one line says why.
// Only QEMU has such disks.
func TestBootWithADiskThatFails(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("only QEMU has such devices")
	}
	rules := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\n"), 0o600))
	const refused = "disk: it has 256 pages of 4096 bytes, and its superblock and region table cannot be read: FAIL; tasks have no storage\n"
	for _, tt := range []struct {
		name, drive, want string
		long              bool
	}{
		{"answers with errors", "format=raw,rerror=report,file=blkdebug:" + rules + ":" + newDisk(t, mib, 64<<10), refused, false},
		// Longer than the kernel waits for an answer, and an end, as QEMU waits for it.
		{"does not answer", "driver=null-co,read-zeroes=on,size=1M,latency-ns=60000000000", "it does not answer\n" + refused, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && testing.Short() {
				t.Skip("takes a minute")
			}
			o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{owned(t, "keeper", 1)}, Timeout: 3 * time.Minute, Options: []string{
				"-global", "virtio-mmio.force-legacy=false",
				"-device", "virtio-blk-device,drive=disk,cyls=2,heads=16,secs=63", // else QEMU reads the geometry from it
				"-drive", "if=none,id=disk," + tt.drive}})
			assertEnded(t, o, 1)
			assert.Contains(t, o.Console, tt.want)
			assert.Contains(t, o.Console, "keeper: nonvolatile: size: NODEVICE\nkeeper: isolated: size: NODEVICE\n")
		})
	}
}
