package linux

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/linux/stream"
	"kapsel/vmm/qemu"
)

// qemuWords make up for what QEMU's microvm machine lacks under its emulator: nothing tells the rate of the
// time-stamp counter there.
const qemuWords = " no_timer_check tsc_early_khz=2600000"

// TestChecksAgainstQEMU carries out every check on QEMU's own devices, so that one which fails on ours has found
// something of ours.
func TestChecksAgainstQEMU(t *testing.T) {
	if a := os.Getenv("KAPSEL_ACCEL"); a != "" && a != "qemu" {
		t.Skip("this is for QEMU's emulator")
	}
	kernel := kernelPath(t)
	if _, err := exec.LookPath(qemu.Command); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	disk, first, hvc := filepath.Join(dir, "disk"), filepath.Join(dir, "initrd"), filepath.Join(dir, "console")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Truncate(disk, 64<<20))
	require.NoError(t, os.WriteFile(first, initrd(t), 0o600))
	checks := []string{"boot", "devices:count=4", "rng", "disk:serial=KAPSEL,discard=yes", "console:text=hello,count=100",
		fmt.Sprintf("net:address=10.0.2.15/24,peer=10.0.2.2:%d,bytes=20000000", servePeer(t, "127.0.0.1"))}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu.Command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", "max,la57=off", "-m", "256",
		"-machine", "microvm,acpi=on,pic=on,pit=on,rtc=on,x-option-roms=off", "-global", "virtio-mmio.force-legacy=false",
		"-drive", "file="+disk+",format=raw,if=none,id=d,discard=unmap", "-device", "virtio-blk-device,drive=d,serial=KAPSEL",
		"-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n", "-device", "virtio-rng-device",
		"-chardev", "file,id=c,path="+hvc, "-device", "virtio-serial-device", "-device", "virtconsole,chardev=c",
		"-serial", "stdio", "-kernel", kernel, "-initrd", first, "-append", cmdline(checks)+qemuWords)
	var out, stderr output
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	console := out.String()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("QEMU says: %s\nthe console:\n%s", stderr.String(), console)
		}
	})
	require.NoError(t, err, "%v", context.Cause(ctx))
	assertChecks(t, console, "boot", "devices", "rng", "disk", "console", "net")
	printed, err := os.ReadFile(hvc)
	require.NoError(t, err)
	assert.Contains(t, string(printed), "hello 99")
}

// servePeer answers the transfers of the check net, on a port of an address of this machine's, which it returns.
func servePeer(t *testing.T, address string) (port int) {
	l, err := net.Listen("tcp4", address+":0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := stream.Serve(c); err != nil {
					t.Errorf("the peer: %v", err)
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
