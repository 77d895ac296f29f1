// Package devices boots the image with QEMU's virtio devices, which know nothing of Kapsel, and lets tasks use them.
package devices

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// image is a kernel with the raw drivers, by which tasks use devices as they are.
const image = "test/devices.elf"

// microvm is the machine that has virtio-mmio, of version 2, and tells of it on the command line. With one I/O APIC the lines
// are 5 and on.
var microvm = []string{
	"-machine", "microvm,acpi=off,pic=on,pit=on,rtc=off,ioapic2=off,x-option-roms=off",
	"-global", "virtio-mmio.force-legacy=false",
}

// boot runs a task of tests/guest with devices of QEMU's.
func boot(t *testing.T, task, cmdline string, devices ...string) machine.Outcome {
	t.Helper()
	return machine.Boot(t, machine.Guest{
		Image:   image,
		Modules: [][]byte{machine.Object(t, "test/"+task+".tbf")},
		Cmdline: cmdline,
		Options: append(microvm[:len(microvm):len(microvm)], devices...),
	})
}

// assertEnded checks that the machine ended by itself with a status.
func assertEnded(t *testing.T, o machine.Outcome, status int) {
	t.Helper()
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: status}, o.Exit)
}

var rolls = regexp.MustCompile(`(?m)^dice: ((?:0x[0-9a-f]+ )+)of \d+$`)

// many is what the task says of 2000 random bytes: of the 256 values one is missing in one of ten runs.
var many = regexp.MustCompile(`dice: 2[45]\d different values in 2000 bytes\n`)

// TestEntropy: a task's random bytes come from the device by way of the driver and of driver 0x40001, and are others each time.
func TestEntropy(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		o := boot(t, "dice", "", "-device", "virtio-rng-device")
		assertEnded(t, o, 0)
		for _, roll := range rolls.FindAllStringSubmatch(o.Console, -1) {
			seen[roll[1]] = true
		}
		assert.Regexp(t, many, o.Console)
	}
	assert.Len(t, seen, 6)
}

// newDisk makes a disk of QEMU's with random contents.
func newDisk(t *testing.T, kib int, options string) (file string, device []string) {
	file = filepath.Join(t.TempDir(), "disk")
	contents := make([]byte, kib<<10)
	rand.Read(contents)
	require.NoError(t, os.WriteFile(file, contents, 0o600))
	return file, []string{
		"-drive", "format=raw,if=none,id=disk,file=" + file + options,
		"-device", "virtio-blk-device,drive=disk,serial=kapsel's disk",
	}
}

// sum is the checksum that the task disk prints, of a file.
func sum(t *testing.T, file string, change func(b []byte)) string {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	if change != nil {
		change(b)
	}
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%#x", h.Sum64())
}

// TestBlock: what the task reads is what the disk has, and what it writes is there afterwards.
func TestBlock(t *testing.T) {
	file, device := newDisk(t, 1024, ",discard=unmap")
	before := sum(t, file, nil)
	o := boot(t, "disk", "", device...)
	assertEnded(t, o, 0)
	wrote := regexp.MustCompile(`disk: wrote (0x[0-9a-f]+)\n`).FindStringSubmatch(o.Console)
	require.NotNil(t, wrote)
	assert.Contains(t, o.Console, "disk: 2048 sectors\ndisk: identify done\ndisk: name kapsel's disk\ndisk: read "+before+"\ndisk: read done\n"+
		"disk: wrote "+wrote[1]+"\ndisk: write done\ndisk: flush done\ndisk: read "+wrote[1]+"\ndisk: read done\n"+
		"disk: zeroes done\ndisk: discard done\ndisk: read behind the end: INVAL\n")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 8*512), b[8*512:16*512], "zeroes were written")
}

// TestReadOnlyDisk is read, and nothing else.
func TestReadOnlyDisk(t *testing.T) {
	file, device := newDisk(t, 64, ",readonly=on")
	before := sum(t, file, nil)
	o := boot(t, "disk", "", device...)
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "disk: read "+before+"\n")
	for _, what := range []string{"write", "zeroes", "discard"} {
		assert.Contains(t, o.Console, "disk: "+what+": NOSUPPORT\n")
	}
	assert.Equal(t, before, sum(t, file, nil))
}

// TestDiskErrors: what the disk cannot do is told to who asked for it, and the disk goes on.
func TestDiskErrors(t *testing.T) {
	file, _ := newDisk(t, 64, "")
	rules := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("[inject-error]\nevent = \"write_aio\"\nerrno = \"5\"\nonce = \"on\"\n"), 0o600))
	o := boot(t, "disk", "", "-drive", "format=raw,if=none,id=disk,werror=report,rerror=report,file=blkdebug:"+rules+":"+file,
		"-device", "virtio-blk-device,drive=disk")
	assertEnded(t, o, 0)
	assert.Regexp(t, `disk: write: FAIL\ndisk: flush done\ndisk: read 0x[0-9a-f]+\ndisk: read done\n`, o.Console)
	assert.NotContains(t, o.Console, "broken")
}

// TestNoDevices: without devices tasks find no drivers, and the machine is as it was.
func TestNoDevices(t *testing.T) {
	for task, want := range map[string]string{"dice": "dice: NODEVICE\n", "disk": "disk: no disk: NODEVICE\n"} {
		o := boot(t, task, "")
		assertEnded(t, o, 1)
		assert.Contains(t, o.Console, want)
		assert.NotContains(t, o.Console, "virtio")
	}
}

