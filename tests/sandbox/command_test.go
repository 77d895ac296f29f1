package sandbox

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm/confine"
)

// command is the command kapsel, bounded in time: the rig is slow. What can be confined is, where the host can.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a sandbox needs KVM")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	switch {
	case confine.Landlock() == 0 || !confine.Seccomp():
		t.Log("not confined: this host has no landlock, or no seccomp")
	default:
		args = append(args, "--confine=on")
	}
	cmd = exec.CommandContext(ctx, machine.File(t, "kapsel"), args...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// kapsel runs the command to its end, with an input.
func kapsel(t *testing.T, input string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd, out, err := command(t, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// greeting are the image with the greeters, as the command's arguments.
func greeting(t *testing.T) []string {
	return []string{machine.File(t, "bare.elf"), machine.File(t, "test/greeter.tbf"), machine.File(t, "test/greeter32.tbf")}
}

// TestCommandCall: the reply is on standard output alone, and each way to fail has its status and a line.
func TestCommandCall(t *testing.T) {
	for _, test := range []struct {
		service, request string
		args             []string
		status           int
		stdout, stderr   string
	}{
		{"greeter", "greet host", nil, 0, "Hello, host!", ""},
		{"greeter32", "greet host", []string{"-v", "--rng"}, 0, "Hello, host!", "greeter: ready"},
		{"greeter", "", nil, 0, "", ""},
		{"nobody", "greet", nil, 1, "", `kapsel: sandbox: call of "nobody": no task serves under this name (NODEVICE)`},
		{"greeter", "refuse", nil, 1, "", "the task answered with an error (NOACK)"},
		{"greeter", "ask time", nil, 1, "", "(NODEVICE)"},
		{"greeter", "fault", nil, 100, "", "the task faulted; the console ends with"},
		{"greeter", "exit", nil, 100, "", "the task ended"},
		{"greeter", "flood", []string{"--output", "4K"}, 100, "", "too much output"},
		{"greeter", "spin", []string{"--timeout", "2s"}, 124, "", "out of time: its limit is 2s"},
		{"greeter", strings.Repeat("x", 5000), []string{"--payload", "4K"}, 2, "", "a request of more than 4K: --payload has the limit"},
	} {
		t.Run(test.service+" "+test.request[:min(20, len(test.request))], func(t *testing.T) {
			status, stdout, stderr := kapsel(t, test.request, append(append([]string{"call", "--service", test.service}, test.args...), greeting(t)...)...)
			assert.Equal(t, test.status, status, stderr)
			assert.Equal(t, test.stdout, stdout)
			assert.Contains(t, stderr, test.stderr)
			assert.NotContains(t, stderr, "Reset the sandbox")
			if test.stderr == "" {
				assert.Empty(t, stderr)
			}
		})
	}
}

// TestCommandSnapshot: a machine is saved behind a call, and each call from there finds it as it was.
func TestCommandSnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshot")
	status, stdout, stderr := kapsel(t, "count", append([]string{"snapshot", "-o", dir, "--service", "greeter32", "--rng"}, greeting(t)...)...)
	require.Equal(t, 0, status, stderr)
	assert.Empty(t, stdout)
	for range 2 {
		status, stdout, stderr = kapsel(t, "count", "call", "--from", dir, "--service", "greeter32")
		require.Equal(t, 0, status, stderr)
		assert.Equal(t, "0002", stdout)
	}
	again := filepath.Join(t.TempDir(), "again")
	status, _, stderr = kapsel(t, "count", "snapshot", "--from", dir, "-o", again, "--service", "greeter32")
	require.Equal(t, 0, status, stderr)
	status, stdout, stderr = kapsel(t, "count", "call", "--from", again, "--service", "greeter32")
	require.Equal(t, 0, status, stderr)
	assert.Equal(t, "0003", stdout)

	status, _, stderr = kapsel(t, "", "call", "--from", dir, "--service", "greeter", "--disk", "/dev/null,private")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, `disk "/dev/null": the snapshot was taken without this disk`)
}

// TestCommandRunFrom: the machine of a snapshot goes on with its console and its private disk, which is given again.
func TestCommandRunFrom(t *testing.T) {
	dir, disk := filepath.Join(t.TempDir(), "snapshot"), filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	status, _, stderr := kapsel(t, "", "snapshot", "-o", dir, "--rng", "--disk", disk+",private", machine.File(t, "bare.elf"), machine.File(t, "test/echo.tbf"))
	require.Equal(t, 0, status, stderr)
	for range 2 {
		cmd, _, stderr := command(t, "run", "--from", dir, "--disk", disk+",private=1M")
		stdout := &lockedBuffer{}
		cmd.Stdin, cmd.Stdout = strings.NewReader("abq"), stdout
		require.NoError(t, cmd.Start())
		shown := assert.Eventually(t, func() bool { return strings.HasSuffix(stdout.String(), "[a]\n[b]\n[q]\n") }, time.Minute, 10*time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) // it stays up for who may call its tasks
		cmd.Wait()
		require.True(t, shown, "%v\n%v", stdout, stderr)
		assert.Equal(t, 128+int(syscall.SIGTERM), cmd.ProcessState.ExitCode(), "%v", stderr)
		assert.NotContains(t, stdout.String(), "echo: ready", "it does not boot again")
	}
	status, _, stderr = kapsel(t, "", "run", "--from", dir)
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, `the snapshot was taken with device 2, disk "`+disk+`": give it by --disk, as then`)
	status, _, stderr = kapsel(t, "", "run", "--from", dir, "--disk", disk+",ro")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, `disk "`+disk+`": it can be written, this one cannot`)
}

