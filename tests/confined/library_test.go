package confined

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// childVariable says that this program is the process that confines itself, with the options that it names.
const childVariable = "KAPSEL_CONFINED_CHILD"

func TestMain(m *testing.M) {
	if child := os.Getenv(childVariable); child != "" {
		if err := library(child); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// greet prints ">" and ends with status 42: mov dx, 0x3f8; mov al, '>'; out dx, al; mov eax, 42; out 0xf4, eax.
var greet = []byte{0x66, 0xba, 0xf8, 0x03, 0xb0, '>', 0xee, 0xb8, 42, 0, 0, 0, 0xe7, 0xf4}

// library has a machine, and confines the process; then it uses the machine as its options let it.
func library(child string) error {
	options := map[string]confine.Options{"run": {}, "snapshots": {Snapshots: true}, "machines": {Machines: true}}[child]
	img, err := image.Parse(image.Flat(greet, 0))
	if err != nil {
		return err
	}
	config := vmm.Config{Image: img, Memory: 4 << 20, InStep: true, Console: os.Stdout}
	m, err := vmm.New(context.Background(), config)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := confine.Process(options); err != nil {
		return err
	}
	if _, err := os.Open("/etc/passwd"); err == nil {
		return fmt.Errorf("it opened a file")
	}
	s, err := m.Snapshot()
	if (err == nil) != (options.Snapshots || options.Machines) {
		return fmt.Errorf("snapshot: %v", err)
	}
	if err := runIt(m); err != nil {
		return err
	}
	if err := snapshots(m, s); err != nil {
		return err
	}
	other, err := vmm.New(context.Background(), config)
	if (err == nil) != options.Machines {
		return fmt.Errorf("another machine: %v", err)
	}
	if err != nil {
		return nil
	}
	defer other.Close()
	if err := runIt(other); err != nil {
		return err
	}
	fork, err := vmm.Fork(context.Background(), s, config, vmm.StandStill)
	if err != nil {
		return err
	}
	defer fork.Close()
	return runIt(fork)
}

// snapshots goes back to a snapshot, if there is one.
func snapshots(m *vmm.Machine, s *snapshot.Snapshot) error {
	if s == nil {
		return nil
	}
	for range 3 {
		if _, err := m.Reset(s, vmm.StandStill); err != nil {
			return err
		}
		if err := runIt(m); err != nil {
			return err
		}
	}
	return nil
}

// runIt runs a machine to its end, which it tells.
func runIt(m *vmm.Machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	exit, err := m.Run(ctx)
	fmt.Printf(" %d\n", exit.Status)
	return err
}

// TestLibrary: a program confines itself by the call. Its machine runs; snapshots and further machines are for those who name them.
func TestLibrary(t *testing.T) {
	if os.Getenv("KAPSEL_ACCEL") == "qemu" {
		t.Skip("is for KVM")
	}
	if _, err := vmm.Capabilities(); err != nil {
		t.Skip(err)
	}
	if confine.Landlock() == 0 || !confine.Seccomp() {
		t.Skip("this host has no landlock, or no seccomp")
	}
	for child, runs := range map[string]int{"run": 1, "snapshots": 4, "machines": 6} {
		t.Run(child, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			self, err := filepath.Abs(os.Args[0])
			require.NoError(t, err)
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(os.Environ(), childVariable+"="+child)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Equal(t, string(bytes.Repeat([]byte("> 42\n"), runs)), string(out))
		})
	}
}
