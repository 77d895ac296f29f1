// Package loading boots the image with tasks that load and unload others while the machine runs.
package loading

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/volume"
)

const loads = 64 // as many as tests/guest/installer does

// figures are what the kernel printed of its free memory behind each load and unload, and before that.
func figures(console string) (after, before []string) {
	for _, m := range regexp.MustCompile(`memory: (\d+) bytes are free, (\d+) were before`).FindAllStringSubmatch(console, -1) {
		after, before = append(after, m[1]), append(before, m[2])
	}
	return after, before
}

// assertGivenBack checks that each of so many loads and unloads, one by one, left the memory as it was before the first.
func assertGivenBack(t *testing.T, console string, loads int) {
	t.Helper()
	after, before := figures(console)
	require.Len(t, after, 2*loads, console)
	for i := range loads {
		assert.Equal(t, before[0], before[2*i], "before load %d", i)
		assert.NotEqual(t, before[0], after[2*i], "behind load %d", i)
		assert.Equal(t, before[0], after[2*i+1], "behind unload %d", i)
	}
}

// TestLoadsAndUnloads: 64 loads and unloads of a task in a running machine leave the memory as it was: with the kernel that ships, and
// with the one that holds the rules of memory against the page tables behind each change.
func TestLoadsAndUnloads(t *testing.T) {
	for _, image := range []string{"test/bare.elf", "test/debug.elf"} {
		t.Run(image, func(t *testing.T) {
			o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{machine.Object(t, "test/installer.tbf")}, Memory: 4 << 20})
			assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
			assert.Contains(t, o.Console, "installer: is called installer\n")
			assert.Contains(t, o.Console, "installer: itself again: FAIL")
			assert.Contains(t, o.Console, "task object refused: a task of the same application is loaded: it is to be unloaded first\n")
			assert.Contains(t, o.Console, "installer: damaged: FAIL")
			assert.Contains(t, o.Console, "task object refused: header checksum")
			assert.Contains(t, o.Console, "installer: done\n")
			assertGivenBack(t, o.Console, loads)
			assert.Equal(t, loads, strings.Count(o.Console, " installer: unloaded\n"))
			assert.Contains(t, o.Console, fmt.Sprintf("task %d installer: unloaded\n", loads+1))
		})
	}
}

// TestLoadFromStorage: a task loads others from its nonvolatile storage.
func TestLoadFromStorage(t *testing.T) {
	path := t.TempDir() + "/disk"
	_, err := volume.Format(path, volume.Options{Size: 1 << 20, RegionSize: 256 << 10, KeyValueSize: 32 << 10})
	require.NoError(t, err)
	o := machine.Boot(t, machine.Guest{Image: "test/bare.elf", Modules: [][]byte{machine.Object(t, "test/installer.tbf")},
		Devices: []vmm.Device{vmm.Disk{Path: path}}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Contains(t, o.Console, "installer: reads from storage\n")
	assertGivenBack(t, o.Console, loads)
}

// TestManagement: the board decides who may load tasks and look at them.
func TestManagement(t *testing.T) {
	for _, words := range []string{"management=none"} {
		o := machine.Boot(t, machine.Guest{Image: "test/bare.elf", Cmdline: words, Modules: [][]byte{machine.Object(t, "test/installer.tbf")}})
		assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 2}, o.Exit)
		assert.Contains(t, o.Console, "installer: look at tasks: NODEVICE\n")
	}
}
