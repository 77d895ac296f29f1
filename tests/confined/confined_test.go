// Package confined runs the command itself, confined as it is by default, with machines that use each of its devices.
package confined

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm/confine"
	"kapsel/vmm/ethernet/link/linktest"
)

// command starts the command with --confine=on and -v, and returns how to wait for its end. What it prints goes to out.
func command(t *testing.T, out io.Writer, args ...string) (cmd *exec.Cmd, wait func() int) {
	t.Helper()
	if confine.Landlock() == 0 || !confine.Seccomp() {
		t.Skip("this host has no landlock, or no seccomp")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	args = append([]string{"run", "--confine=on", "-v", "--accel", machine.Accelerator(t)}, args...)
	cmd = exec.CommandContext(ctx, machine.File(t, "kapsel"), args...)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	return cmd, func() int {
		cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}
}

// run runs the command to its end.
func run(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	var b bytes.Buffer
	_, wait := command(t, &b, args...)
	status = wait()
	if t.Failed() {
		t.Log(b.String())
	}
	return status, b.String()
}

// file makes a file.
func file(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// TestDevices: a confined machine of each device does with it what it does else, and ends.
func TestDevices(t *testing.T) {
	image := func(name string) string { return machine.File(t, name) }
	kapsel, bare, raw := image("kapsel.elf"), image("bare.elf"), image("test/devices.elf")
	dac, screen, changes := file(t, ""), file(t, ""), file(t, "")
	for _, test := range []struct {
		name, accel string
		args        []string
		status      int
		want        []string
	}{
		{"none", "", []string{kapsel}, 0, []string{"intruder: all 20 attempts were stopped"}},
		{"console", "", []string{"--console", "virtio", bare, image("hello.tbf")}, 0, nil},
		{"entropy", "", []string{"--rng", "--cmdline", "raw", raw, image("test/dice.tbf")}, 0, []string{"different values in 2000 bytes"}},
		{"disk", "", []string{"--disk", file(t, strings.Repeat("kapsel..", 1<<17)), "--cmdline", "raw", raw, image("test/disk.tbf")}, 0,
			[]string{"disk: write done", "disk: flush done", "disk: zeroes done", "disk: discard done"}},
		{"ports", "", []string{"--adc", file(t, "0: 1 20 300 # and again\n0: 4095\n1: 7 8 9\n"), "--dac", dac, "--buzzer", "--screen", screen, bare, image("test/panel.tbf")}, 0,
			[]string{"panel: sample: 4800", "panel: blink: 0"}},
		{"GPIO", "kvm", []string{"--gpio=json=" + changes, bare, image("hello.tbf")}, 0, nil},
		{"network", "", []string{"--net", "user,allow=example.com:80", bare, image("hello.tbf")}, 0, nil},
		{"socket of a network", "", []string{"--net", "unix=" + filepath.Join(t.TempDir(), "s"), bare, image("hello.tbf")}, 0, nil},
		{"watchdog", "", []string{"--watchdog", "1s", "--cmdline", "hang", image("test/dying.elf")}, 101, []string{"kernel panic: watchdog: "}},
		{"hung", "", []string{"--watchdog", "1s", "--cmdline", "hang-on", image("test/dying.elf")}, 122, []string{"kernel panic: watchdog: "}},
		{"timeout", "", []string{"--timeout", "6s", bare, image("test/spinner.tbf")}, 124, []string{"ended by --timeout"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.accel != "" && test.accel != machine.Accelerator(t) {
				t.Skip("is for " + test.accel)
			}
			status, out := run(t, test.args...)
			assert.Equal(t, test.status, status, out)
			for _, want := range append(test.want, "kapsel: confined: landlock: ", "kapsel: confined: seccomp: ") {
				assert.Contains(t, out, want)
			}
			if test.status > 103 {
				assert.Regexp(t, `(?i)\brip ?=?[0-9a-f]`, out, "the processor's state")
			}
			assert.NotContains(t, out, "operation not permitted")
			assert.NotContains(t, out, "permission denied")
		})
	}
	if !t.Failed() && !t.Skipped() && confine.Landlock() > 0 {
		values, err := os.ReadFile(dac)
		require.NoError(t, err)
		assert.Equal(t, "0\n4095\n1234\n", string(values))
		rows, err := os.ReadFile(screen)
		require.NoError(t, err)
		assert.NotEmpty(t, rows)
	}
}

// awaiting passes on what is written, and says when a pattern has been.
type awaiting struct {
	mu      sync.Mutex
	all     bytes.Buffer
	pattern *regexp.Regexp
	found   chan []string
}

// Write implements io.Writer.
func (a *awaiting) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all.Write(p)
	if match := a.pattern.FindStringSubmatch(a.all.String()); match != nil && a.found != nil {
		a.found <- match
		a.found = nil
	}
	return len(p), nil
}

// String is all that was written.
func (a *awaiting) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all.String()
}

