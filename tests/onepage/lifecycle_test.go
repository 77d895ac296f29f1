package onepage

import (
	"bytes"
	"context"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

// says returns a console that closes the channel when the guest writes to it for the nth time.
func says(n int) (console io.Writer, said chan struct{}) {
	said = make(chan struct{})
	return writerFunc(func() {
		if n--; n == 0 {
			close(said)
		}
	}), said
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

// hello writes a byte to the console.
var hello = join(movEDX(abi.PortCOM1), movEAX('!'), outDXAL)

func dump(m *vmm.Machine) string {
	var b bytes.Buffer
	m.Dump(&b)
	return b.String()
}

func TestCancelStopsASpinningGuest(t *testing.T) {
	console, said := says(1)
	m := newMachine(t, join(hello, spin), vmm.Config{Console: console})
	stop := start(t, m)
	<-said
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, stop())

	text := dump(m)
	assert.Contains(t, text, "running in 64-bit mode, ring 0, interrupts off")
	assert.Contains(t, text, "rip ffffffff8020000b", "behind hello")
	assert.Contains(t, text, "code at rip  eb fe")
	assert.Contains(t, text, "cr0 80010033 (PE MP ET NE WP PG)")
	assert.Contains(t, text, "wrote to I/O port 0x3f8, 8 bits")
	assert.Contains(t, text, "Exits: 1 port, 0 memory")
}

func TestCancelStopsAHaltedGuest(t *testing.T) {
	console, said := says(1)
	m := newMachine(t, join(hello, haltLoop), vmm.Config{Console: console})
	stop := start(t, m)
	<-said
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, stop())
	assert.Contains(t, dump(m), "64-bit mode, ring 0, interrupts off")
}

func TestCancelStopsAGuestThatExitsAllTheTime(t *testing.T) {
	console, said := says(100)
	m := newMachine(t, join(hello, outDXAL, []byte{0xeb, 0xfd}), vmm.Config{Console: console, ConsoleInStep: true}) // 1: out; jmp 1b
	stop := start(t, m)
	<-said
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, stop())
	assert.Contains(t, dump(m), "The last 8 accesses")
}

func TestCancelledBeforeItRuns(t *testing.T) {
	m := newMachine(t, exit(0), vmm.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	exit, err := m.Run(ctx)
	require.NoError(t, err)
	// The context's end is asynchronous: a short guest may come first.
	assert.Contains(t, []vmm.Exit{{Reason: vmm.Cancelled}, guestExit(0)}, exit)
}

func TestDumpBeforeRun(t *testing.T) {
	m := newMachine(t, exit(5), vmm.Config{})
	assert.Contains(t, dump(m), "rip ffffffff80200000")
	exit, err := m.Run(context.Background())
	require.NoError(t, err)
	assert.Equal(t, guestExit(5), exit)
	assert.Contains(t, dump(m), "rip ffffffff80200007", "behind the OUT")
}

func TestCloseStopsTheGuest(t *testing.T) {
	console, said := says(1)
	m := newMachine(t, join(hello, spin), vmm.Config{Console: console})
	var exit vmm.Exit
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { exit, err = m.Run(context.Background()) })
	<-said
	require.NoError(t, m.Close())
	wg.Wait()
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, exit)

	assert.NoError(t, m.Close(), "again")
	assert.Contains(t, dump(m), "the machine is closed")
}

func TestRunsOnce(t *testing.T) {
	m := newMachine(t, exit(0), vmm.Config{})
	_, err := m.Run(context.Background())
	require.NoError(t, err)
	exit, err := m.Run(context.Background())
	assert.ErrorContains(t, err, "has run already")
	assert.Equal(t, vmm.Failed, exit.Reason)

	m = newMachine(t, spin, vmm.Config{})
	require.NoError(t, m.Close())
	_, err = m.Run(context.Background())
	assert.ErrorContains(t, err, "closed")
}

func TestMachinesAreIndependent(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			letter := []byte{byte('a' + i)}
			code := join([]byte{0x48, 0x8d, 0x35, 19, 0, 0, 0}, outString(50), exit(uint32(i)), bytes.Repeat(letter, 50))
			r := run(t, code, vmm.Config{})
			assert.Equal(t, guestExit(i), r.Exit)
			assert.Equal(t, strings.Repeat(string(letter), 50), r.console)
		})
	}
	wg.Wait()
}

