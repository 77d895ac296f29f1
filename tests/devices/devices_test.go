// Package devices boots the image with virtio devices, the monitor's own under KVM and QEMU's, which know nothing of Kapsel,
// under QEMU, and lets tasks use them.
package devices

import (
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
)

// image is a kernel with the raw drivers, by which tasks use devices as they are.
const image = "test/devices.elf"

// boot runs a task of tests/guest in a machine with devices, which are for the raw drivers. With options, which are QEMU's, it is one of QEMU's.
func boot(t *testing.T, task, cmdline string, devices []vmm.Device, options ...string) machine.Outcome {
	t.Helper()
	return machine.Boot(t, machine.Guest{
		Image:   image,
		Modules: [][]byte{machine.Object(t, "test/"+task+".tbf")},
		Cmdline: strings.TrimSpace("raw " + cmdline),
		Devices: devices,
		Options: options,
	})
}

// assertEnded checks that the machine ended by itself with a status.
func assertEnded(t *testing.T, o machine.Outcome, status int) {
	t.Helper()
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: status}, o.Exit)
}

var entropy = []vmm.Device{vmm.Entropy{}}

var rolls = regexp.MustCompile(`(?m)^dice: ((?:0x[0-9a-f]+ )+)of \d+$`)

// many is what the task says of 2000 random bytes: of the 256 values one is missing in one of ten runs.
var many = regexp.MustCompile(`dice: 2[45]\d different values in 2000 bytes\n`)

// TestEntropy: a task's random bytes come from the device by way of the driver and of driver 0x40001, and are others each time.
func TestEntropy(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		o := boot(t, "dice", "", entropy)
		assertEnded(t, o, 0)
		for _, roll := range rolls.FindAllStringSubmatch(o.Console, -1) {
			seen[roll[1]] = true
		}
		assert.Regexp(t, many, o.Console)
	}
	assert.Len(t, seen, 6)
}

// newDisk makes a file with random contents for a disk.
func newDisk(t *testing.T, kib int) (file string) {
	file = filepath.Join(t.TempDir(), "disk")
	contents := make([]byte, kib<<10)
	rand.Read(contents)
	require.NoError(t, os.WriteFile(file, contents, 0o600))
	return file
}

// sum is the checksum that the task disk prints, of a file.
func sum(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%#x", h.Sum64())
}

// TestBlock: what the task reads is what the disk has, and what it writes is there afterwards.
func TestBlock(t *testing.T) {
	file := newDisk(t, 1024)
	before := sum(t, file)
	o := boot(t, "disk", "", []vmm.Device{vmm.Disk{Path: file}})
	assertEnded(t, o, 0)
	wrote := regexp.MustCompile(`disk: wrote (0x[0-9a-f]+)\n`).FindStringSubmatch(o.Console)
	require.NotNil(t, wrote)
	assert.Contains(t, o.Console, "disk: 2048 sectors\ndisk: identify done\ndisk: name disk0\ndisk: read "+before+"\ndisk: read done\n"+
		"disk: wrote "+wrote[1]+"\ndisk: write done\ndisk: flush done\ndisk: read "+wrote[1]+"\ndisk: read done\n"+
		"disk: zeroes done\ndisk: discard done\ndisk: read behind the end: INVAL\n")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Len(t, b, 1024<<10)
	assert.Equal(t, make([]byte, 8*512), b[8*512:16*512], "zeroes were written")
}

// TestReadOnlyDisk is read, and nothing else.
func TestReadOnlyDisk(t *testing.T) {
	file := newDisk(t, 64)
	before := sum(t, file)
	o := boot(t, "disk", "", []vmm.Device{vmm.Disk{Path: file, ReadOnly: true}})
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "disk: read "+before+"\n")
	for _, what := range []string{"write", "zeroes", "discard"} {
		assert.Contains(t, o.Console, "disk: "+what+": NOSUPPORT\n")
	}
	assert.Equal(t, before, sum(t, file))
}

