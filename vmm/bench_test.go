package vmm

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/image"
)

// Benchmarks of the monitor alone: their guests are a few integer instructions, which a KVM
// in software runs as well. What KVM that is stands in the line "kvm:" above the results.

// TestMain says, if benchmarks are asked for, what KVM they will measure.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		var name unix.Utsname
		unix.Uname(&name) // without it the release is empty
		fmt.Println("kvm:", kvmInWords(unix.ByteSliceToString(name.Release[:]), virtualCPU(cpuinfo()), Probe(context.Background())))
	}
	os.Exit(m.Run())
}

// kvmInWords says on what the benchmarks ran. A figure is one of hardware only if nothing
// but the release stands there.
func kvmInWords(release string, virtual bool, probe error) string {
	text := DefaultKVM + " of Linux " + release
	if virtual {
		text += ", which runs in a virtual machine itself"
	}
	if probe != nil {
		text += "; " + probe.Error()
	}
	return text
}

func TestKVMInWords(t *testing.T) {
	assert.Equal(t, "/dev/kvm of Linux 6.1", kvmInWords("6.1", false, nil))
	assert.Equal(t, "/dev/kvm of Linux 6.1, which runs in a virtual machine itself; no SSE",
		kvmInWords("6.1", true, fmt.Errorf("no SSE")))
}

// cpuinfo returns what Linux says about the processors, "" if nothing.
func cpuinfo() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return string(text)
}

// virtualCPU reports whether the processor says that it is a virtual machine's (CPUID leaf
// 1, ECX bit 31).
func virtualCPU(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		if name, flags, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "flags" {
			return strings.Contains(" "+strings.TrimSpace(flags)+" ", " hypervisor ")
		}
	}
	return false
}

func TestVirtualCPU(t *testing.T) {
	for _, tt := range []struct {
		name, cpuinfo string
		want          bool
	}{
		{"real", "processor\t: 0\nflags\t\t: fpu svm\n", false},
		{"virtual", "processor\t: 0\nflags\t\t: fpu svm hypervisor\nbugs\t: none\n", true},
		{"another flag", "flags\t\t: fpu hypervisor_guest\n", false},
		{"no flags", "hypervisor\t: none\n", false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, virtualCPU(tt.cpuinfo)) })
	}
}

// memoryWithGap is a guest's RAM from which the last page of what the boot page tables map is
// missing: an access there is one to a device.
const memoryWithGap = 4<<20 - abi.PageSize

// Guests, as bytes.
var (
	guestExits = []byte{0x31, 0xc0, 0xe7, abi.PortDebugExit} // xor %eax, %eax; out %eax, $DEBUGEXIT
	guestSpins = []byte{
		0xba, 0xf8, 0x03, 0, 0, 0xee, // mov $COM1, %edx; out %al, (%dx)
		0xeb, 0xfe, // 1: jmp 1b
	}
)

// guestRepeats executes the instruction n times, then ends. Its RAM is to be memoryWithGap;
// %rbx points to the gap.
func guestRepeats(n int, instruction []byte) []byte {
	code := []byte{0x48, 0xc7, 0xc3} // mov $address of the missing page, %rbx
	code = binary.LittleEndian.AppendUint32(code, uint32(memoryWithGap))
	code = append(code, 0xb9) // mov $n, %ecx
	code = binary.LittleEndian.AppendUint32(code, uint32(n))
	code = append(code, instruction...)
	code = append(code, 0xff, 0xc9, 0x75, byte(-(len(instruction) + 4))) // dec %ecx; jne
	return append(code, guestExits...)
}

// benchMachine makes a machine with the code as its guest.
func benchMachine(b *testing.B, code []byte, c Config) *Machine {
	b.Helper()
	img, err := image.Parse(image.Flat(code, 0))
	require.NoError(b, err)
	c.Image = img
	m, err := New(b.Context(), c)
	require.NoError(b, err)
	return m
}

// needKVM skips the benchmark where no machine can be made, and says why.
func needKVM(b *testing.B) {
	b.Helper()
	if _, err := Capabilities(); err != nil {
		b.Skip(err)
	}
}

// runToExit runs the machine to the exit that its guest asks for.
func runToExit(b *testing.B, m *Machine) {
	b.Helper()
	exit, err := m.Run(context.Background())
	require.NoError(b, err)
	require.Equal(b, Exit{Reason: GuestExit}, exit)
}

