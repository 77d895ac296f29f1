// Package snapshot tests snapshots of machines (docs/decisions/0030-snapshots.md), under KVM.
package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// patience is the longest that anything here may take.
const patience = 2 * time.Minute

// needKVM skips the test where the accelerator to be tested is another.
func needKVM(t *testing.T) {
	t.Helper()
	if os.Getenv("KAPSEL_ACCEL") == "qemu" || vmm.Probe(t.Context()) != nil {
		t.Skip("snapshots are the monitor's, under KVM")
	}
}

// console collects what a guest prints, and pauses its machine behind a text.
type console struct {
	text  bytes.Buffer
	until string
	each  bool // pause at each write, and keep nothing
	pause func()

	behind func(n int) // if not nil, is told how many bytes each write has
}

func (c *console) Write(p []byte) (int, error) {
	if c.each {
		c.pause()
		return len(p), nil
	}
	c.text.Write(p)
	if c.behind != nil {
		c.behind(len(p))
	}
	if c.until != "" && bytes.Contains(c.text.Bytes(), []byte(c.until)) {
		c.until = ""
		c.pause()
	}
	return len(p), nil
}

// take returns what was printed since the call before.
func (c *console) take() string {
	text := strings.ReplaceAll(c.text.String(), "\r", "")
	c.text.Reset()
	return text
}

// guest is a machine with its console.
type guest struct {
	*vmm.Machine
	console *console
}

func (g *guest) close(t *testing.T) { t.Cleanup(func() { assert.NoError(t, g.Close()) }) }

// config is that of a machine in step with the console.
func (g *guest) config(t *testing.T, c vmm.Config) vmm.Config {
	g.console = &console{pause: func() { g.Pause() }}
	c.InStep, c.Console, c.Log = true, g.console, t.Logf
	return c
}

// kernel is a machine with the kernel, the task hello, which greets ten times, and one more. There is no task that prints much: QEMU's nested
// SVM ends such a guest by an interrupt of its own (docs/architecture.md).
func kernel(t *testing.T, task string, devices ...vmm.Device) vmm.Config {
	t.Helper()
	needKVM(t)
	img, err := image.Open(t.Context(), machine.File(t, "bare.elf"))
	require.NoError(t, err)
	return vmm.Config{Image: img, Memory: 32 << 20, Devices: devices,
		Modules: [][]byte{machine.Object(t, "hello.tbf"), machine.Object(t, task)}}
}

// flat makes a machine with code and 16 pages of variables behind it.
func flat(t *testing.T, code []byte) *guest {
	t.Helper()
	needKVM(t)
	img, err := image.Parse(image.Flat(code, 20*abi.PageSize))
	require.NoError(t, err)
	return start(t, vmm.Config{Image: img, Memory: 4 << 20})
}

func start(t *testing.T, c vmm.Config) *guest {
	t.Helper()
	g := new(guest)
	m, err := vmm.New(t.Context(), g.config(t, c))
	require.NoError(t, err)
	g.Machine = m
	g.close(t)
	return g
}

// fork makes another machine of a snapshot.
func fork(t *testing.T, s *snapshot.Snapshot, when vmm.Time, devices ...vmm.Device) *guest {
	t.Helper()
	g := new(guest)
	m, err := vmm.Fork(t.Context(), s, g.config(t, vmm.Config{Devices: devices}), when)
	require.NoError(t, err)
	g.Machine = m
	g.close(t)
	return g
}

// runUntil runs the guest until it has printed text, and pauses it.
func (g *guest) runUntil(t *testing.T, text string) string {
	t.Helper()
	g.console.until = text
	require.Equal(t, vmm.Exit{Reason: vmm.Paused}, g.run(t), "the console:\n%s", &g.console.text)
	return g.console.take()
}

// run runs the guest until it ends or is paused.
func (g *guest) run(t *testing.T) vmm.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	exit, err := g.Run(ctx)
	if exit.Reason != vmm.Paused && exit.Reason != vmm.GuestExit {
		g.Dump(t.Output())
		t.Logf("the console:\n%s", g.console.text.String())
	}
	require.NoError(t, err)
	return exit
}