// TestWordsOfTheCommandLine: one that tells of no device that can be is named, with what is wrong, and booting goes on.
func TestWordsOfTheCommandLine(t *testing.T) {
	o := boot(t, "dice", "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0x10000:6 virtio_mmio.device=4K@0xd0001000:99 "+
		"virtio_mmio.device=1G@0xffffffffffffffff:5 virtio_mmio.device=", "-device", "virtio-rng-device")
	assertEnded(t, o, 0)
	for _, want := range []string{
		"command line: virtio_mmio.device=4K@0x10000:6: the registers are not between 0xc0000000 and 0x100000000; the device is not used\n",
		"command line: virtio_mmio.device=4K@0xd0001000:99: the interrupt is not from 5 to 15; the device is not used\n",
		"command line: virtio_mmio.device=1G@0xffffffffffffffff:5: want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5; the device is not used\n",
		"command line: virtio_mmio.device=: want <size>@<base>:<irq>[:<id>], as in 4K@0xd0000000:5; the device is not used\n",
		"device at 0xd0000000: there are no registers of virtio-mmio; it is not used\n",
	} {
		assert.Contains(t, o.Console, want)
	}
	assert.Regexp(t, many, o.Console)
}

// TestDevicesThatAreNotUsed: a legacy one, a second of a kind, one without a driver.
func TestDevicesThatAreNotUsed(t *testing.T) {
	o := boot(t, "dice", "", "-global", "virtio-mmio.force-legacy=true", "-device", "virtio-rng-device")
	assertEnded(t, o, 1)
	assert.Contains(t, o.Console, ": it is not of version 2; it is not used\n")
	assert.Contains(t, o.Console, "dice: "+abi.NODEVICE.Error()+"\n")

	o = boot(t, "dice", "", "-device", "virtio-rng-device", "-device", "virtio-rng-device", "-device", "virtio-balloon-device")
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, ": there is another of its kind; it is not used\n")
	assert.Contains(t, o.Console, ": there is no driver for its kind; it is not used\n")
}

// peer is what QEMU's network device is connected to: a datagram socket of ours, with a frame in each datagram.
func peer(t *testing.T) (conn *net.UnixConn, device []string) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, []string{
		"-netdev", "dgram,id=net,local.type=unix,local.path=" + theirs + ",remote.type=unix,remote.path=" + ours,
		"-device", "virtio-net-device,netdev=net,mac=02:00:00:00:00:07",
	}
}

// echo sends frames of many lengths to the task frames, with waits for no more than it keeps, and checks what it sends back.
func echo(conn *net.UnixConn) error {
	request := make([]byte, 2000)
	_, guest, err := conn.ReadFromUnix(request) // who is the gateway?
	if err != nil {
		return err
	}
	if !bytes.Equal(request[:14], []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x08\x06")) {
		return fmt.Errorf("want an ARP request, got % x", request[:14])
	}
	header := []byte("\x02\x00\x00\x00\x00\x07\x02\x00\x00\x00\x00\x01\x88\xb5")
	for n := 64; n <= 1514; n += 25 {
		frame := append(bytes.Clone(header), bytes.Repeat([]byte{byte(n)}, n-len(header))...)
		if _, err := conn.WriteToUnix(frame, guest); err != nil {
			return err
		}
		back := make([]byte, 2000)
		got, _, err := conn.ReadFromUnix(back)
		if err != nil {
			return err
		}
		want := slices.Concat(frame[6:12], frame[:6], frame[12:])
		if !bytes.Equal(want, back[:got]) {
			return fmt.Errorf("a frame of %d bytes came back as one of %d: % x", n, got, back[:min(got, 20)])
		}
	}
	_, err = conn.WriteToUnix(append(append(header, "end"...), make([]byte, 50)...), guest)
	return err
}

// TestNetwork: frames of many lengths come and go as they are.
func TestNetwork(t *testing.T) {
	conn, device := peer(t)
	echoed := make(chan error, 1)
	go func() { echoed <- echo(conn) }()
	o := boot(t, "frames", "", device...)
	conn.Close() // ends echo, if the machine ended early
	require.NoError(t, <-echoed, o.Console)
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "frames: 59 sent back\n")
}

// TestAllDevices: one of each kind, side by side, and the console behind virtio.
func TestAllDevices(t *testing.T) {
	conn, network := peer(t)
	go echo(conn)
	file, disk := newDisk(t, 64, "")
	before := sum(t, file, nil)
	printed := filepath.Join(t.TempDir(), "printed")
	o := machine.Boot(t, machine.Guest{
		Image:   image,
		Modules: [][]byte{machine.Object(t, "test/dice.tbf"), machine.Object(t, "test/disk.tbf"), machine.Object(t, "test/frames.tbf")},
		Options: slices.Concat(microvm, network, disk, []string{"-device", "virtio-rng-device",
			"-chardev", "file,id=printed,path=" + printed, "-device", "virtio-serial-device,max_ports=1", "-device", "virtconsole,chardev=printed"}),
	})
	assertEnded(t, o, 0)
	text, err := os.ReadFile(printed)
	require.NoError(t, err)
	for _, want := range []string{"different values in 2000 bytes", "disk: read " + before, "sent back"} {
		assert.Contains(t, string(text), want)
	}
	assert.NotContains(t, o.Console+string(text), "broken")
}