// BenchmarkCreateToFirstExit makes a machine and runs its guest to its first exit, which is
// its last. What it takes to give the machine back is left out.
func BenchmarkCreateToFirstExit(b *testing.B) {
	needKVM(b)
	var created, used time.Duration
	for b.Loop() {
		started, before := time.Now(), processorTime(b)
		m := benchMachine(b, guestExits, Config{})
		runToExit(b, m)
		created += time.Since(started)
		used += processorTime(b) - before
		require.NoError(b, m.Close())
	}
	b.ReportMetric(float64(created.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// processorTime is how long this process has had a processor: it does not grow while the
// host's kernel lets the process wait, as it does in several of the calls that make a VM.
func processorTime(b *testing.B) time.Duration {
	var t unix.Timespec
	require.NoError(b, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

// BenchmarkMachine is the whole life of a machine: made, run to its only exit, closed.
func BenchmarkMachine(b *testing.B) {
	needKVM(b)
	b.ReportAllocs()
	for b.Loop() {
		m := benchMachine(b, guestExits, Config{})
		runToExit(b, m)
		require.NoError(b, m.Close())
	}
}

// BenchmarkExit is the way from the guest to the monitor and back. The guest makes all b.N
// of them in one loop, with two instructions between.
func BenchmarkExit(b *testing.B) {
	for _, tt := range []struct {
		name        string
		instruction []byte
		count       func(Stats) uint64
	}{
		{"port", []byte{0xe6, 0x80}, func(s Stats) uint64 { return s.UnknownPorts }},  // out %al, $0x80
		{"memory", []byte{0x89, 0x03}, func(s Stats) uint64 { return s.UnknownMMIO }}, // mov %eax, (%rbx)
	} {
		b.Run(tt.name, func(b *testing.B) {
			needKVM(b)
			m := benchMachine(b, guestRepeats(b.N, tt.instruction), Config{Memory: memoryWithGap})
			b.ReportAllocs()
			b.ResetTimer()
			runToExit(b, m)
			b.StopTimer()
			require.EqualValues(b, b.N, tt.count(m.Stats()))
			require.NoError(b, m.Close())
		})
	}
}

// BenchmarkKick is the time from the cancellation of a guest that spins until Run returns:
// the mean, and the worst.
func BenchmarkKick(b *testing.B) {
	needKVM(b)
	var total, worst time.Duration
	for b.Loop() {
		took := kick(b)
		total += took
		worst = max(worst, took)
	}
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(worst.Nanoseconds()), "worst-ns")
}

// kick makes a machine, cancels it while its guest spins, and returns how long that took.
func kick(b *testing.B) time.Duration {
	spinning := make(chan struct{})
	m := benchMachine(b, guestSpins, Config{Console: closer(spinning)})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var started time.Time
	go func() {
		<-spinning
		started = time.Now()
		cancel()
	}()
	exit, err := m.Run(ctx) // its return comes after cancel, and so after started is written
	took := time.Since(started)
	require.NoError(b, err)
	require.Equal(b, Exit{Reason: Cancelled}, exit)
	require.NoError(b, m.Close())
	return took
}

// closer is a console that is closed by the first byte.
type closer chan struct{}

func (c closer) Write(p []byte) (int, error) { close(c); return len(p), nil }

// BenchmarkMachinesAtOnce makes many machines, runs each to its exit, and has all of them
// at once: how much memory they take, with huge pages if the host has them, and without.
// KAPSEL_MACHINES says how many.
func BenchmarkMachinesAtOnce(b *testing.B) {
	b.Run("huge-pages", func(b *testing.B) { atOnce(b, Config{}) })
	b.Run("small-pages", func(b *testing.B) { atOnce(b, Config{SmallPages: true}) })
}

func atOnce(b *testing.B, c Config) {
	needKVM(b)
	n := machinesAtOnce(b)
	var resident, pages int
	for b.Loop() {
		before := residentBytes(b)
		machines := make([]*Machine, n)
		for i := range machines {
			machines[i] = benchMachine(b, guestExits, c)
			runToExit(b, machines[i])
		}
		resident, pages = residentBytes(b)-before, 0
		for _, m := range machines {
			pages += residentPages(b, m.memory.low)
		}
		for _, m := range machines {
			require.NoError(b, m.Close())
		}
	}
	b.ReportMetric(float64(n), "machines")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/machine")
	b.ReportMetric(float64(resident)/float64(n), "bytes/machine")
	b.ReportMetric(float64(pages)/float64(n), "pages/machine")
}

// machinesAtOnce is how many machines to have at once: KAPSEL_MACHINES, else 1000, but 50
// with -short and where KVM is slow because the host is a virtual machine.
func machinesAtOnce(b *testing.B) int {
	text := os.Getenv("KAPSEL_MACHINES")
	if text == "" {
		if testing.Short() || virtualCPU(cpuinfo()) {
			return 50
		}
		return 1000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("KAPSEL_MACHINES is %q, want a number of machines from 1 on", text)
	}
	return n
}

// residentBytes is the memory of this process that is in RAM (proc(5), smaps_rollup; unlike
// statm it is exact). What the host's kernel keeps for a VM is not in it.
func residentBytes(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	require.NoError(b, err)
	_, rest, found := bytes.Cut(text, []byte("\nRss:"))
	require.True(b, found, "no Rss in smaps_rollup:\n%s", text)
	var kib int
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(b, err)
	return kib << 10
}

// residentPages counts the pages of RAM that are in the host's memory (mincore(2)).
func residentPages(b *testing.B, ram []byte) int {
	resident := make([]byte, len(ram)/abi.PageSize)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&ram[0])), uintptr(len(ram)),
		uintptr(unsafe.Pointer(&resident[0])))
	require.Zero(b, errno, "mincore: %v", errno)
	n := 0
	for _, page := range resident {
		n += int(page & 1)
	}
	return n
}
