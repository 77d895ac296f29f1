// Package loading boots the image with tasks that load and unload others while the machine runs.
package loading

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/control"
	"kapsel/vmm/volume"
)

// As many as tests/guest/installer does, from its own flash and from storage.
const (
	loads       = 64
	fromStorage = 8
)

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
	for _, image := range []string{"bare.elf", "test/debug.elf"} {
		t.Run(image, func(t *testing.T) {
			if image == "test/debug.elf" && os.Getenv("KAPSEL_ACCEL") == "kvm" {
				t.Skip("what it checks has nothing to do with KVM, and takes long where that is nested")
			}
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
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/installer.tbf")},
		Devices: []vmm.Device{vmm.Disk{Path: path}}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Contains(t, o.Console, "installer: reads from storage\n")
	assertGivenBack(t, o.Console, fromStorage)
}

// TestManagement: the board decides who may load tasks and look at them.
func TestManagement(t *testing.T) {
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Cmdline: "management=none", Modules: [][]byte{machine.Object(t, "test/installer.tbf")}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 2}, o.Exit)
	assert.Contains(t, o.Console, "installer: look at tasks: NODEVICE\n")
}

// install32 is the object of the 32-bit program (testdata/install32). It lists no drivers.
func install32(t *testing.T) []byte {
	t.Helper()
	const header = 0x80
	binary, err := os.ReadFile("testdata/install32.bin")
	require.NoError(t, err)
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "install32", Binary: binary, BinaryOffset: header, MinimumRAM: 0x8000, ShortID: 0x1000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
	})
	require.NoError(t, err)
	return object
}

// TestLoadsAndUnloads32: a task of 32 bits does the same by the calls that libtock-c makes, on a board that lets every task; on one that does not
// it has no such driver.
func TestLoadsAndUnloads32(t *testing.T) {
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Cmdline: "management=all", Modules: [][]byte{install32(t)}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit, "another status is the line of testdata/install32/main.c whose check failed, or 99")
	assertGivenBack(t, o.Console, 4)
	o = machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{install32(t)}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 98}, o.Exit, "NODEVICE")
}

// TestControl: another process loads tasks into a running machine, lists and unloads them; the memory is as it was. The machine stays up
// without tasks.
func TestControl(t *testing.T) {
	path := t.TempDir() + "/control"
	server, err := control.Listen(t.Context(), path, t.Logf)
	require.NoError(t, err)
	defer server.Close()
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		talk(t, path)
	}()
	const last = "task 4 hello: flash" // behind all that is looked at
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Until: last, Timeout: 2 * machine.Timeout,
		Devices: []vmm.Device{vmm.Ports{{Name: abi.PortLoad, Input: server, Output: server}}}})
	server.Close()
	<-talked
	assert.Equal(t, vmm.Cancelled, o.Exit.Reason)
	console, _, _ := strings.Cut(o.Console, last)
	assertGivenBack(t, console, 3)
	assert.Contains(t, o.Console, "task object refused: header checksum")
}

// talk is what the other process does.
func talk(t *testing.T, path string) {
	idle := machine.Object(t, "hello.tbf")
	damaged := bytes.Clone(idle)
	damaged[12] ^= 1
	connect := func() *control.Client {
		c, err := control.Connect(t.Context(), path)
		if !assert.NoError(t, err) {
			return nil
		}
		return c
	}
	half := connect()
	if half == nil {
		return
	}
	half.Close() // without a word
	for i := range 3 {
		c := connect()
		if c == nil {
			return
		}
		tasks, err := c.Tasks()
		assert.NoError(t, err)
		assert.Empty(t, tasks)
		_, err = c.Load(damaged)
		assert.ErrorIs(t, err, abi.FAIL)
		pid, err := c.Load(idle)
		assert.NoError(t, err)
		assert.EqualValues(t, i+1, pid)
		_, err = c.Load(make([]byte, 1<<27))
		assert.ErrorIs(t, err, abi.NOMEM)
		tasks, err = c.Tasks()
		assert.NoError(t, err)
		if assert.Len(t, tasks, 1) {
			assert.Equal(t, "hello", tasks[0].Name)
		}
		assert.ErrorIs(t, c.Unload("nobody"), abi.NODEVICE)
		assert.NoError(t, c.Unload("hello"))
		assert.NoError(t, c.Close())
	}
	if c := connect(); c != nil {
		c.Load(idle) // the machine is ended when it is printed
	}
}
