package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
)

// A stub is a program by QEMU's name.
func stub(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, Command), []byte("#!/bin/sh\n"+script), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// busy is many times what a machine that was told to end takes, for a host that is busy. Where
// the promise is broken it takes answerTime, or for ever.
const busy = answerTime / 2

// ends checks that Run returns soon after the context, and returns its end.
func ends(t *testing.T, m *Machine, cancelled <-chan struct{}) vmm.Exit {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var exit vmm.Exit
	var err error
	done := make(chan struct{})
	go func() { exit, err = m.Run(ctx); close(done) }()
	select {
	case <-cancelled:
	case <-time.After(time.Minute):
		t.Error("it was not reached")
	}
	cancel()
	select {
	case <-done:
	case <-time.After(busy):
		t.Fatal("Run does not return")
	}
	require.NoError(t, err)
	return exit
}

// soon is a channel that is closed after a while, which does not matter.
func soon() <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(c) })
	return c
}

// TestRunEndsWhateverQEMUDoes: programs in QEMU's place that never answer.
func TestRunEndsWhateverQEMUDoes(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"it sleeps", "exec sleep 1000"},
		{"it has children that sleep", "sleep 1000; sleep 1000"},
		{"it ignores SIGTERM", "trap '' TERM INT HUP; while :; do sleep 1000; done"},
		{"it prints without end", "exec yes"},
		{"it complains without end", "exec yes 1>&2"},
		{"it answers half a line", "printf '{\"QMP\"' >&3; exec sleep 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stub(t, test.script)
			var console bytes.Buffer
			m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin), Console: &console, Log: t.Logf})
			require.NoError(t, err)
			defer m.Close()
			assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, ends(t, m, soon()))
		})
	}
}

// TestRunFailsAtOnce: a QEMU that ends before it has answered is not waited for, even if
// it leaves somebody behind.
func TestRunFailsAtOnce(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"in silence", "exit 3", "QEMU failed and said nothing: "},
		{"with a word", "echo no such thing >&2; exit 1", "QEMU failed: no such thing ("},
		{"a child goes on", "sleep 1000 & echo gone >&2; exit 1", "QEMU failed: gone ("},
	} {
		t.Run(test.name, func(t *testing.T) {
			stub(t, test.script)
			m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin), Console: io.Discard})
			require.NoError(t, err)
			defer m.Close()
			exit, err := m.Run(testContext(t))
			assert.Equal(t, vmm.Exit{Reason: vmm.Failed}, exit)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

// TestCloseEndsRun: from another goroutine.
func TestCloseEndsRun(t *testing.T) {
	stub(t, "exec sleep 1000")
	m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin)})
	require.NoError(t, err)
	var exit vmm.Exit
	var wg sync.WaitGroup
	wg.Go(func() { exit, err = m.Run(context.Background()) })
	<-soon()
	require.NoError(t, m.Close())
	wg.Wait()
	if err != nil { // Close came first
		assert.ErrorContains(t, err, "closed")
		return
	}
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, exit)
}

func TestRunsOnce(t *testing.T) {
	stub(t, "exit 3")
	m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin)})
	require.NoError(t, err)
	_, err = m.Run(t.Context())
	assert.ErrorContains(t, err, "QEMU failed")
	_, err = m.Run(t.Context())
	assert.ErrorContains(t, err, "has run already")
	require.NoError(t, m.Close())
	require.NoError(t, m.Close(), "again")
}

// A stuckWriter takes nothing, and says when it was asked to.
type stuckWriter struct {
	once  sync.Once
	asked chan struct{}
	free  chan struct{}
	calls int
}

func newStuckWriter(t *testing.T) *stuckWriter {
	w := &stuckWriter{asked: make(chan struct{}), free: make(chan struct{})}
	t.Cleanup(func() { close(w.free) })
	return w
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.calls++
	w.once.Do(func() { close(w.asked) })
	<-w.free
	return len(p), nil
}

// codeBabble prints without end, behind codeSayHi: l: out dx, al; jmp l
var codeBabble = []byte{0xee, 0xeb, 0xfd}

// TestConsoleThatTakesNothing: it holds neither Run's end nor that of Close.
func TestConsoleThatTakesNothing(t *testing.T) {
	for name, code := range map[string][][]byte{
		"the guest prints without end": {codeSayHi, codeBabble},
		"it has printed, and spins":    {codeSayHi, codeSpin},
		"it has printed, and ended":    {codeSayHi, codeExit0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStuckWriter(t)
			m := newMachine(t, vmm.Config{Console: w}, code...)
			exit := ends(t, m, w.asked)
			assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, exit)
			require.NoError(t, m.Close())
		})
	}
}