// TestCommandServe: calls of many over HTTP, each of which finds the snapshot, whatever the one before has done; and an end when it is told.
func TestCommandServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshot")
	status, _, stderr := kapsel(t, "count", append([]string{"snapshot", "-o", dir, "--service", "greeter32"}, greeting(t)...)...)
	require.Equal(t, 0, status, stderr)
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	for _, from := range [][]string{{"--from", dir}, greeting(t), append(greeting(t), "--disk", disk+",private", "--disk", disk+",ro")} {
		serveOnce(t, map[bool]string{true: "0002", false: "0001"}[from[0] == "--from"], from)
	}
}

// serveOnce has a server of the arguments serve, whose greeter32 counts to a number each time.
func serveOnce(t *testing.T, counts string, from []string) {
	socket := filepath.Join(t.TempDir(), "s")
	cmd, _, _ := command(t, append([]string{"serve", "--listen", "unix:" + socket, "--sandboxes", "2", "--timeout", "5s", "--output", "4K"}, from...)...)
	said := &lockedBuffer{}
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	defer func() { <-ended }()
	defer cmd.Process.Kill()
	ready := func() bool {
		select {
		case <-ended:
			t.Fatal(said)
		default:
		}
		return strings.Contains(said.String(), "kapsel: serving at unix:"+socket+"\n")
	}
	require.Eventually(t, ready, time.Minute, 10*time.Millisecond, "%v", said)
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	post := func(service, request string) (int, string) {
		answer, err := client.Post("http://kapsel/call/"+service, "", strings.NewReader(request))
		if !assert.NoError(t, err, "%v", said) {
			return 0, ""
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		assert.NoError(t, err)
		return answer.StatusCode, string(body)
	}
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for range 3 {
				status, reply := post("greeter32", "count")
				assert.Equal(t, 200, status, reply)
				assert.Equal(t, counts, reply)
				if caller == 0 {
					status, reply = post("greeter", "fault")
					assert.Equal(t, 502, status)
					assert.JSONEq(t, `{"kind": "fault", "error": "the task faulted"}`, reply)
				}
			}
		})
	}
	callers.Wait()
	for request, want := range map[string]int{"refuse": 422, "flood": 502, "spin": 504, "greet you": 200, strings.Repeat("x", 70<<10): 413} {
		status, reply := post("greeter", request)
		assert.Equal(t, want, status, "%.20s: %s", request, reply)
	}
	status, _ := post("nobody", "")
	assert.Equal(t, 404, status)
	answer, err := client.Get("http://kapsel/metrics")
	require.NoError(t, err)
	metrics, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	answer.Body.Close()
	for _, want := range []string{`kapsel_calls_total{outcome="ok"} 13`, `kapsel_calls_total{outcome="fault"} 3`, `kapsel_sandboxes{state="idle"} 2`, "kapsel_sandboxes_lost_total 0"} {
		assert.Contains(t, string(metrics), want+"\n")
	}
	assert.NotContains(t, said.String(), "operation not permitted")
	client.CloseIdleConnections()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	<-ended
	assert.Equal(t, 0, cmd.ProcessState.ExitCode(), "%v", said)
	assert.NoFileExists(t, socket)
	if t.Failed() {
		t.Log(said)
	}
}