// toEnd runs the guest to its end and returns what it printed.
func (g *guest) toEnd(t *testing.T) string {
	t.Helper()
	require.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, g.run(t), "the console:\n%s", &g.console.text)
	return g.console.take()
}

func (g *guest) snapshot(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	s, err := g.Snapshot()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func (g *guest) reset(t *testing.T, s *snapshot.Snapshot) vmm.ResetStats {
	t.Helper()
	stats, err := g.Reset(s, vmm.StandStill)
	require.NoError(t, err)
	return stats
}

// The kernel, its tasks, timer and console go on from a snapshot as they did before: once more in the same machine, also
// after the guest's end, and in others.
func TestContinuationIsTheSame(t *testing.T) {
	g := start(t, kernel(t, "counter.tbf"))
	g.runUntil(t, "hello: greeting 3 of 10")
	s := g.snapshot(t)
	rest := g.toEnd(t)
	t.Logf("the rest:\n%s", rest)
	require.Contains(t, rest, "hello: greeting 4 of 10\n")
	require.Contains(t, rest, "hello: greeting 10 of 10\n")
	require.Contains(t, rest, "counter: 10\n")

	_, err := g.Snapshot()
	assert.ErrorContains(t, err, "no snapshot of a machine that has ended")
	for range 3 {
		t.Logf("reset: %+v", g.reset(t, s))
		assert.Equal(t, sorted(rest), sorted(g.toEnd(t)))
	}
	g.reset(t, s)
	g.runUntil(t, "hello: greeting 7 of 10")
	t.Logf("reset in the middle: %+v", g.reset(t, s))
	assert.Equal(t, sorted(rest), sorted(g.toEnd(t)))

	for _, when := range []vmm.Time{vmm.StandStill, vmm.GoOn} {
		f := fork(t, s, when)
		assert.Equal(t, sorted(rest), sorted(f.toEnd(t)), "a fork")
		f.reset(t, s)
		assert.Equal(t, sorted(rest), sorted(f.toEnd(t)), "a fork that was reset")
	}
}

// Random bytes of a virtio device are others in each machine of a snapshot, and each time that one is reset; and so is the kernel's generation.
func TestGenerationsAreDifferent(t *testing.T) {
	g := start(t, kernel(t, "test/dice.tbf", vmm.Entropy{}))
	g.runUntil(t, " of 16")
	s := g.snapshot(t)
	seen := map[string]bool{}
	look := func(text string) {
		t.Helper()
		require.Contains(t, text, "different values in 2000 bytes")
		rolls := rolled.FindAllString(text, -1)
		require.Len(t, rolls, 2, text)
		for _, r := range rolls {
			assert.False(t, seen[r], "again: %s", r)
			seen[r] = true
		}
	}
	look(g.toEnd(t))
	generations := map[uint64]bool{generation(t, s): true}
	for range 3 {
		g.reset(t, s)
		generations[generation(t, g.snapshot(t))] = true
		g.reset(t, s)
		look(g.toEnd(t))
		f := fork(t, s, vmm.StandStill, vmm.Entropy{})
		generations[generation(t, f.snapshot(t))] = true
		look(f.toEnd(t))
	}
	assert.Len(t, generations, 1+2*3)
	assert.True(t, generations[0], "of the machine that was booted")

	_, err := vmm.Fork(t.Context(), s, vmm.Config{InStep: true}, vmm.StandStill)
	assert.ErrorContains(t, err, "the snapshot is of a machine with 1 devices, this one has 0")
}

var rolled = regexp.MustCompile(`(?m)^dice: ((?:0x[0-9a-f]+ )+)of \d+$`)

// generation returns the kernel's, in a snapshot.
func generation(t *testing.T, s *snapshot.Snapshot) uint64 {
	var word [8]byte
	_, err := s.Memory.ReadAt(word[:], int64(s.State.Guest.Identity))
	require.NoError(t, err)
	require.NotZero(t, s.State.Guest.Identity)
	return binary.LittleEndian.Uint64(word[:])
}

// A machine whose devices and console have goroutines is paused at any instant. What was made of it goes on in the same way each time, and so
// does it itself; but its console ends with it.
func TestSnapshotOutOfStep(t *testing.T) {
	g := new(guest)
	c := g.config(t, kernel(t, "counter.tbf", vmm.Entropy{}))
	c.InStep, c.Watchdog = false, patience
	m, err := vmm.New(t.Context(), c)
	require.NoError(t, err)
	g.Machine = m
	g.close(t)
	g.runUntil(t, "greeting 3 of 10")
	s := g.snapshot(t)
	rest := fork(t, s, vmm.StandStill, vmm.Entropy{}).toEnd(t)
	assert.Contains(t, rest, "greeting 10 of 10")
	assert.Equal(t, sorted(rest), sorted(fork(t, s, vmm.StandStill, vmm.Entropy{}).toEnd(t)))
	g.runUntil(t, "greeting 5 of 10")
	g.reset(t, s)
	assert.Equal(t, sorted(rest), sorted(g.toEnd(t)))
	_, err = g.Reset(s, vmm.StandStill)
	assert.ErrorContains(t, err, "what is outside of it has with it")
}

// sorted returns the lines of a text in order, without what is a matter of time, which is the host's: which of several tasks prints first, and what untimed leaves out.
func sorted(text string) []string { return slices.Sorted(strings.Lines(untimed(text))) }

// untimed is a text without how many of a task's timeslices ran out, the last number in a line of the kernel's table of processes.
func untimed(text string) string { return expired.ReplaceAllString(text, "${1}any  exit with code") }

var expired = regexp.MustCompile(`(?m)^( +\d+  \w+ +Terminated(?: +\d+){3} +)\d+  exit with code`)

// variables is where flat's code has its variables.
const variables = 0x8020_1000

// counts is a guest that adds one to a word in each of 16 pages and sends the first one's low byte, again and again.
var counts = bytes.Join([][]byte{
	{0x48, 0xc7, 0xc3}, word(variables), // again: mov $variables, %rbx
	{0xb9, 16, 0, 0, 0},                 // mov $16, %ecx
	{0xff, 0x03},                        // next: incl (%rbx)
	{0x48, 0x81, 0xc3, 0, 0x10, 0, 0},   // add $4096, %rbx
	{0xff, 0xc9},                        // dec %ecx
	{0x75, 0xf3},                        // jnz next
	{0x8a, 0x04, 0x25}, word(variables), // mov variables, %al
	{0xba, 0xf8, 3, 0, 0}, // mov $COM1, %edx
	{0xee},                // out %al, (%dx)
	{0xeb, 0xd8},          // jmp again
}, nil)

func word(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// A reset copies back what was written, by not many calls; a fork is given nothing but the pages that it writes.
func TestResetOf16Pages(t *testing.T) {
	g := flat(t, counts)
	require.Equal(t, "\x01", g.runUntil(t, "\x01"))
	s := g.snapshot(t)
	require.Equal(t, "\x02", g.runUntil(t, "\x02"))
	for range 3 {
		stats := g.reset(t, s)
		assert.Equal(t, 16, stats.Pages)
		assert.Equal(t, 16*abi.PageSize, stats.Bytes)
		assert.LessOrEqual(t, stats.Ioctls, 30)
		t.Logf("reset: %+v", stats)
		require.Equal(t, "\x02", g.runUntil(t, "\x02"))
	}
	require.Equal(t, "\x03", g.runUntil(t, "\x03"))
	later := g.snapshot(t)
	require.Equal(t, "\x04", g.runUntil(t, "\x04"))
	assert.Equal(t, 16, g.reset(t, s).Pages, "to another snapshot than the last one")
	require.Equal(t, "\x02", g.runUntil(t, "\x02"))
	assert.Equal(t, 16, g.reset(t, later).Pages, "and back")
	require.Equal(t, "\x04", g.runUntil(t, "\x04"))

	f := fork(t, s, vmm.StandStill)
	own, err := f.Resident()
	require.NoError(t, err)
	assert.Zero(t, own, "pages of a fork that has not run")
	require.Equal(t, "\x02", f.runUntil(t, "\x02"))
	own, err = f.Resident()
	require.NoError(t, err)
	t.Logf("a fork that has run has %d pages of its own", own)
	assert.LessOrEqual(t, own, uint64(16+4), "16, and page tables, which the processor may write")
	assert.Equal(t, 16, f.reset(t, s).Pages)
	require.Equal(t, "\x02", f.runUntil(t, "\x02"))
}

// A caller on the processor's thread lets the guest go on from within what it does between two of the guest's exits, 8 deep, and nothing is
// allocated.
func TestResumeNestsAndAllocatesNothing(t *testing.T) {
	g := flat(t, counts)
	g.console.each = true
	pauses := 0
	var err error
	var resume func(depth int)
	resume = func(depth int) {
		exit, e := g.Resume()
		if e != nil || exit.Reason != vmm.Paused {
			err = fmt.Errorf("%v: %w", exit, e)
			return
		}
		pauses++
		if depth < 8 {
			resume(depth + 1)
		}
	}
	step := func() { resume(1) }
	const runs = 100
	assert.Zero(t, testing.AllocsPerRun(runs, func() { g.Do(step) }))
	require.NoError(t, err)
	assert.Equal(t, 8*(runs+1), pauses)
	assert.EqualValues(t, pauses, g.Stats().Exits(), "one exit for each")

	g.Pause()
	require.NoError(t, g.Do(step))
	assert.EqualValues(t, pauses-1, g.Stats().Exits(), "a Pause before Resume counts for it")
}

// What cannot be is refused, and says why.
func TestRefusals(t *testing.T) {
	g := flat(t, counts)
	first := g.snapshot(t)
	refused := make(chan error, 2)
	g.console.until, g.console.pause = "\x01", func() {
		_, err := g.Snapshot()
		refused <- err
		_, err = g.Reset(first, vmm.StandStill)
		refused <- err
		g.Pause()
	}
	require.Equal(t, vmm.Exit{Reason: vmm.Paused}, g.run(t))
	g.console.take()
	assert.ErrorContains(t, <-refused, "this machine runs", "a snapshot during Run")
	assert.ErrorContains(t, <-refused, "this machine runs", "a reset during Run")

	for _, tt := range []struct {
		name string
		harm func(s *snapshot.Snapshot)
		want string
	}{
		{"another vendor", func(s *snapshot.Snapshot) { s.State.Guest.Vendor = "ImaginaryCPU" }, "of a processor of"},
		{"another feature", func(s *snapshot.Snapshot) {
			s.State.Guest.CPUID = slices.Clone(s.State.Guest.CPUID)
			s.State.Guest.CPUID[0].Eax ^= 4
		}, "CPUID leaf 0x0.0 EAX is"},
		{"another frequency", func(s *snapshot.Snapshot) { s.State.Guest.TSCKHz *= 2 }, "kHz"},
		{"other memory", func(s *snapshot.Snapshot) { s.State.Guest.Memory *= 2 }, "bytes of memory"},
		{"an address outside", func(s *snapshot.Snapshot) { s.State.Guest.Identity = 1 << 40 }, "a word of the kernel's at"},
		{"a device", func(s *snapshot.Snapshot) { s.State.Devices = make([]snapshot.Device, 1) }, "1 devices"},
		{"too little state", func(s *snapshot.Snapshot) { s.State.Processor.XSave = s.State.Processor.XSave[:100] }, "extended state has 100 bytes"},
		{"other registers", func(s *snapshot.Snapshot) { s.State.Processor.MSRs = s.State.Processor.MSRs[1:] }, "model-specific registers"},
	} {
		harmed := &snapshot.Snapshot{State: first.State, Memory: first.Memory}
		tt.harm(harmed)
		_, err := g.Reset(harmed, vmm.StandStill)
		assert.ErrorContains(t, err, tt.want, tt.name)
		_, err = vmm.Fork(t.Context(), harmed, vmm.Config{InStep: true}, vmm.StandStill)
		assert.ErrorContains(t, err, tt.want, tt.name)
	}
	g.console.pause = g.Pause
	require.Equal(t, "\x02", g.runUntil(t, "\x02"), "after refusals it goes on")
}
