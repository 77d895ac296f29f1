package devices

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// needQEMU skips a test whose devices only QEMU has.
func needQEMU(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("only QEMU has such devices")
	}
}

const version2 = "virtio-mmio.force-legacy=false"

// TestDiskErrors: what the disk cannot do is told to who asked for it, and the disk goes on.
func TestDiskErrors(t *testing.T) {
	needQEMU(t)
	rules := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("[inject-error]\nevent = \"write_aio\"\nerrno = \"5\"\nonce = \"on\"\n"), 0o600))
	o := boot(t, "disk", "", nil, "-global", version2, "-device", "virtio-blk-device,drive=disk",
		"-drive", "format=raw,if=none,id=disk,werror=report,rerror=report,file=blkdebug:"+rules+":"+newDisk(t, 64))
	assertEnded(t, o, 0)
	assert.Regexp(t, `disk: write: FAIL\ndisk: flush done\ndisk: read 0x[0-9a-f]+\ndisk: read done\n`, o.Console)
	assert.NotContains(t, o.Console, "broken")
}

// TestDevicesThatAreNotUsed: a legacy one, and one without a driver.
func TestDevicesThatAreNotUsed(t *testing.T) {
	needQEMU(t)
	o := boot(t, "dice", "", nil, "-global", "virtio-mmio.force-legacy=true", "-device", "virtio-rng-device")
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, ": it is not of version 2; it is not used\n")
	assert.Contains(t, o.Console, "dice: NODEVICE\n")

	o = boot(t, "dice", "", nil, "-global", version2, "-device", "virtio-rng-device", "-device", "virtio-balloon-device")
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, ": there is no driver for its kind; it is not used\n")
}
