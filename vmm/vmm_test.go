package vmm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm/device"
	"kapsel/vmm/gpio"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/linux"
	"kapsel/vmm/virtio"
)

func testImage(t *testing.T) *image.Image {
	t.Helper()
	img, err := image.Parse(image.Flat([]byte{0xf4}, 0))
	require.NoError(t, err)
	return img
}

func TestConfigDefaults(t *testing.T) {
	c, err := Config{Image: testImage(t)}.WithDefaults()
	require.NoError(t, err)
	assert.EqualValues(t, DefaultMemory, c.Memory)
	assert.Equal(t, DefaultKVM, c.KVM)
	_, err = c.Console.Write([]byte("nobody listens"))
	assert.NoError(t, err)
	c.Log("nobody %s", "listens")
}

func TestConfigRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config Config
		err    string
	}{
		{"no image", Config{}, "no image to boot"},
		{"an image and Linux", Config{Image: testImage(t), Linux: &linux.Kernel{}}, "a machine boots one of them"},
		{"an initial file system for an image", Config{Image: testImage(t), Initrd: []byte{1}}, "an initial file system is for Linux"},
		{"Linux with modules", Config{Linux: &linux.Kernel{}, Modules: [][]byte{{1}}}, "modules for Linux"},
		{"Linux with a watchdog", Config{Linux: &linux.Kernel{}, Watchdog: 1}, "which has no heartbeat"},
		{"too many breakpoints", Config{Image: testImage(t), Breakpoints: make([]uint64, 5)}, "5 breakpoints are more than the 4"},
		{"a breakpoint nowhere", Config{Image: testImage(t), Breakpoints: []uint64{0, 1 << 47}}, "breakpoint 0x800000000000 is no virtual address"},
		{"a negative watchdog", Config{Image: testImage(t), Watchdog: -1}, "want a positive time, or 0 for none"},
		{"part of a page", Config{Image: testImage(t), Memory: 4<<20 + 1}, "4194305 bytes is not a multiple of 4096"},
		{"too many devices", Config{Image: testImage(t), Devices: make([]Device, 9)}, "9 devices are more than the 8"},
		{"no board", Config{Image: testImage(t), Devices: []Device{GPIO{}}}, "a GPIO device without a board"},
		{"a board without lines", Config{Image: testImage(t), Devices: []Device{GPIO{gpio.NewBoard(0, 0, 0)}}}, "a GPIO device with a board of 0 lines: want 1 to 64"},
		{"a board with too many lines", Config{Image: testImage(t), Devices: []Device{GPIO{gpio.NewBoard(32, 32, 1)}}}, "a board of 65 lines: want 1 to 64"},
		{"no device", Config{Image: testImage(t), Devices: []Device{Entropy{}, nil}}, "device 1 is nil"},
		{"a command line too long beside its devices", Config{Image: testImage(t), Devices: []Device{Entropy{}}, Cmdline: strings.Repeat("x", abi.CmdlineMax-34)},
			"a command line of 2014 bytes, and 35 bytes that tell of the devices: the kernel reads at most 2048"},
		{"too much memory", Config{Image: testImage(t), Memory: MaxMemory + abi.PageSize}, "is more than the 1099511627776"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(t.Context(), tt.config)
			assert.ErrorContains(t, err, tt.err)
		})
	}
}

func TestExitInWords(t *testing.T) {
	for exit, want := range map[Exit]string{
		{Reason: GuestExit, Status: 3}:             "the guest ended with status 3",
		{Reason: Shutdown}:                         "the guest's processor shut down (triple fault)",
		{Reason: Reset}:                            "the guest reset the machine, which is not booted again",
		{Reason: Cancelled}:                        "cancelled",
		{Reason: Breakpoint, Address: 0x4000_0000}: "breakpoint at 0x40000000",
		{Reason: Failed}:                           "KVM failed",
		{Reason: Hung}:                             "the kernel hangs, and the watchdog's NMI did not end it",
		{}:                                         "unknown reason 0",
	} {
		assert.Equal(t, want, exit.String())
	}
}

