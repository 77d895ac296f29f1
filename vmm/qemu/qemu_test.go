package qemu

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/image"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestArguments(t *testing.T) {
	stub(t, "exit 1")
	disk := newDisk(t, 4)
	network, _ := ethernet.Pair()
	for _, test := range []struct {
		golden  string
		config  vmm.Config
		options []string
	}{
		{"testdata/default.golden", vmm.Config{}, nil},
		{"testdata/full.golden", vmm.Config{Memory: 24 << 20, Cmdline: "a b", Modules: [][]byte{{1}}}, []string{"-option"}},
		{"testdata/machine.golden", vmm.Config{}, []string{"-machine", "q35"}},
		{"testdata/devices.golden", vmm.Config{Modules: [][]byte{{1}}, Devices: []vmm.Device{
			vmm.Disk{Path: disk}, vmm.Entropy{}, vmm.Disk{Path: newDisk(t, 1), ReadOnly: true}, vmm.Console{},
			vmm.Network{Connection: connection{ethernet.MAC{2, 0, 0, 0, 0, 1}, network}}, vmm.Ports{{Name: "adc"}, {Name: "other"}}}}, nil},
	} {
		t.Run(test.golden, func(t *testing.T) {
			test.config.Image = flat(t, codeSpin)
			m, err := New(t.Context(), test.config, test.options...)
			require.NoError(t, err)
			defer m.Close()
			got := strings.Join(m.arguments(), "\n") + "\n"
			if *update {
				require.NoError(t, os.WriteFile(test.golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(test.golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestModulesArePaddedToPages(t *testing.T) {
	got := padded([][]byte{bytes.Repeat([]byte{1}, 4096), {2}, nil, bytes.Repeat([]byte{3}, 4097)})
	assert.Len(t, got, 4*4096)
	assert.Equal(t, []byte{1, 2, 0, 3, 3, 3, 0}, []byte{got[4095], got[4096], got[4097], got[8192], got[12287], got[12288], got[12289]})
}

func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(Command); err != nil {
		t.Skipf("needs QEMU: %v", err)
	}
}

// newMachine makes a machine that runs the fragments of code.
func newMachine(t *testing.T, c vmm.Config, fragments ...[]byte) *Machine {
	t.Helper()
	needQEMU(t)
	c.Image = flat(t, fragments...)
	m, err := New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		code    [][]byte
		config  vmm.Config
		want    vmm.Exit
		console string
	}{
		{"status 5", [][]byte{codeSayHi, codeExit5}, vmm.Config{}, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, "hi\n"},
		{"status 0", [][]byte{codeExit0}, vmm.Config{}, vmm.Exit{Reason: vmm.GuestExit}, ""},
		{"triple fault", [][]byte{codeTripleFault}, vmm.Config{}, vmm.Exit{Reason: vmm.Shutdown}, ""},
		{"input", [][]byte{codeEchoNext}, vmm.Config{Input: strings.NewReader("A")}, vmm.Exit{Reason: vmm.GuestExit}, "B"},
		{"modules", [][]byte{codePrintModules, codeExit0}, vmm.Config{Modules: [][]byte{[]byte("one"), []byte("two")}},
			vmm.Exit{Reason: vmm.GuestExit}, pad("one") + pad("two")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var console bytes.Buffer
			test.config.Console = &console
			m := newMachine(t, test.config, test.code...)
			exit, err := m.Run(testContext(t))
			require.NoError(t, err)
			assert.Equal(t, test.want, exit)
			assert.Equal(t, test.console, console.String())
			var dump bytes.Buffer
			m.Dump(&dump)
			assert.Contains(t, dump.String(), "only of a machine that was still running")
		})
	}
}

// An endless input goes on until it cannot be written any more.
type endless chan struct{}

func (endless) Read([]byte) (int, error) { return 0, io.EOF }

func (e endless) WriteTo(w io.Writer) (n int64, err error) {
	for err == nil {
		_, err = w.Write(make([]byte, 4096))
	}
	close(e)
	return 0, err
}

// TestInputBeyondTheEnd: input that the guest did not wait for is no signal, SIGPIPE, which would
// end the command with its status in the place of the guest's.
func TestInputBeyondTheEnd(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGWINCH)
	defer signal.Stop(signals)
	input := make(endless)
	m := newMachine(t, vmm.Config{Input: input}, codeSayHi, codeExit5)
	exit, err := m.Run(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit)
	<-input
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH)) // which comes behind the other
	assert.Equal(t, syscall.SIGWINCH, <-signals)
}

// pad is s filled up to a page with zeros.
func pad(s string) string { return s + strings.Repeat("\x00", 4096-len(s)) }

func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	m := newMachine(t, vmm.Config{Console: writerFunc(func([]byte) { cancel() })}, codeSayHi, codeSpin)
	exit, err := m.Run(ctx)
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, exit)

	var dump bytes.Buffer
	m.Dump(&dump)
	assert.Contains(t, dump.String(), "EAX=1234abcd")
}

// TestRunQEMUIsEnded: by somebody else, which is no triple fault.
func TestRunQEMUIsEnded(t *testing.T) {
	var m *Machine
	m = newMachine(t, vmm.Config{Console: writerFunc(func([]byte) { m.cmd.Process.Signal(syscall.SIGTERM) })}, codeSayHi, codeSpin)
	exit, err := m.Run(testContext(t))
	assert.Equal(t, vmm.Exit{Reason: vmm.Failed}, exit)
	assert.ErrorContains(t, err, "QEMU failed: qemu-system-x86_64: terminating on signal 15 from pid ")
}