// TestAllIsWritten: what the guest printed, however slow the console is.
func TestAllIsWritten(t *testing.T) {
	var console bytes.Buffer
	slow := writerFunc(func(p []byte) { time.Sleep(10 * time.Millisecond); console.Write(p) })
	m := newMachine(t, vmm.Config{Console: slow, Modules: [][]byte{bytes.Repeat([]byte("x"), 100_000)}}, codePrintModules, codeExit5)
	exit, err := m.Run(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit)
	assert.Equal(t, 100_000, bytes.Count(console.Bytes(), []byte("x")))
}

// TestSandbox: QEMU is told to confine itself. Where it cannot, that is said, once, and it runs all
// the same.
func TestSandbox(t *testing.T) {
	needQEMU(t)
	real, err := exec.LookPath(Command)
	require.NoError(t, err)
	for _, test := range []struct{ name, refusal string }{
		{"it can", ""},
		{"built without", "-sandbox support is not enabled in this QEMU binary"},
		{"the host refuses", "failed to install seccomp syscall filter in the kernel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := "exec " + real + ` "$@"`
			if test.refusal != "" {
				script = `case "$*" in *-sandbox*) echo "qemu-system-x86_64: -sandbox on: ` + test.refusal + `" >&2; exit 1;; esac; ` + script
			}
			stub(t, script)
			var warnings, log []string
			m, err := New(t.Context(), vmm.Config{Image: flat(t, codeExit5), Warn: logTo(&warnings), Log: logTo(&log)})
			require.NoError(t, err)
			defer m.Close()
			exit, err := m.Run(testContext(t))
			require.NoError(t, err)
			assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit)
			assert.Contains(t, log[0], " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny ")
			if test.refusal == "" {
				assert.Empty(t, warnings)
				return
			}
			require.Len(t, warnings, 1)
			assert.Equal(t, "QEMU cannot confine itself, and runs with all rights of this command: qemu-system-x86_64: -sandbox on: "+test.refusal, warnings[0])
		})
	}
}

// TestSandboxDenies: all threads of a QEMU that runs a guest are under a filter of system calls. Told
// by its monitor to start a program, it is ended, and no program has run. One without the sandbox
// starts it, so nothing else is in the way.
func TestSandboxDenies(t *testing.T) {
	needQEMU(t)
	real, err := exec.LookPath(Command)
	require.NoError(t, err)
	stub(t, "ulimit -c 0; exec "+real+` "$@"`) // no core dump
	for name, confinement := range map[string][]string{"confined": sandbox, "not confined": nil} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // see Run
			defer runtime.UnlockOSThread()
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			m := newMachine(t, vmm.Config{}, codeSpin)
			m.confinement = confinement
			require.NoError(t, m.start(ctx))
			defer m.drain(ctx)
			defer m.kill()
			threads := filterCounts(t, m.cmd.Process.Pid)
			assert.Greater(t, len(threads), 1, "one of them is the guest's processor")
			want := filterCounts(t, os.Getpid())[strconv.Itoa(os.Getpid())]
			if confinement != nil {
				want++
			}
			for thread, n := range threads {
				assert.Equal(t, want, n, "filters of thread %s", thread)
			}

			file := filepath.Join(t.TempDir(), "file")
			_, err := m.monitor.command("migrate", map[string]string{"uri": "exec:touch " + file})
			if confinement != nil {
				assert.Error(t, err)
				_, err = m.watch(ctx)
				assert.ErrorContains(t, err, "signal: bad system call")
				assert.NoFileExists(t, file)
				return
			}
			require.NoError(t, err)
			assert.Eventually(t, func() bool { _, err := os.Stat(file); return err == nil }, time.Minute, 10*time.Millisecond)
		})
	}
}

// filterCounts returns how many filters of system calls each thread of a process is under (proc(5),
// Seccomp_filters).
func filterCounts(t *testing.T, process int) map[string]int {
	t.Helper()
	tasks := fmt.Sprintf("/proc/%d/task", process)
	threads, err := os.ReadDir(tasks)
	require.NoError(t, err)
	counts := map[string]int{}
	for _, thread := range threads {
		status, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "status"))
		if err != nil { // it has ended
			continue
		}
		_, after, found := strings.Cut(string(status), "\nSeccomp_filters:")
		require.True(t, found, "%s", status)
		count, err := strconv.Atoi(strings.Fields(after)[0])
		require.NoError(t, err)
		counts[thread.Name()] = count
	}
	return counts
}

// logTo collects lines.
func logTo(lines *[]string) func(string, ...any) {
	return func(format string, args ...any) { *lines = append(*lines, fmt.Sprintf(format, args...)) }
}
