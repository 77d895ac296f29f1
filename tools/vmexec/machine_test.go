package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The test binary plays every part: the test, vmexec on the host, init and the
// program in the machine. Variables say which part it has.
const (
	playVMExec  = "VMEXEC_TEST_PLAY_VMEXEC"
	playPayload = "VMEXEC_TEST_PLAY_PAYLOAD"
	rigFolder   = "VMEXEC_TEST_RIG" // set: the tests that start a machine run, with this rig
)

func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		guestMain()
		return
	}
	if os.Getenv(playVMExec) != "" {
		os.Unsetenv(playVMExec)
		os.Exit(hostMain(os.Args[1:]))
	}
	if name := os.Getenv(playPayload); name != "" {
		os.Exit(payloads[name](os.Args[1:]))
	}
	os.Exit(m.Run())
}

// payloads are what runs in the machine; they return their exit status.
var payloads = map[string]func(args []string) int{
	"hello": func(args []string) int {
		dir, _ := os.Getwd()
		fmt.Printf("args %q dir %s\n", args, dir)
		fmt.Fprintln(os.Stderr, "to standard error")
		return 7
	},
	"kvm": func([]string) int {
		if _, err := os.Stat("/dev/kvm"); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	},
	"files": func(args []string) int {
		content, err := os.ReadFile(args[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(args[1], "back"), bytes.ToUpper(content), 0o644)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	},
	"signal": func([]string) int {
		unix.Kill(unix.Getpid(), unix.SIGKILL)
		return 0
	},
	"spin": func([]string) int {
		fmt.Println("spinning")
		for n := 0; n >= 0; n++ {
		}
		return 0
	},
	"sleep": func([]string) int { // no time at all: waiting costs none
		time.Sleep(time.Hour)
		return 0
	},
	"crash": func([]string) int {
		os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
		return 0
	},
}

// inMachine runs the payload in a machine and returns vmexec's status and its outputs.
func inMachine(t *testing.T, payload string, flags, args []string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := vmexecCommand(t, payload, flags, args)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	require.NotNil(t, cmd.ProcessState, "vmexec did not start: %v", err)
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func vmexecCommand(t *testing.T, payload string, flags, args []string) *exec.Cmd {
	t.Helper()
	rig := os.Getenv(rigFolder)
	if rig == "" {
		t.Skipf("starts a machine: set %s to the folder of the rig's kernel", rigFolder)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	line := append([]string{"-rig", rig, "-timeout", "2m"}, flags...)
	cmd := exec.Command(self, append(append(line, self), args...)...)
	cmd.Env = append(os.Environ(), playVMExec+"=1", playPayload+"="+payload)
	return cmd
}

func TestMachineStatusAndOutput(t *testing.T) {
	t.Parallel()
	dir, err := os.Getwd()
	require.NoError(t, err)
	status, stdout, stderr := inMachine(t, "hello", nil, []string{"a", "b c"})
	assert.Equal(t, 7, status, stderr)
	assert.Equal(t, fmt.Sprintf("args [\"a\" \"b c\"] dir %s\nto standard error\n", dir), stdout)
	assert.Empty(t, stderr)
}

func TestMachineHasKVM(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := inMachine(t, "kvm", nil, nil)
	assert.Equal(t, 0, status, stdout+stderr)
}

func TestMachineFilesGoInAndComeBack(t *testing.T) {
	t.Parallel()
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(in, []byte("content"), 0o644))
	status, stdout, stderr := inMachine(t, "files", []string{"-add", in, "-out", out}, []string{in, out})
	require.Equal(t, 0, status, stdout+stderr)
	got, err := os.ReadFile(filepath.Join(out, "back"))
	require.NoError(t, err)
	assert.Equal(t, "CONTENT", string(got))
}

func TestMachineProgramEndedBySignal(t *testing.T) {
	t.Parallel()
	status, _, stderr := inMachine(t, "signal", nil, nil)
	assert.Equal(t, 128+9, status)
	assert.Contains(t, stderr, "the program was ended by signal 9 (killed)")
}

func TestMachineTimeout(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := inMachine(t, "spin", []string{"-timeout", "20s"}, nil)
	assert.Equal(t, statusFailed, status)
	assert.Equal(t, "spinning\n", stdout)
	assert.Contains(t, stderr, "the machine ended after the timeout of 20s")
}

func TestMachineWaitsInNoTime(t *testing.T) {
	t.Parallel()
	status, _, stderr := inMachine(t, "sleep", nil, nil)
	assert.Equal(t, 0, status, stderr)
}

func TestMachineKernelPanic(t *testing.T) {
	t.Parallel()
	status, _, stderr := inMachine(t, "crash", nil, nil)
	assert.Equal(t, statusFailed, status)
	assert.Contains(t, stderr, "the machine ended without a report")
	assert.Contains(t, stderr, "Kernel panic - not syncing: sysrq triggered crash")
}

func TestMachineEndedBySignal(t *testing.T) {
	t.Parallel()
	cmd := vmexecCommand(t, "spin", nil, nil)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, len("spinning"))
	_, err = stdout.Read(line) // the program is running now
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	cmd.Wait()
	assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "the machine ended by signal: terminated")
}

// TestMachineIcountRepeats runs the same program twice with -icount: time is counted
// in instructions, so both see the same clock.
func TestMachineIcountRepeats(t *testing.T) {
	t.Parallel()
	status1, first, stderr := inMachine(t, "clock", []string{"-icount"}, nil)
	require.Equal(t, 0, status1, stderr)
	status2, second, stderr := inMachine(t, "clock", []string{"-icount"}, nil)
	require.Equal(t, 0, status2, stderr)
	assert.NotEmpty(t, strings.TrimSpace(first))
	assert.Equal(t, first, second)
}

func init() {
	payloads["clock"] = func([]string) int {
		started := time.Now()
		n := 0
		for i := range 1_000_000 {
			n += i & 1
		}
		fmt.Println(n, time.Since(started))
		return 0
	}
}
