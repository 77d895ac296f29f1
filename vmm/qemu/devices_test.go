package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/vmm"
	"kapsel/vmm/disk"
	"kapsel/vmm/ethernet"
)

// newDisk makes a raw image, of so many sectors, whose bytes are their sectors' numbers.
func newDisk(t *testing.T, sectors int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	var content []byte
	for i := range sectors {
		content = append(content, bytes.Repeat([]byte{byte('0' + i)}, disk.SectorSize)...)
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// slot is where the device of microvm is that was asked for as i-th.
func slot(i int) uint32 { return 0xfeb0_0000 + 512*(7-uint32(i)) }

// Where a guest has its queues and buffers.
const (
	descriptors = 0x40_0000
	available   = 0x40_1000
	used        = 0x40_2000
	header      = 0x40_3000
	answer      = 0x40_4000
	status      = 0x40_5000
	queueSize   = 8
)

var le = binary.LittleEndian

// store is mov dword [address], value.
func store(address, value uint32) []byte {
	return le.AppendUint32(le.AppendUint32([]byte{0xc7, 0x05}, address), value)
}

// printByte prints the byte at an address: mov al, [address]; mov dx, 0x3f8; out dx, al.
func printByte(address uint32) []byte {
	return append(le.AppendUint32([]byte{0xa0}, address), 0x66, 0xba, 0xf8, 0x03, 0xee)
}

// printRegister prints the low byte of a register: mov eax, [address]; mov dx, 0x3f8; out dx, al.
func printRegister(address uint32) []byte {
	return append(le.AppendUint32([]byte{0xa1}, address), 0x66, 0xba, 0xf8, 0x03, 0xee)
}

// printBytes prints n bytes: mov esi, address; mov ecx, n; mov dx, 0x3f8; rep outsb.
func printBytes(address, n uint32) []byte {
	code := append(le.AppendUint32([]byte{0xbe}, address), 0xb9)
	return append(le.AppendUint32(code, n), 0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e)
}

// startDevice starts the device at base, with one of its queues (virtio 1.2, 3.1.1 and 4.2.3).
func startDevice(base, queue uint32) []byte {
	var code []byte
	for _, write := range [][2]uint32{
		{virtio.RegStatus, 0}, {virtio.RegStatus, virtio.StatusAcknowledge}, {virtio.RegStatus, 3},
		{virtio.RegDriverFeaturesSel, 0}, {virtio.RegDriverFeatures, 0},
		{virtio.RegDriverFeaturesSel, 1}, {virtio.RegDriverFeatures, 1}, // VERSION_1
		{virtio.RegStatus, 11},
		{virtio.RegQueueSel, queue}, {virtio.RegQueueSize, queueSize},
		{virtio.RegQueueDescLow, descriptors}, {virtio.RegQueueDriverLow, available}, {virtio.RegQueueDeviceLow, used},
		{virtio.RegQueueReady, 1}, {virtio.RegStatus, 15},
	} {
		code = append(code, store(base+write[0], write[1])...)
	}
	return code
}

// A buffer is one of a request's.
type buffer struct{ address, size, flags uint32 }

// ask gives the device at base its n-th request and waits for it: l: cmp word [used+2], n; jne l.
func ask(base, queue uint32, n uint16, buffers ...buffer) []byte {
	var code []byte
	for i, b := range buffers {
		flags, at := b.flags, descriptors+virtio.DescriptorSize*uint32(i)
		if i < len(buffers)-1 {
			flags |= virtio.DescNext | uint32(i+1)<<16
		}
		code = slices.Concat(code, store(at, b.address), store(at+4, 0), store(at+8, b.size), store(at+12, flags))
	}
	code = slices.Concat(code, // each element of the ring is 0, the first descriptor
		store(available, uint32(n)<<16), store(base+virtio.RegQueueNotify, queue))
	code = le.AppendUint32(append(code, 0x66, 0x81, 0x3d), used+virtio.RingIndex)
	return append(le.AppendUint16(code, n), 0x75, 0xf5)
}

// askDisk has a disk do a request, and prints its status as a digit: mov al, [status]; add al, '0'; out dx, al.
func askDisk(base uint32, n uint16, kind, sector, size, flags uint32) []byte {
	return slices.Concat(
		store(header, kind), store(header+virtio.BlockHeaderSector, sector), store(status, 0xff),
		ask(base, 0, n, buffer{header, virtio.BlockHeaderSize, 0}, buffer{answer, size, flags}, buffer{status, 1, virtio.DescWrite}),
		le.AppendUint32([]byte{0xa0}, status), []byte{0x04, '0', 0x66, 0xba, 0xf8, 0x03, 0xee})
}

// runDevices runs a guest that ends with status 0, and returns what it printed.
func runDevices(t *testing.T, c vmm.Config, code ...[]byte) string {
	t.Helper()
	var console bytes.Buffer
	c.Console = &console
	m := newMachine(t, c, append(code, codeExit0)...)
	exit, err := m.Run(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, exit)
	return console.String()
}

// mov esi, [ebx+24] (cmdline_paddr); mov dx, 0x3f8; l: lodsb; out dx, al; test al, al; jnz l
var codePrintCmdline = []byte{0x8b, 0x73, 0x18, 0x66, 0xba, 0xf8, 0x03, 0xac, 0xee, 0x84, 0xc0, 0x75, 0xfa}

// TestDevicesAreOnTheCommandLine: behind the words that QEMU was given, in the order of the configuration, on
// lines that the kernel takes. There are the devices that were asked for, of version 2.
func TestDevicesAreOnTheCommandLine(t *testing.T) {
	const word = " " + abi.VirtioWord
	devices := []vmm.Device{vmm.Disk{Path: newDisk(t, 1)}, vmm.Entropy{}, vmm.Console{}}
	code := [][]byte{codePrintCmdline}
	for i := range len(devices) + 1 {
		code = append(code, printRegister(slot(i)+virtio.RegVersion), printRegister(slot(i)+virtio.RegDeviceID))
	}
	got := runDevices(t, vmm.Config{Cmdline: "a b", Devices: devices}, code...)
	want := "a b" + word + "512@0xfeb00e00:12" + word + "512@0xfeb00c00:11" + word + "512@0xfeb00a00:10\x00"
	assert.Equal(t, want+"\x02\x02\x02\x04\x02\x03\x02\x00", got)
	assert.Len(t, want, len("a b\x00")+3*wordSize)
}

// TestNoDevices: a machine without has no words of them.
func TestNoDevices(t *testing.T) {
	assert.Equal(t, "a b\x00", runDevices(t, vmm.Config{Cmdline: "a b"}, codePrintCmdline))
}

func TestDisk(t *testing.T) {
	const base, in = 0xfeb0_0e00, virtio.DescWrite
	for _, test := range []struct {
		name     string
		readOnly bool
		code     [][]byte
		want     string
		file     string // first bytes of the sectors, when the machine has ended
	}{
		{"reads", false, [][]byte{askDisk(base, 1, virtio.BlockIn, 2, 512, in), printBytes(answer, 512)}, "0" + strings.Repeat("2", 512), "0123"},
		{"reads one that is read-only", true, [][]byte{askDisk(base, 1, virtio.BlockIn, 1, 512, in), printBytes(answer, 512)}, "0" + strings.Repeat("1", 512), "0123"},
		{"writes and flushes", false, [][]byte{store(answer, 'x'), askDisk(base, 1, virtio.BlockOut, 3, 512, 0),
			store(header, virtio.BlockFlush),
			ask(base, 0, 2, buffer{header, virtio.BlockHeaderSize, 0}, buffer{status, 1, virtio.DescWrite}), printByte(status)}, "0\x00", "012x"},
		{"may not write", true, [][]byte{store(answer, 'x'), askDisk(base, 1, virtio.BlockOut, 3, 512, 0)}, "1", "0123"},
		{"finds no sector behind the end", false, [][]byte{askDisk(base, 1, virtio.BlockIn, 4, 512, in)}, "1", "0123"},
		{"tells its identity", false, [][]byte{askDisk(base, 1, virtio.BlockGetID, 0, virtio.BlockIDSize, in), printBytes(answer, 6)}, "0disk0\x00", "0123"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := newDisk(t, 4)
			c := vmm.Config{Devices: []vmm.Device{vmm.Disk{Path: path, ReadOnly: test.readOnly}}}
			got := runDevices(t, c, append([][]byte{startDevice(base, 0)}, test.code...)...)
			assert.Equal(t, test.want, got)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, test.file, string([]byte{content[0], content[512], content[1024], content[1536]}))
		})
	}
}