func TestProbeResult(t *testing.T) {
	ended := Exit{Reason: GuestExit}
	for _, tt := range []struct {
		name  string
		exit  Exit
		err   error
		marks string
		want  string
	}{
		{"all is well", ended, nil, "SU", ""},
		{"no SSE", Exit{Reason: Failed}, errors.New("emulation"), "", "cannot execute SSE instructions in ring 0, as compiled Go needs them (emulation)"},
		{"no system call", Exit{Reason: Shutdown}, nil, "S", "cannot run a system call from ring 3 to ring 0 (the guest's processor shut down"},
		{"wrong arithmetic", Exit{Reason: GuestExit, Status: 1}, nil, "", "cannot execute SSE"},
		{"wrong ring", Exit{Reason: GuestExit, Status: 1}, nil, "S", "with status 1"},
		{"it never ends", Exit{Reason: Cancelled}, nil, "S", "(cancelled)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := probeResult(tt.exit, tt.err, tt.marks)
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestGuestCPUID(t *testing.T) {
	all := uint32(0xffff_ffff)
	full := func(function, index uint32) kvm.CPUIDEntry {
		return kvm.CPUIDEntry{Function: function, Index: index, Eax: all, Ebx: all, Ecx: all, Edx: all}
	}
	supported := []kvm.CPUIDEntry{
		full(0, 0), full(1, 0), full(4, 0), full(0xb, 0), full(0xb, 1), full(0xb, 2),
		full(0x4000_0000, 0), full(0x8000_0001, 0), full(0x8000_0008, 0), full(0x8000_001e, 0),
		full(7, 0), full(7, 2),
	}
	got := guestCPUID(supported, true)
	words := func(i int) [4]uint32 { return [4]uint32{got[i].Eax, got[i].Ebx, got[i].Ecx, got[i].Edx} }

	assert.Equal(t, supported[0], got[0], "other leaves stay")
	assert.Equal(t, [4]uint32{all, 0x0001_ffff, 0xffff_ffdf, 0xefff_ffff}, words(1), "features")
	assert.Equal(t, [4]uint32{0x3fff, all, all, all}, words(2), "caches")
	assert.Equal(t, [4]uint32{0, 1, 0x100, 0}, words(3), "topology: threads")
	assert.Equal(t, [4]uint32{0, 1, 0x201, 0}, words(4), "topology: cores")
	assert.Equal(t, [4]uint32{0, 0, 2, 0}, words(5), "topology: the end")
	assert.Equal(t, supported[6], got[6], "KVM's signature stays")
	assert.Equal(t, [4]uint32{all, all, 0xffff_fff9, all}, words(7), "AMD features")
	assert.Equal(t, [4]uint32{all, all, 0, all}, words(8), "AMD cores")
	assert.Equal(t, [4]uint32{0, 0, 0, all}, words(9), "AMD topology")
	assert.Equal(t, [4]uint32{all, 0xffff_f7ef, all, all}, words(10), "no HLE, no RTM; what tells of mitigations stays")
	assert.Equal(t, supported[11], got[11], "RRSBA_DIS_S, BHI_DIS_S and others stay")
	assert.EqualValues(t, all, supported[1].Ecx, "the host's list is not changed")

	without := guestCPUID(supported, false)
	assert.EqualValues(t, 0xfeff_ffdf, without[1].Ecx, "no TSC-deadline timer")
	none := guestCPUID([]kvm.CPUIDEntry{{Function: 1}}, true)
	assert.EqualValues(t, 1<<31|1<<24, none[0].Ecx, "KVM's list has neither bit")
}

func TestHasArchCapabilities(t *testing.T) {
	assert.True(t, hasArchCapabilities([]kvm.CPUIDEntry{{Function: 1}, {Function: 7, Edx: 1 << 29}}))
	assert.False(t, hasArchCapabilities([]kvm.CPUIDEntry{{Function: 7, Index: 1, Edx: 1 << 29}, {Function: 7, Edx: ^uint32(1 << 29)}}))
	assert.False(t, hasArchCapabilities(nil))
}

func TestGuestProcessor(t *testing.T) {
	leaves := []kvm.CPUIDEntry{
		{Function: 0, Eax: 0x20, Ebx: 0x756e6547, Ecx: 0x6c65746e, Edx: 0x49656e69}, // GenuineIntel
		{Function: 7, Edx: 1<<26 | 1<<29}, {Function: 7, Index: 1},
	}
	for capabilities, want := range map[uint64]struct {
		enhanced     uint64
		meltdownOpen bool
	}{0: {0, true}, 1: {0, false}, 1 | 2: {1, false}} {
		p := guestProcessor(leaves, capabilities)
		plan := p.Plan(mitigation.Auto)
		assert.Equal(t, want.enhanced, plan.SpecCtrl)
		assert.Equal(t, want.meltdownOpen, plan.MeltdownOpen)
	}
}

func TestMemoryAt(t *testing.T) {
	m := &memory{low: make([]byte, 8192), high: make([]byte, 4096)}
	for _, tt := range []struct {
		name    string
		address uint64
		want    int
	}{
		{"the start", 0, 16},
		{"the last bytes", 8190, 2},
		{"behind the end", 8192, 0},
		{"the hole", abi.MMIOHole, 0},
		{"high memory", abi.MMIOHoleEnd, 16},
		{"its last byte", abi.MMIOHoleEnd + 4095, 1},
		{"behind everything", abi.MMIOHoleEnd + 4096, 0},
		{"the end of the address space", ^uint64(0), 0},
	} {
		assert.Len(t, m.at(tt.address, 16), tt.want, tt.name)
	}
}

func TestMemoryIsAlignedAndUntouched(t *testing.T) {
	m, err := newMemory(4<<30, false)
	require.NoError(t, err)
	assert.Len(t, m.low, abi.MMIOHole)
	assert.Len(t, m.high, 1<<30)
	m.low[abi.MMIOHole-1], m.high[0] = 1, 1
	require.NoError(t, m.close())
	assert.NoError(t, m.close(), "again")
}

// machineWithDevices is a machine without a processor.
func machineWithDevices(log func(string, ...any)) *Machine {
	m := &Machine{config: Config{Console: &bytes.Buffer{}, Log: log}}
	m.addDevices()
	return m
}

func TestDispatch(t *testing.T) {
	m := machineWithDevices(func(string, ...any) {})
	for port, want := range map[uint16]device.Ports{
		0x3f7: device.Nothing, 0x3f8: m.serial, 0x3ff: m.serial, 0x400: device.Nothing,
		0xf3: device.Nothing, 0xf4: &m.exit, 0xf7: &m.exit, 0xf8: device.Nothing,
		0: device.Nothing, 0xffff: device.Nothing,
	} {
		assert.Equal(t, want, m.portDevice(port), "port %#x", port)
	}
	assert.EqualValues(t, 6, m.Stats().UnknownPorts)

	for _, tt := range []struct {
		address, size uint64
		want          device.MMIO
		offset        uint64
	}{
		{0xfec0_0000, 4, m.ioapic, 0},
		{0xfec0_0ffc, 4, m.ioapic, 0xffc},
		{0xfec0_0ffd, 4, device.Nothing, 0}, // reaches beyond
		{0xfebf_ffff, 1, device.Nothing, 0},
		{0xfec0_1000, 1, device.Nothing, 0},
		{^uint64(0), 8, device.Nothing, 0},
	} {
		d, offset := m.mmioDevice(tt.address, tt.size)
		assert.Equal(t, tt.want, d, "%#x", tt.address)
		assert.Equal(t, tt.offset, offset, "%#x", tt.address)
	}
	assert.EqualValues(t, 4, m.Stats().UnknownMMIO)
}

func TestStrangersAreLoggedOnceAndFew(t *testing.T) {
	logged := 0
	m := machineWithDevices(func(string, ...any) { logged++ })
	for range 3 {
		m.portDevice(0x80)
		m.mmioDevice(0x80*abi.PageSize, 4) // a page with the port's number is another key
	}
	assert.Equal(t, 2, logged)
	for port := range uint16(1000) {
		m.portDevice(port)
	}
	assert.Equal(t, len(m.strange.seen), logged)
}

func TestHistoryKeepsTheLast(t *testing.T) {
	var h history
	assert.Empty(t, h.last())
	for i := range uint64(11) {
		h.add(event{address: i, size: 4})
	}
	last := h.last()
	require.Len(t, last, 8)
	assert.Equal(t, "read physical address 0x3, 32 bits", last[0].String())
	assert.Equal(t, "read physical address 0xa, 32 bits", last[7].String())
	assert.Equal(t, "wrote to I/O port 0x80, 8 bits", event{port: true, write: true, address: 0x80, size: 1}.String())
}

func TestConsoleGivesUpOnce(t *testing.T) {
	var lines []string
	c := &console{w: brokenWriter{}, log: func(format string, args ...any) { lines = append(lines, format) }}
	for range 3 {
		c.Write([]byte("x"))
	}
	assert.Len(t, lines, 1)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestDumpWords(t *testing.T) {
	assert.Equal(t, "PE ET NE WP PG", bitNames(0x8001_0031, cr0Names))
	assert.Equal(t, "PAE OSFXSR OSXMMEXCPT", bitNames(0x620, cr4Names))
	assert.Equal(t, "SCE LME LMA NXE", bitNames(0xd01, eferNames))
	assert.Equal(t, "ZF IF", bitNames(0x242, rflagsNames))
	assert.Equal(t, "SMEP SMAP", bitNames(1<<20|1<<21, cr4Names))

	long := kvm.Sregs{CR0: cr0PE, EFER: eferLMA, CS: kvm.Segment{L: 1}}
	assert.Equal(t, "64-bit mode", mode(&long))
	long.CS.L = 0
	assert.Equal(t, "compatibility mode", mode(&long))
	assert.Equal(t, "protected mode", mode(&kvm.Sregs{CR0: cr0PE}))
	assert.True(t, strings.HasPrefix(mode(&kvm.Sregs{}), "real mode"))
}

func TestThread(t *testing.T) {
	thread := newThread()
	n := 0
	for range 3 {
		assert.True(t, thread.do(func() { n++ }))
	}
	thread.close()
	assert.False(t, thread.do(func() { n++ }))
	assert.Equal(t, 3, n)
}

func TestDumpOfAClosedMachine(t *testing.T) {
	m := &Machine{thread: newThread()}
	require.NoError(t, m.Close())
	var text bytes.Buffer
	m.Dump(&text)
	assert.Equal(t, "the processor's state cannot be read: the machine is closed\n", text.String())
}

// What devices reach of memory: whole ranges of RAM, in one piece.
func TestMemoryOfDevices(t *testing.T) {
	ram := make([]byte, 0x3000)
	m := &memory{low: ram[:0x2000:0x2000], high: ram[0x2000:]}
	for _, tt := range []struct {
		name       string
		address, n uint64
		ok         bool
	}{
		{"all that is low", 0, 0x2000, true},
		{"one more", 0, 0x2001, false},
		{"the last byte", 0x1fff, 1, true},
		{"two there", 0x1fff, 2, false},
		{"nothing at the end", 0x2000, 0, true},
		{"in the hole", abi.MMIOHole, 1, false},
		{"from the hole into RAM", abi.MMIOHoleEnd - 1, 2, false},
		{"all that is high", abi.MMIOHoleEnd, 0x1000, true},
		{"one more there", abi.MMIOHoleEnd, 0x1001, false},
		{"behind all", abi.MMIOHoleEnd + 0x1000, 1, false},
		{"round the end of addresses", 1<<64 - 1, 2, false},
		{"all addresses", 0, 1<<64 - 1, false},
		{"from RAM round to it", 0x1000, 1<<64 - 0x1000, false},
	} {
		p, ok := m.At(tt.address, tt.n)
		assert.Equal(t, tt.ok, ok, tt.name)
		if ok {
			assert.EqualValues(t, tt.n, len(p), tt.name)
			assert.Equal(t, len(p), cap(p), tt.name)
		}
	}
}

// Each device has its place, of which its word tells, and its line.
func TestPlacesOfDevices(t *testing.T) {
	assert.Empty(t, DeviceWords(0))
	words := strings.Fields(DeviceWords(abi.VirtioPlaces))
	require.Len(t, words, 8)
	assert.Equal(t, "virtio_mmio.device=4K@0xd0000000:5", words[0])
	assert.Equal(t, "virtio_mmio.device=4K@0xd0007000:12", words[7])

	m := machineWithDevices(func(string, ...any) {})
	m.memory = &memory{}
	p := m.addPlace(7, "entropy", virtio.NewEntropy())
	for address, want := range map[uint64]device.MMIO{
		0xd000_6ffc: device.Nothing, 0xd000_7000: p.transport, 0xd000_7ffc: p.transport, 0xd000_7ffd: device.Nothing, 0xd000_8000: device.Nothing,
	} {
		d, _ := m.mmioDevice(address, 4)
		assert.Equal(t, want, d, "%#x", address)
	}
	assert.Equal(t, []DeviceStats{{Name: "entropy"}}, m.Stats().Devices)
	assert.NoError(t, m.closeDevices())
}