// TestNoDevices: without devices tasks find no drivers, and the machine is as it was.
func TestNoDevices(t *testing.T) {
	for task, want := range map[string]string{"dice": "dice: NODEVICE\n", "disk": "disk: no disk: NODEVICE\n"} {
		o := boot(t, task, "", nil)
		assertEnded(t, o, 1)
		assert.Contains(t, o.Console, want)
		assert.NotContains(t, o.Console, "device")
	}
}

// TestWordsOfTheCommandLine: one that tells of no device that can be is named, with what is wrong, and booting goes on.
func TestWordsOfTheCommandLine(t *testing.T) {
	o := boot(t, "dice", "virtio_mmio.device=4K@0xd8000000:15 virtio_mmio.device=4K@0x10000:6 virtio_mmio.device=4K@0xd8001000:99 "+
		"virtio_mmio.device=1G@0xffffffffffffffff:5 virtio_mmio.device=", entropy)
	assertEnded(t, o, 0)
	for _, want := range []string{
		"command line: virtio_mmio.device=4K@0x10000:6: the registers are not between 0xc0000000 and 0x100000000; the device is not used\n",
		"command line: virtio_mmio.device=4K@0xd8001000:99: the interrupt is not from 5 to 15; the device is not used\n",
		"command line: virtio_mmio.device=1G@0xffffffffffffffff:5: want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5; the device is not used\n",
		"command line: virtio_mmio.device=: want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5; the device is not used\n",
		"device at 0xd8000000: there are no registers of virtio-mmio; it is not used\n",
	} {
		assert.Contains(t, o.Console, want)
	}
	assert.Regexp(t, many, o.Console)
}

// TestAllPlaces: as many devices as there are places for. The first of a kind is used, of the others it is said that they are not.
func TestAllPlaces(t *testing.T) {
	devices := make([]vmm.Device, abi.VirtioPlaces)
	for i := range devices {
		devices[i] = vmm.Entropy{}
	}
	o := boot(t, "dice", "", devices)
	assertEnded(t, o, 0)
	assert.Regexp(t, many, o.Console)
	assert.Equal(t, abi.VirtioPlaces-1, strings.Count(o.Console, ": there is another of its kind; it is not used\n"))
}

// TestAllDevices: one of each kind, side by side, and the console behind virtio, which is printed by in order.
func TestAllDevices(t *testing.T) {
	file := newDisk(t, 64)
	before := sum(t, file)
	o := machine.Boot(t, machine.Guest{
		Image:   image,
		Modules: [][]byte{machine.Object(t, "test/dice.tbf"), machine.Object(t, "test/disk.tbf")},
		Cmdline: "raw",
		Devices: []vmm.Device{vmm.Console{}, vmm.Entropy{}, vmm.Disk{Path: file}},
	})
	assertEnded(t, o, 0)
	assert.Regexp(t, many, o.Console)
	assert.Contains(t, o.Console, "disk: read "+before+"\n")
	assert.Regexp(t, `^Kapsel .*\n(?s:.*)\nPID .*\n.*exit with code 0\n.*exit with code 0\n$`, o.Console)
	assert.NotContains(t, o.Console, "broken")
}

// A cable that ends nowhere.
type cable struct{}

func (cable) String() string { return "nowhere" }

func (cable) Open(log func(string, ...any)) (*ethernet.Port, error) {
	end, _ := ethernet.Pair()
	return ethernet.NewPort(ethernet.MAC{2, 0, 0, 0, 0, 1}, end, nil, log), nil
}

// TestOneOfEachKind: all of them have room beside each other.
func TestOneOfEachKind(t *testing.T) {
	o := boot(t, "dice", "", []vmm.Device{vmm.Entropy{}, vmm.Disk{Path: newDisk(t, 64)}, vmm.Console{}, vmm.Network{Connection: cable{}}})
	assertEnded(t, o, 0)
	assert.Regexp(t, many, o.Console)
	assert.NotContains(t, o.Console, "not used")
}
