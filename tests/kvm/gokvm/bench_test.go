package gokvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

// playName, beside playMonitor, names the monitor to play: "kapsel", else gokvm.
const playName = "KAPSEL_TEST_MONITOR"

// tookFormat is the last line of a process that plays a monitor: nanoseconds from before the
// machine's creation to its guest's end, and those of them that the process had a processor.
const tookFormat = "took %d ns, %d ns of a processor\n"

// play boots the image under a monitor and says how that ended, and how long it took.
func play(path, name string) {
	monitor := boot
	if name == "kapsel" {
		monitor = bootKapsel
	}
	started, before := time.Now(), processorTime()
	end := monitor(path, "boot-ticks")
	passed, used := time.Since(started), processorTime()-before
	fmt.Printf("\nended: %v\n"+tookFormat, end, passed.Nanoseconds(), used)
}

// processorTime is how long this process has had a processor, in nanoseconds.
func processorTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// bootKapsel is boot for Kapsel's own monitor. It returns the guest's end as boot does.
func bootKapsel(path, cmdline string) error {
	img, err := image.Open(context.Background(), path)
	if err != nil {
		return err
	}
	m, err := vmm.New(context.Background(), vmm.Config{Image: img, Memory: memory, Cmdline: cmdline, Console: os.Stdout})
	if err != nil {
		return err
	}
	exit, err := m.Run(context.Background())
	if err != nil {
		return err
	}
	if exit.Reason != vmm.GuestExit {
		return errors.New(exit.String())
	}
	return guestStatus(uint32(exit.Status))
}

// bootTicks is what the kernel says of its start where its command line has boot-ticks: the
// time-stamp counter at its first instruction, and before its main loop.
const (
	bootTicks       = "boot: entered at tick "
	bootTicksFormat = "%d, tasks loaded at tick %d"
)

// BenchmarkMonitor is the time from before a machine's creation to its guest's end, under
// gokvm by the PVH door and under Kapsel's monitor by the direct one: for the smallest guest,
// which ends at once, and for the kernel without a task. Each machine is the only one
// of a new process, whose own start is left out. gokvm fills the guest's memory with
// instructions that stop it, which is most of what it does.
func BenchmarkMonitor(b *testing.B) {
	onePage := filepath.Join(b.TempDir(), "one-page.elf")
	exits := []byte{0x31, 0xc0, 0xe7, abi.PortDebugExit} // xor %eax, %eax; out %eax, $DEBUGEXIT
	require.NoError(b, os.WriteFile(onePage, image.Flat(exits, 0), 0o644))
	for _, guest := range []struct {
		name, path string
		status     guestStatus // with which it ends
	}{
		{"one-page", onePage, abi.ExitOK},
		{"kernel", filepath.Join(os.Getenv("KAPSEL_BUILD"), "bare.elf"), abi.ExitNoTask},
	} {
		for _, monitor := range []string{"gokvm", "kapsel"} {
			b.Run(guest.name+"/"+monitor, func(b *testing.B) { benchmarkMonitor(b, monitor, guest.path, guest.status) })
		}
	}
}

func benchmarkMonitor(b *testing.B, monitor, path string, status guestStatus) {
	if err := vmm.Probe(b.Context()); err != nil {
		b.Skip(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%v: scripts/test builds it; KAPSEL_BUILD names the folder that holds it", err)
	}
	var total took
	for b.Loop() {
		t := playedBy(b, monitor, path, status)
		total.passed += t.passed
		total.used += t.used
		total.entry += t.entry
		total.loading += t.loading
	}
	n := float64(b.N)
	b.ReportMetric(float64(total.passed)/n, "ns/op")
	b.ReportMetric(float64(total.used)/n, "cpu-ns/op")
	if total.entry > 0 {
		b.ReportMetric(float64(total.entry)/n, "ticks/entry")
		b.ReportMetric(float64(total.loading)/n, "ticks/load")
	}
}

// took is how long a machine took, in nanoseconds, and if its guest was the kernel, how far
// the guest's time-stamp counter came to the kernel's entry and from there to its main
// loop. KVM starts the counter at the processor's creation.
type took struct{ passed, used, entry, loading int64 }

// playedBy boots the image in a process that plays the monitor, to the guest's end with the status.
func playedBy(b *testing.B, monitor, path string, status guestStatus) (t took) {
	self, err := os.Executable()
	require.NoError(b, err)
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, self)
	command.Env = append(os.Environ(), playMonitor+"="+path, playName+"="+monitor)
	output, err := command.CombinedOutput()
	require.NoError(b, err, "%s", output)
	console, last, found := strings.Cut(string(output), "\nended: "+status.Error()+"\n")
	require.True(b, found, "%s did not run the guest to status %d:\n%s", monitor, status, output)
	_, err = fmt.Sscanf(last, tookFormat, &t.passed, &t.used)
	require.NoError(b, err, "%s", output)
	if _, line, isKernel := strings.Cut(console, bootTicks); isKernel {
		var loaded int64
		_, err = fmt.Sscanf(line, bootTicksFormat, &t.entry, &loaded)
		require.NoError(b, err, "%s", output)
		t.loading = loaded - t.entry
	}
	return t
}