// resources counts what this process holds: file descriptors and mappings of KVM and of
// guest memory's size.
func resources(t *testing.T) (fds, mappings int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return len(entries), strings.Count(string(maps), "kvm")
}

func TestNothingLeaks(t *testing.T) {
	const memory = 64 << 20
	life := func() {
		m := newMachine(t, exit(0), vmm.Config{Memory: memory})
		_, err := m.Run(context.Background())
		require.NoError(t, err)
		require.NoError(t, m.Close())
	}
	life() // what is made once
	fds, mappings := resources(t)
	size := virtualSize(t)
	for range 20 {
		life()
	}
	fdsAfter, mappingsAfter := resources(t)
	assert.Equal(t, fds, fdsAfter, "file descriptors")
	assert.Equal(t, mappings, mappingsAfter, "mappings of kvm_run")
	assert.Less(t, virtualSize(t), size+10*memory, "bytes of address space, of %d in machines", 20*memory)
}

// virtualSize is this process's address space in bytes (field 1 of /proc/self/statm).
func virtualSize(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var pages uint64
	for _, digit := range strings.Fields(string(data))[0] {
		pages = pages*10 + uint64(digit-'0')
	}
	return pages * uint64(os.Getpagesize())
}

func TestNewFails(t *testing.T) {
	needKVM(t)
	flat := func(bss uint64) *image.Image {
		img, err := image.Parse(image.Flat(exit(0), bss))
		require.NoError(t, err)
		return img
	}
	before, _ := resources(t)
	for _, tt := range []struct {
		name   string
		config vmm.Config
		err    string
	}{
		{"too little memory", vmm.Config{Image: flat(0), Memory: 28 << 10}, "needs at least 1 MiB of memory, 28 KiB given: pass --mem 1M or more"},
		{"a large bss", vmm.Config{Image: flat(100 << 20)}, "pass --mem 128M or more"},
		{"no device", vmm.Config{Image: flat(0), KVM: "/nonexistent"}, "cannot open /nonexistent"},
		{"another device", vmm.Config{Image: flat(0), KVM: "/dev/null"}, "KVM_GET_API_VERSION"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := vmm.New(t.Context(), tt.config)
			assert.ErrorContains(t, err, tt.err)
		})
	}
	after, _ := resources(t)
	assert.Equal(t, before, after, "file descriptors")
}

func TestMemoryAbove4GiB(t *testing.T) {
	code := join(
		mapMMIO(abi.MMIOHoleEnd),
		movEAX(0x1234), storeEAX, movEAX(0), loadEAX,
		cmpEAX(0x1234), jne(7),
		exit(0),
		exit(1))
	r := run(t, code, vmm.Config{Memory: 4 << 30})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Zero(t, r.stats.MMIO)

	r = run(t, code, vmm.Config{Memory: 3 << 30})
	assert.Equal(t, guestExit(1), r.Exit, "nothing is there with 3 GiB")
	assert.EqualValues(t, 2, r.stats.UnknownMMIO)
}

// A guest's exits allocate nothing: two thousand more of them are not seen in the count.
func TestExitsDoNotAllocate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		instruction []byte
		count       func(vmm.Stats) uint64
	}{
		{"port", []byte{0xe6, 0x80}, func(s vmm.Stats) uint64 { return s.UnknownPorts }}, // out %al, $0x80
		{"memory", storeEAX, func(s vmm.Stats) uint64 { return s.UnknownMMIO }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allocations := func(exits uint32) uint64 {
				m := newMachine(t, join(
					mapMMIO(0xd000_0000),
					movECX(exits),
					tt.instruction, []byte{0xff, 0xc9, 0x75, 0xfa}, // 1: the instruction; dec %ecx; jne 1b
					exit(0)), vmm.Config{})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				end, err := m.Run(context.Background())
				runtime.ReadMemStats(&after)
				require.NoError(t, err)
				require.Equal(t, guestExit(0), end)
				require.EqualValues(t, exits, tt.count(m.Stats()))
				return after.Mallocs - before.Mallocs
			}
			few, many := allocations(10), allocations(2010)
			assert.Less(t, many, few+100, "allocations of 2010 exits, and of 10")
		})
	}
}