// freePort is one that nobody listens at.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestLink: a confined machine has an interface of its network namespace, and serves a page to the other end of the wire.
func TestLink(t *testing.T) {
	container, host := linktest.Pair(t)
	found := make(chan []string, 1)
	out := &awaiting{pattern: regexp.MustCompile(`httpd: (http://\S+/)`), found: found}
	var cmd *exec.Cmd
	var wait func() int
	bare, httpd := machine.File(t, "bare.elf"), machine.File(t, "httpd.tbf")
	container.Do(func() {
		cmd, wait = command(t, out, "--rng", "--net", "link="+linktest.Guest, "--timeout", "3m", bare, httpd)
	})
	ended := make(chan int, 1)
	go func() { ended <- wait() }()
	select {
	case match := <-found:
		assert.Equal(t, "http://"+linktest.GuestAddress+"/", match[1])
	case status := <-ended:
		t.Fatalf("it ended with %d:\n%s", status, out)
	}
	for range 3 {
		host.Do(func() {
			c, err := net.DialTimeout("tcp", linktest.GuestAddress+":80", time.Minute)
			if !assert.NoError(t, err, "%s", out) {
				return
			}
			defer c.Close()
			fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
			page, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Contains(t, string(page), "<li>Address: "+linktest.GuestAddress+"</li>")
		})
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 128+int(syscall.SIGTERM), <-ended, "%s", out)
	for _, want := range []string{"kapsel: confined: capabilities: ", "kapsel: confined: seccomp: "} {
		assert.Contains(t, out.String(), want)
	}
	assert.NotContains(t, out.String(), "operation not permitted")
}

// TestForwardAndControl: a confined machine serves a page to the host, is asked for its tasks by its socket, gets another task, and ends when it
// is told, without its socket.
func TestForwardAndControl(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control")
	found := make(chan []string, 1)
	out := &awaiting{pattern: regexp.MustCompile(`(?s)network: (\S+) of the host leads to.*httpd: http://10\.0\.2\.15/`), found: found}
	cmd, wait := command(t, out, "--net", fmt.Sprintf("user,forward=tcp:%d:80", freePort(t)), "--control", "unix:"+socket, "--timeout", "3m", machine.File(t, "bare.elf"), machine.File(t, "httpd.tbf"))
	ended := make(chan int, 1)
	go func() { ended <- wait() }()
	var page string
	select {
	case match := <-found:
		page = "http://" + match[1] + "/"
	case status := <-ended:
		t.Fatalf("it ended with %d:\n%s", status, out)
	}
	for range 3 {
		answer, err := http.Get(page)
		require.NoError(t, err, "%s", out)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		assert.Equal(t, http.StatusOK, answer.StatusCode)
		assert.NotEmpty(t, body)
	}
	kapsel := func(args ...string) string {
		said, err := exec.CommandContext(t.Context(), machine.File(t, "kapsel"), args...).CombinedOutput()
		require.NoError(t, err, "%s", said)
		return string(said)
	}
	assert.Contains(t, kapsel("tasks", "--control", socket), "httpd")
	kapsel("load", "--control", socket, machine.File(t, "hello.tbf"))
	assert.Contains(t, kapsel("tasks", "--control", socket), "hello")
	kapsel("unload", "--control", socket, "httpd")
	assert.NotContains(t, kapsel("tasks", "--control", socket), "httpd")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 128+int(syscall.SIGTERM), <-ended, "%s", out)
	assert.NoFileExists(t, socket)
	assert.NotContains(t, out.String(), "operation not permitted")
}