// TestDiskIsLocked: from New to Close.
func TestDiskIsLocked(t *testing.T) {
	stub(t, "exit 1")
	path := newDisk(t, 1)
	c := vmm.Config{Image: flat(t, codeSpin), Devices: []vmm.Device{vmm.Disk{Path: path}}}
	m, err := New(t.Context(), c)
	require.NoError(t, err)
	_, err = New(t.Context(), c)
	assert.ErrorContains(t, err, "in use by another program")
	require.NoError(t, m.Close())
	m, err = New(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

func TestEntropy(t *testing.T) {
	const base = 0xfeb0_0e00
	code := [][]byte{startDevice(base, 0), ask(base, 0, 1, buffer{answer, 16, virtio.DescWrite}), printByte(used + virtio.RingElements + 4), printBytes(answer, 16)}
	c := vmm.Config{Devices: []vmm.Device{vmm.Entropy{}}}
	one, other := runDevices(t, c, code...), runDevices(t, c, code...)
	require.Len(t, one, 17)
	assert.EqualValues(t, 16, one[0], "bytes that were written")
	assert.NotEqual(t, one, other)
}

// TestConsole: what both print comes in the order in which the guest prints it, and what is typed goes to the
// console device.
func TestConsole(t *testing.T) {
	const base, transmit = 0xfeb0_0e00, virtio.ConsoleTransmitQueue
	text := slices.Concat(store(answer, 0x32313030), store(answer+4, 0x36353433)) // 0 0 1 2 3 4 5 6
	var code [][]byte
	for i := range uint16(200) {
		code = append(code, ask(base, transmit, i+1, buffer{answer + 1, 7, 0}), printByte(answer))
	}
	c := vmm.Config{Devices: []vmm.Device{vmm.Console{}}}
	got := runDevices(t, c, append([][]byte{startDevice(base, transmit), text}, code...)...)
	assert.Equal(t, strings.Repeat("01234560", 200), got)

	const receive = virtio.ConsoleReceiveQueue
	c.Input = strings.NewReader("typed")
	got = runDevices(t, c, startDevice(base, receive), ask(base, receive, 1, buffer{answer, 5, virtio.DescWrite}), printBytes(answer, 5))
	assert.Equal(t, "typed", got)
}

// TestNetwork: a frame of the guest's comes out at the port's network, and one from there at the guest, whose address
// is the port's.
func TestNetwork(t *testing.T) {
	const base, receive, transmit = 0xfeb0_0e00, virtio.NetReceiveQueue, virtio.NetTransmitQueue
	mac := ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	network, far := ethernet.Pair()
	defer far.Close()
	c := vmm.Config{Devices: []vmm.Device{vmm.Network{Connection: connection{mac, network}}}}
	frame := append(slices.Concat([]byte{1, 2, 3, 4, 5, 6}, mac[:]), bytes.Repeat([]byte{'x'}, 52)...)

	var code [][]byte
	for i := range uint32(len(frame) / 4) {
		code = append(code, store(answer+virtio.NetHeaderSize+4*i, le.Uint32(frame[4*i:])))
	}
	code = append(code, startDevice(base, transmit), ask(base, transmit, 1, buffer{answer, virtio.NetHeaderSize + uint32(len(frame)), 0}), printByte(base+virtio.RegConfig+5))
	sent := make(chan []byte, 1)
	go func() {
		buffer := make([]byte, ethernet.MaxFrame)
		n, _ := far.ReadFrame(buffer)
		sent <- buffer[:n]
	}()
	assert.Equal(t, "V", runDevices(t, c, code...)) // 0x56
	assert.Equal(t, frame, <-sent)

	network, far = ethernet.Pair()
	go func() {
		for far.WriteFrame(frame) == nil { // what comes before the driver is up may be lost
		}
	}()
	c.Devices = []vmm.Device{vmm.Network{Connection: connection{mac, network}}}
	got := runDevices(t, c, startDevice(base, receive), ask(base, receive, 1, buffer{answer, 1600, virtio.DescWrite}),
		printBytes(answer+virtio.NetHeaderSize, uint32(len(frame))))
	assert.Equal(t, string(frame), got)
}

// A connection is a port of a backend, for a device with an address.
type connection struct {
	mac     ethernet.MAC
	backend ethernet.Backend
}

func (connection) String() string { return "of a test" }

func (c connection) Open(log func(string, ...any)) (*ethernet.Port, error) {
	return ethernet.NewPort(c.mac, c.backend, nil, log), nil
}

// An unknownDevice is none that this package knows.
type unknownDevice struct{ vmm.Entropy }

func (unknownDevice) String() string { return "crystal ball" }

func TestDevicesThatCannotBe(t *testing.T) {
	stub(t, "exit 1")
	for _, test := range []struct {
		name   string
		config vmm.Config
		want   string
	}{
		{"no such file", vmm.Config{Devices: []vmm.Device{vmm.Disk{Path: "absent"}}}, `disk "absent": no such file or directory: truncate -s 64M FILE makes an empty one`},
		{"an unknown kind", vmm.Config{Devices: []vmm.Device{unknownDevice{}}}, "crystal ball: there is no such device under QEMU: use KVM"},
		{"no room for QEMU's words", vmm.Config{Devices: []vmm.Device{vmm.Entropy{}}, Cmdline: strings.Repeat("x", abi.CmdlineMax-wordSize+1)},
			"a command line of 2012 bytes, and 37 bytes by which QEMU tells of the devices: the kernel reads at most 2048"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Image = flat(t, codeSpin)
			_, err := New(t.Context(), test.config)
			assert.EqualError(t, err, test.want)
			if test.name == "no such file" {
				assert.ErrorIs(t, err, fs.ErrNotExist)
			}
			_, ofDevice := errors.AsType[*vmm.DeviceError](err)
			assert.Equal(t, test.config.Cmdline == "", ofDevice)
		})
	}
}

// TestWithoutMicrovm: a QEMU that was built without the machine, or has no firmware for it, is q35, which is logged. It can
// have no devices, which is an error that says so.
func TestWithoutMicrovm(t *testing.T) {
	needQEMU(t)
	real, err := exec.LookPath(Command)
	require.NoError(t, err)
	const noSandbox = "-sandbox support is not enabled in this QEMU binary"
	for _, test := range []struct{ name, refusal, sandbox string }{
		{"built without", Command + ": unsupported machine type\nUse -machine help to list supported machines", ""},
		{"no firmware", "qemu: could not load PC BIOS 'qboot.rom'", ""},
		{"nor a sandbox", Command + ": unsupported machine type", noSandbox},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := `case "$*" in *"-machine microvm"*) echo "` + test.refusal + `" >&2; exit 1;; esac; exec ` + real + ` "$@"`
			if test.sandbox != "" {
				script = `case "$*" in *-sandbox*) echo "` + test.sandbox + `" >&2; exit 1;; esac; ` + script
			}
			stub(t, script)
			var warnings, log []string
			c := vmm.Config{Image: flat(t, codeExit5), Warn: logTo(&warnings), Log: logTo(&log)}
			m, err := New(t.Context(), c)
			require.NoError(t, err)
			defer m.Close()
			exit, err := m.Run(testContext(t))
			require.NoError(t, err)
			assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit)
			said := strings.Join(strings.Fields(test.refusal), " ")
			assert.Contains(t, log, "this QEMU has no machine microvm, and is q35 instead: "+said)
			assert.Len(t, warnings, min(len(test.sandbox), 1))

			c.Devices = []vmm.Device{vmm.Entropy{}}
			m, err = New(t.Context(), c)
			require.NoError(t, err)
			defer m.Close()
			exit, err = m.Run(testContext(t))
			assert.Equal(t, vmm.Exit{Reason: vmm.Failed}, exit)
			assert.EqualError(t, err, "devices need QEMU's machine microvm, and this QEMU does not have it (QEMU: "+said+"): install one that has, or use KVM")
		})
	}
}