// writerFunc calls itself for each Write.
type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestRunQEMUFails(t *testing.T) {
	needQEMU(t)
	m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin)}, "-no-such-option")
	require.NoError(t, err)
	defer m.Close()
	exit, err := m.Run(testContext(t))
	assert.Equal(t, vmm.Exit{Reason: vmm.Failed}, exit)
	assert.Regexp(t, `^QEMU failed: qemu[^:]*: -no-such-option: invalid option \(.*\)$`, err)
	var dump bytes.Buffer
	m.Dump(&dump)
	assert.Empty(t, dump.String(), "the guest never ran")
}

// TestRunsTheCheckedBytes: what is checked is what runs, whatever becomes of the file.
func TestRunsTheCheckedBytes(t *testing.T) {
	needQEMU(t)
	path := filepath.Join(t.TempDir(), "image.elf")
	require.NoError(t, os.WriteFile(path, image.Flat(codeExit5, 0), 0o600))
	img, err := image.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, image.Flat(codeExit0, 0), 0o600))
	m, err := New(t.Context(), vmm.Config{Image: img})
	require.NoError(t, err)
	defer m.Close()
	exit, err := m.Run(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit)
}

// TestQEMUTakesWhatIsAccepted: QEMU refuses no image that image.Parse takes, whichever field
// of the headers is another. Left out are sections, which no loader looks at, and what makes
// another program of it: the code's place in the file, and its size. A boot has every eighth of the
// bytes that may be another, so that those of one field are in different boots.
func TestQEMUTakesWhatIsAccepted(t *testing.T) {
	needQEMU(t)
	good := image.Flat(codeExit5, 0)
	another := func(file []byte, at int) []byte {
		file = bytes.Clone(file)
		file[at] ^= 0x05
		return file
	}
	const boots = 8
	var files [boots][]byte
	var accepted [boots][]int
	for at := range 64 + 2*56 { // ELF header and both program headers
		if at >= 40 && at < 48 || at >= 58 && at < 64 || at >= 72 && at < 80 || at >= 96 && at < 104 {
			continue
		}
		if _, err := image.Parse(another(good, at)); err != nil {
			continue
		}
		boot := at % boots
		if files[boot] == nil {
			files[boot] = good
		}
		files[boot] = another(files[boot], at)
		accepted[boot] = append(accepted[boot], at)
	}
	for boot, file := range files {
		t.Logf("bytes %d", accepted[boot])
		assert.Greater(t, len(accepted[boot]), 4)
		m, err := New(t.Context(), vmm.Config{Image: parse(t, file)})
		require.NoError(t, err)
		exit, err := m.Run(testContext(t))
		assert.NoError(t, err, "one of the bytes %d", accepted[boot])
		assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, exit, "one of the bytes %d", accepted[boot])
		assert.NoError(t, m.Close())
	}
}

func TestFailure(t *testing.T) {
	noticed := errors.New("command cont: EOF")
	for _, test := range []struct{ name, said, want string }{
		{"nothing said", "\n", "QEMU failed and said nothing: command cont: EOF"},
		{"the cause first", "qemu-system-x86_64: -m: too odd\n", "QEMU failed: qemu-system-x86_64: -m: too odd (command cont: EOF)"},
		{"too much memory", "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n",
			"this host cannot give that much memory (QEMU: cannot set up guest memory 'pc.ram': Cannot allocate memory): pass less"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := Machine{ended: make(chan struct{})}
			m.stderr.Write([]byte(test.said))
			err := m.failure(noticed)
			assert.EqualError(t, err, test.want)
			assert.Equal(t, test.name == "too much memory", errors.Is(err, ErrMemory))
		})
	}
}

// TestQEMUThatCannotBeStarted has failed at nothing.
func TestQEMUThatCannotBeStarted(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, Command), []byte("#!"+bin+"/absent\n"), 0o700))
	t.Setenv("PATH", bin)
	m, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin)})
	require.NoError(t, err)
	defer m.Close()
	exit, err := m.Run(testContext(t))
	assert.Equal(t, vmm.Exit{Reason: vmm.Failed}, exit)
	assert.ErrorContains(t, err, "start QEMU: fork/exec ")
	assert.NotContains(t, err.Error(), "said nothing")
}

func TestNewWithoutQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := New(t.Context(), vmm.Config{Image: flat(t, codeSpin)})
	assert.True(t, errors.Is(err, exec.ErrNotFound), err)
	assert.ErrorContains(t, err, "install QEMU")
}

func TestNewWhenTheContextHasEnded(t *testing.T) {
	cause := errors.New("told to end")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := New(ctx, vmm.Config{Image: flat(t, codeSpin)})
	assert.ErrorIs(t, err, cause)
}

func TestParseVersion(t *testing.T) {
	for _, test := range []struct{ name, out, want, err string }{
		{"Debian", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", "7.2.22", ""},
		{"plain", "QEMU emulator version 9.0.50", "9.0.50", ""},
		{"nothing", "", "", "want a version"},
		{"no number", "QEMU emulator version ", "", "want a version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseVersion(test.out)
			assert.Equal(t, test.want, got)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.err)
			}
		})
	}
}
