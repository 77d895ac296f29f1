package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"golang.org/x/sys/unix"
	"kapsel/vmm"
)

// promise is within what time the command ends when it is told to.
const promise = time.Second

// kept runs something that takes its time, and checks the promise. On a busy host it may take
// another two tries; what breaks the promise breaks it each time.
func kept(t *testing.T, took func(t *testing.T) time.Duration) {
	t.Helper()
	var times []time.Duration
	for range 3 {
		d := took(t)
		if t.Failed() {
			return
		}
		if times = append(times, d); d <= promise {
			t.Log("it took", times)
			return
		}
	}
	t.Errorf("it took %v, want at most %v", times, promise)
}

// A stubborn is a command that something keeps from going on.
type stubborn struct {
	name  string
	accel string // "" for each
	// start starts the command with further arguments, and returns when nothing moves any more.
	start func(t *testing.T, arguments ...string) *exec.Cmd
}

// signals are those that end the command, each in the same way.
var signals = []struct {
	name   string
	signal syscall.Signal
}{{"SIGTERM", syscall.SIGTERM}, {"SIGINT", syscall.SIGINT}, {"SIGHUP", syscall.SIGHUP}}

// TestRunEndsWhenTold: within a second of a signal and of --timeout, whatever keeps it. In the rig, where a guest
// that spins takes long, what keeps it gets one signal, another than the one before.
func TestRunEndsWhenTold(t *testing.T) {
	inRig := os.Getenv("KAPSEL_RIG") != ""
	onEach(t, func(t *testing.T, accel string) {
		for i, s := range stubborns {
			if s.accel != "" && s.accel != accel {
				continue
			}
			for n, signal := range signals {
				if inRig && n != i%len(signals) {
					continue
				}
				t.Run(s.name+", "+signal.name, func(t *testing.T) {
					t.Parallel()
					kept(t, func(t *testing.T) time.Duration {
						cmd := s.start(t, "--accel", accel)
						began := time.Now()
						require.NoError(t, cmd.Process.Signal(signal.signal))
						cmd.Wait()
						assert.Equal(t, statusSignal+int(signal.signal), cmd.ProcessState.ExitCode(), "%s", cmd.Stderr)
						return time.Since(began)
					})
				})
			}
			t.Run(s.name+", --timeout", func(t *testing.T) {
				t.Parallel()
				kept(t, func(t *testing.T) time.Duration {
					timeout := 4 * time.Second
					if inRig {
						timeout /= 2 // in whose time nothing is slow
					}
					began := time.Now()
					cmd := s.start(t, "--accel", accel, "--timeout", timeout.String())
					cmd.Wait()
					assert.Equal(t, statusTimeout, cmd.ProcessState.ExitCode(), "%s", cmd.Stderr)
					return time.Since(began) - timeout
				})
			})
		}
	})
}

var stubborns = []stubborn{
	{"its output is a pipe that nobody reads", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codePrompt, codeBabble)}, arguments...)...)
		r, w := smallPipe(t)
		cmd.Stdout = w
		require.NoError(t, cmd.Start())
		untilFull(t, r)
		return cmd
	}},
	{"its output and its errors are a pipe that nobody reads", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		cmd, _, _ := kapsel(t, append([]string{"run", "-v", imageFile(t, codePrompt, codeBabble)}, arguments...)...)
		r, w := smallPipe(t)
		cmd.Stdout, cmd.Stderr = w, w
		require.NoError(t, cmd.Start())
		untilFull(t, r)
		return cmd
	}},
	{"the guest has ended, and nobody reads what it printed", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		text := bytes.Repeat([]byte{0xee}, 4000) // out dx, al
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codePrompt, text, text, codeExit42)}, arguments...)...)
		r, w := smallPipe(t)
		cmd.Stdout = w
		require.NoError(t, cmd.Start())
		untilFull(t, r)
		return cmd
	}},
	{"the image is a FIFO that a writer keeps open", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		path := fifo(t)
		cmd, _, _ := kapsel(t, append([]string{"run", path}, arguments...)...)
		require.NoError(t, cmd.Start())
		holdOpen(t, path)
		return cmd
	}},
	{"a task is a FIFO that a writer keeps open", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		path := fifo(t)
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codeSpin), path}, arguments...)...)
		require.NoError(t, cmd.Start())
		holdOpen(t, path)
		return cmd
	}},
	{"QEMU is a program that sleeps", "qemu", func(t *testing.T, arguments ...string) *exec.Cmd {
		path := fifo(t)
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codeSpin)}, arguments...)...)
		sleeping, err := filepath.Abs(filepath.Join("testdata", "sleeping"))
		require.NoError(t, err)
		cmd.Env = append(cmd.Env, "PATH="+sleeping+":"+os.Getenv("PATH"), "KAPSEL_TEST_STARTED="+path)
		require.NoError(t, cmd.Start())
		f, err := os.Open(path) // waits for the script
		require.NoError(t, err)
		f.Close()
		return cmd
	}},
	{"the guest spins", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codePrompt, codeSpin)}, arguments...)...)
		startUntilPrompt(t, cmd)
		return cmd
	}},
	{"the guest prints without end, and all is read", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codePrompt, codeBabble)}, arguments...)...)
		go io.Copy(io.Discard, startUntilPrompt(t, cmd))
		return cmd
	}},
	{"the guest prints without end, to a full disk", "", func(t *testing.T, arguments ...string) *exec.Cmd {
		path := fifo(t) // an input that is never there: the guest reads none
		cmd, _, _ := kapsel(t, append([]string{"run", imageFile(t, codePrompt, codeBabble)}, arguments...)...)
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		defer full.Close()
		input, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { input.Close() })
		cmd.Stdin, cmd.Stdout = input, full
		_, err = input.WriteString("typed")
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		untilEmpty(t, input) // it is read when the guest has printed
		return cmd
	}},
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return path
}

