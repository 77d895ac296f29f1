// Package machine boots images for tests, under the accelerator that KAPSEL_ACCEL names
// ("kvm" or "qemu"; without it, KVM where it can run the kernel, else QEMU), so that
// one test runs on all of them.
package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/qemu"
)

// Timeout ends a guest that does not end: far more than any of them takes.
const Timeout = 60 * time.Second

// A Guest is what to boot.
type Guest struct {
	Image   string   // file name in the build folder
	Modules [][]byte // further task objects
	Cmdline string
	// Arguments and Environment are vmm.Config's.
	Arguments, Environment []string
	// Options are QEMU's, such as qemu.Deterministic. With any the machine runs under QEMU.
	Options []string
	Memory  uint64 // bytes, 0 for the default
	Input   io.Reader
	Devices []vmm.Device

	// Until ends the machine when the console has shown this; "" lets the guest end by itself.
	Until string
	// Stop, if not nil, ends the machine when it is closed.
	Stop <-chan struct{}
	// Timeout is when the machine is ended, 0 for the package's Timeout.
	Timeout time.Duration
	// Watchdog is vmm.Config's.
	Watchdog time.Duration
	// Console, if not nil, takes what the guest prints as it comes.
	Console io.Writer
}

// An Outcome is how it went.
type Outcome struct {
	Console string
	Exit    vmm.Exit
	Dump    string // the processor's state, if the machine was cancelled or hung
}

// File returns the path of a file in the build folder, which scripts/test fills.
func File(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("KAPSEL_BUILD")
	if dir == "" {
		dir = filepath.Join("..", "..", "build")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: scripts/test builds it; or set KAPSEL_BUILD to the folder that holds it", err)
	}
	return path
}

// Object returns a task object from the build folder.
func Object(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(File(t, name))
	require.NoError(t, err)
	return b
}

// Ordered puts an order at the start of the flash region of a task's object, and returns that.
func Ordered(t testing.TB, b []byte, order string) []byte {
	t.Helper()
	object, refusal := tbf.Parse(b)
	require.True(t, refusal.OK())
	region, ok := object.WriteableRegion(0)
	require.True(t, ok, "the task has a flash region")
	copy(b[region.Offset:region.Offset+region.Size], order)
	return b
}

// Owned gives a task's object another owner in its storage permissions, which have identifier 1 for all, and returns it. Owner 0 takes
// them away.
func Owned(t testing.TB, object []byte, owner uint32) []byte {
	t.Helper()
	le := binary.LittleEndian
	for at := tbf.BaseSize; at < int(le.Uint16(object[tbf.OffsetHeaderSize:])); {
		if tbf.Type(le.Uint16(object[at:])) == tbf.TypeStorage {
			for _, id := range []int{at + 4, at + 10, at + 16} {
				require.EqualValues(t, 1, le.Uint32(object[id:]))
				le.PutUint32(object[id:], owner)
			}
			if owner == 0 {
				le.PutUint16(object[at:], 0x7000) // a type that nobody knows
			}
		}
		at += 4 + (int(le.Uint16(object[at+2:]))+3)&^3
	}
	tbfbuild.Seal(object)
	require.NoError(t, tbfbuild.Check(object))
	return object
}

// Code makes a task object of machine code: it is entered at its first byte, has its
// registers and memory as docs/abi.md says, and one page of RAM below its first break.
func Code(t testing.TB, name string, code []byte) []byte {
	t.Helper()
	return CodeAt(t, name, 64, func(uint32) []byte { return code })
}

// CodeAt is Code for a task of 32 or 64 bits whose code depends on its own address. One of 32
// bits has abi.InitialRAM32 bytes of RAM below its first break.
func CodeAt(t testing.TB, name string, bits int, code func(base uint32) []byte) []byte {
	t.Helper()
	spec := tbfbuild.Spec{Name: name, Binary: code(0), MinimumRAM: 4 * abi.PageSize, ABI64: bits == 64}
	object, err := tbfbuild.Build(spec)
	require.NoError(t, err)
	header := binary.LittleEndian.Uint16(object[tbf.OffsetHeaderSize:])
	spec.Binary = code(abi.FlashStart + uint32(header))
	object, err = tbfbuild.Build(spec)
	require.NoError(t, err)
	return object
}

// runner is vmm.Machine or qemu.Machine.
type runner interface {
	Run(context.Context) (vmm.Exit, error)
	Dump(io.Writer)
	Close() error
}

// Accelerator returns the name of the accelerator that Boot uses.
func Accelerator(t testing.TB) string {
	switch a := os.Getenv("KAPSEL_ACCEL"); a {
	case "kvm", "qemu":
		return a
	case "":
		if vmm.Probe(t.Context()) == nil {
			return "kvm"
		}
		return "qemu"
	default:
		t.Fatalf("KAPSEL_ACCEL is %q, want kvm or qemu", a)
		return ""
	}
}

func newRunner(t testing.TB, path string, c vmm.Config, options []string) (runner, error) {
	img, err := image.Open(t.Context(), path)
	if err != nil {
		return nil, err
	}
	c.Image = img
	if Accelerator(t) == "qemu" || len(options) > 0 {
		return qemu.New(t.Context(), c, options...)
	}
	return vmm.New(t.Context(), c)
}

// Boot runs the guest to its end. A test that fails afterwards shows the console. A guest without
// input and devices, which have no beginning again, is booted anew if a spurious interrupt of the
// rig ended it.
func Boot(t testing.TB, g Guest) Outcome {
	t.Helper()
	tries := 1
	if g.Input == nil && len(g.Devices) == 0 && g.Console == nil {
		tries = TriesInRig
	}
	for {
		outcome := boot(t, g)
		tries--
		if tries == 0 || !outcome.Spurious() {
			return outcome
		}
		t.Logf("booted again: QEMU's nested SVM delivered an interrupt with IF clear:\n%s", outcome.Console)
	}
}

func boot(t testing.TB, g Guest) Outcome {
	t.Helper()
	if g.Timeout == 0 {
		g.Timeout = Timeout
	}
	ctx, cancel := context.WithTimeout(t.Context(), g.Timeout)
	defer cancel()
	go func() {
		select {
		case <-g.Stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	console := &console{until: g.Until, seen: cancel, also: g.Console}
	m, err := newRunner(t, File(t, g.Image), vmm.Config{
		Modules: g.Modules, Arguments: g.Arguments, Environment: g.Environment, Cmdline: g.Cmdline, Devices: g.Devices, Memory: g.Memory, Input: g.Input, Watchdog: g.Watchdog,
		Console: console, Log: t.Logf,
	}, g.Options)
	require.NoError(t, err)
	defer m.Close()
	exit, err := m.Run(ctx)
	outcome := Outcome{Console: strings.ReplaceAll(console.String(), "\r", ""), Exit: exit}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v; the console:\n%s\n%s", exit, outcome.Console, outcome.Dump)
		}
	})
	if exit.Reason == vmm.Cancelled || exit.Reason == vmm.Hung {
		var dump bytes.Buffer
		m.Dump(&dump)
		outcome.Dump = dump.String()
	}
	require.NoError(t, err)
	return outcome
}

// console collects what the guest prints.
type console struct {
	mu    sync.Mutex
	text  bytes.Buffer
	until string
	seen  func()
	also  io.Writer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	if c.also != nil {
		c.also.Write(b)
	}
	late := c.text.Bytes()[max(0, c.text.Len()-len(b)-len(c.until)):]
	if c.until != "" && bytes.Contains(late, []byte(c.until)) {
		c.seen()
	}
	return len(b), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
