// Package linux boots a stock Linux, Debian's kernel for clouds, with an init that checks the machine's devices:
// a driver of each that knows nothing of ours. The kernel and its modules are the rig's (scripts/rig).
package linux

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/tools/initramfs"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/linux"
)

// patience is far more than any Linux here takes, even one that is emulated twice; scripts/nightly has it do more.
var patience = 3 * time.Minute

func init() {
	if os.Getenv("KAPSEL_NIGHTLY") != "" {
		patience = 7 * time.Minute
	}
}

// modules are the drivers that Debian's kernel does not have built in, in the order of loading.
var modules = []string{"virtio_ring.ko", "virtio.ko", "virtio_mmio.ko", "virtio-rng.ko", "virtio_blk.ko",
	"failover.ko", "net_failover.ko", "virtio_net.ko", "virtio_console.ko"}

// buildFolder is what scripts/test fills.
func buildFolder() string {
	if dir := os.Getenv("KAPSEL_BUILD"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "build")
}

// kernelPath returns the kernel's file and skips the test where there is none.
func kernelPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(buildFolder(), "rig", "vmlinuz")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Linux kernel: %v; scripts/rig fetches one", err)
	}
	return path
}

// initrd makes the first file system: the init of package tests/linux/init and the modules.
func initrd(t testing.TB) []byte {
	t.Helper()
	a := initramfs.New()
	err := a.AddSystem(filepath.Join(buildFolder(), "test", "linux-init"), filepath.Join(buildFolder(), "rig"), modules)
	require.NoError(t, err, "scripts/test builds the init, and scripts/rig fetches the modules")
	content, err := a.Bytes()
	require.NoError(t, err)
	return content
}

// cmdline is the command line that has init carry out checks. There is no XSAVE: under QEMU's nested SVM, CPUID does
// not follow what Linux writes to XCR0, and Linux warns of it.
func cmdline(checks []string) string {
	words := linux.Cmdline + " quiet noxsave"
	for _, c := range checks {
		words += " check=" + c
	}
	return words
}

// boot runs Linux in a machine of c's, with the checks, until it powers off, and returns what it printed. A test
// that fails afterwards shows that.
func boot(t testing.TB, c vmm.Config, checks ...string) string {
	t.Helper()
	var console output
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console:\n%s", console.String())
		}
	})
	kernel, err := linux.Open(t.Context(), kernelPath(t))
	require.NoError(t, err)
	c.Linux, c.Initrd, c.Cmdline = kernel, initrd(t), cmdline(checks)
	c.Console, c.Log = &console, t.Logf
	m, err := vmm.New(t.Context(), c)
	require.NoError(t, err)
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	exit, err := m.Run(ctx)
	if err != nil || exit != (vmm.Exit{Reason: vmm.GuestExit}) {
		var dump bytes.Buffer
		m.Dump(&dump)
		require.FailNow(t, "Linux did not power off", "%v, error: %v\n%s", exit, err, &dump)
	}
	t.Logf("%+v", m.Stats())
	return console.String()
}

// output keeps what a guest prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns it with the line ends of a Unix file.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ReplaceAll(o.text.String(), "\r\n", "\n")
}

// assertChecks wants each of the checks to have passed.
func assertChecks(t testing.TB, console string, names ...string) {
	t.Helper()
	for _, name := range names {
		assert.Contains(t, console, "\ncheck "+name+": ok\n")
	}
}

// needKVM skips a test where our monitor cannot boot Linux.
func needKVM(t *testing.T) {
	t.Helper()
	if os.Getenv("KAPSEL_ACCEL") == "qemu" {
		t.Skip("Linux needs KVM under our monitor")
	}
	if err := vmm.Probe(t.Context()); err != nil {
		t.Skip(err)
	}
}

// TestLinuxBoots has no device but the UART.
func TestLinuxBoots(t *testing.T) {
	needKVM(t)
	started := time.Now()
	console := boot(t, vmm.Config{}, "boot", "devices:count=0")
	t.Logf("%.1f s", time.Since(started).Seconds())
	assert.Regexp(t, `\nboot: Linux \d+\.\d+\.\S+ x86_64\n`, console)
	assertChecks(t, console, "boot", "devices")
}

// What the check net sends, and receives as much: 100 MB together, through a TAP interface if there can be one, and less through
// user mode, whose TCP/IP is slow where it is emulated.
const (
	bytesByTAP  = 50_000_000
	bytesByUser = 5_000_000
)

// fewer is n, or a fifth of it in the nested machine, where Linux is emulated, unless scripts/nightly asks.
func fewer(n int) int {
	if os.Getenv("KAPSEL_RIG") != "" && os.Getenv("KAPSEL_NIGHTLY") == "" {
		return n / 5
	}
	return n
}

// TestLinuxDrivesOurDevices: 64 MiB, or fewer, to a disk and back, TCP in both directions, random bytes, and a console, by Linux's
// drivers.
func TestLinuxDrivesOurDevices(t *testing.T) {
	needKVM(t)
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Truncate(disk, 64<<20))
	byUser := servePeer(t, "127.0.0.1")
	connection, err := network.Parse(fmt.Sprintf("user,allow=127.0.0.1:%d", byUser))
	require.NoError(t, err)
	devices := []vmm.Device{vmm.Disk{Path: disk}, vmm.Network{Connection: connection}, vmm.Entropy{}, vmm.Console{}}
	checks := []string{"boot", "rng", fmt.Sprintf("disk:serial=disk0,discard=yes,mib=%d", fewer(64)), "console:text=hello,count=100"}
	size := fewer(bytesByUser)
	if tap, err := newTAP(t, netip.MustParsePrefix("10.9.0.1/24")); err != nil {
		t.Logf("all goes through user mode: no TAP interface: %v", err)
		size = fewer(bytesByTAP)
	} else {
		devices = append(devices, vmm.Network{Connection: network.Config{TAP: tap}})
		checks = append(checks, fmt.Sprintf("net:interface=eth1,address=10.9.0.2/24,peer=10.9.0.1:%d,bytes=%d", servePeer(t, "10.9.0.1"), fewer(bytesByTAP)))
	}
	checks = append(checks, fmt.Sprintf("net:address=10.0.2.15/24,peer=10.0.2.2:%d,bytes=%d", byUser, size))
	checks = append(checks, fmt.Sprintf("devices:count=%d", len(devices)))
	console := boot(t, vmm.Config{Devices: devices}, checks...)
	assertChecks(t, console, "boot", "devices", "rng", "disk", "console", "net")
	assert.NotContains(t, console, "FAILED")
	assert.Contains(t, console, "hello 99\n")
}

// newTAP makes a TAP interface with an address, which goes with the test. It needs root's rights.
func newTAP(t *testing.T, address netip.Prefix) (name string, err error) {
	name = "kapseltest"
	if err := keepTAP(name, 1); err != nil {
		return "", err
	}
	t.Cleanup(func() { require.NoError(t, keepTAP(name, 0)) })
	if err := initramfs.SetAddress(name, address); err != nil {
		return "", err
	}
	return name, initramfs.BringUp(name)
}

// keepTAP says whether a TAP interface, which is made if there is none, stays when nobody has it open: 1 for yes, 0 for no.
func keepTAP(name string, keep int) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, keep)
}