// holdOpen waits for a FIFO's reader and is its writer until the test ends.
func holdOpen(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
}

// smallPipe is a pipe that holds a page.
func smallPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
	return r, w
}

// untilFull waits until what a pipe or a terminal holds grows no more.
func untilFull(t *testing.T, r *os.File) {
	t.Helper()
	before, same := 0, 0
	await(t, r, func(n int) bool {
		if same++; n == 0 || n != before {
			before, same = n, 0
		}
		return same == 20
	})
}

// untilEmpty waits until a pipe holds nothing.
func untilEmpty(t *testing.T, r *os.File) {
	t.Helper()
	await(t, r, func(n int) bool { return n == 0 })
}

// await looks every now and then until the number of bytes that can be read is right.
func await(t *testing.T, r *os.File, right func(n int) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		require.NoError(t, err)
		if right(n) {
			return
		}
	}
	t.Fatal("nothing comes")
}

// TestRunLeavesATerminalThatShowsNothing: with Ctrl-A x, help asked for before and more typed
// than the guest reads. The terminal is as it was.
func TestRunLeavesATerminalThatShowsNothing(t *testing.T) {
	for name, stop := range map[string]func(t *testing.T, user, terminal *os.File){
		"nobody reads it": func(t *testing.T, user, _ *os.File) { untilFull(t, user) },
		"it is stopped": func(t *testing.T, user, terminal *os.File) {
			const off = 0 // TCOOFF, as Ctrl-S does
			require.NoError(t, unix.IoctlSetInt(int(terminal.Fd()), unix.TCXONC, off))
			go io.Copy(io.Discard, user)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, accel string) {
				kept(t, func(t *testing.T) time.Duration {
					user, terminal := openTerminal(t)
					before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
					require.NoError(t, err)
					cmd, _, _ := kapsel(t, "run", "--accel", accel, imageFile(t, codePrompt, codeBabble))
					cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
					require.NoError(t, cmd.Start())
					_, err = io.ReadFull(user, make([]byte, 1))
					require.NoError(t, err)
					stop(t, user, terminal)
					for range 10 {
						_, err = user.Write(bytes.Repeat([]byte("typed"), 200))
						require.NoError(t, err)
					}
					began := time.Now()
					_, err = user.WriteString("\x01h\x01h\x01x")
					require.NoError(t, err)
					cmd.Wait()
					took := time.Since(began)
					assert.Equal(t, statusLeft, cmd.ProcessState.ExitCode())
					after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
					require.NoError(t, err)
					assert.Equal(t, before, after, "the terminal is as it was")
					return took
				})
			})
		})
	}
}

// TestLastWordsOfASlowEnd: what is said long after the hurry began is said all the same, if somebody reads it.
func TestLastWordsOfASlowEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		l := newLastWords(&text)
		l.hurry()
		for range 3 {
			time.Sleep(vmm.FlushTime)
			_, err := io.WriteString(l, "x")
			assert.NoError(t, err)
		}
		assert.Equal(t, "xxx", text.String())
	})
}

// TestLastWords: they wait for their reader until they are to hurry.
func TestLastWords(t *testing.T) {
	var text bytes.Buffer
	l := newLastWords(&text)
	n, err := l.Write([]byte("one "))
	assert.Equal(t, 4, n)
	assert.NoError(t, err)
	l.hurry()
	l.hurry()
	_, err = l.Write([]byte("two"))
	assert.NoError(t, err, "there is still time")
	assert.Equal(t, "one two", text.String())

	r, w := io.Pipe()
	defer r.Close()
	l = newLastWords(w)
	first := make(chan error)
	go func() { _, err := l.Write([]byte("nobody reads this")); first <- err }()
	go func() { _, err := l.Write([]byte("nor that")); first <- err }()
	l.hurry()
	assert.ErrorIs(t, <-first, errNobodyReads)
	assert.ErrorIs(t, <-first, errNobodyReads)
}
