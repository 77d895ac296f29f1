package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox"
	"kapsel/sandbox/serve"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
)

func TestParseSandbox(t *testing.T) {
	wire := network.Config{Unix: "a"}
	defaults := func(change func(*sandboxOptions)) sandboxOptions {
		o := sandboxOptions{runOptions: runOptions{image: "i", tasks: []string{}, memory: vmm.DefaultMemory, timeout: 10 * time.Second},
			payload: 64 << 10, output: 64 << 10, serveOptions: serveOptions{sandboxes: 4, queue: serve.DefaultQueue, grace: 10 * time.Second}}
		change(&o)
		return o
	}
	for _, test := range []struct {
		name string
		args string
		want sandboxOptions
	}{
		{"a call", "call|i|--service|s", defaults(func(o *sandboxOptions) { o.service = "s" })},
		{"a call with all", "call|--service=s|--mem|16M|i|--cmdline|x y|a.tbf|--rng|--disk|d,ro|--net|unix=a|--timeout|1m|--payload|1M|--output|4K|-v|--confine=off|b.tbf",
			defaults(func(o *sandboxOptions) {
				o.service, o.memory, o.cmdline, o.tasks, o.timeout = "s", 16<<20, "x y", []string{"a.tbf", "b.tbf"}, time.Minute
				o.payload, o.output, o.verbose, o.confine, o.net = 1<<20, 4096, true, confineOff, network.Flag{Config: &wire}
				o.devices = devices{vmm.Entropy{}, vmm.Disk{Path: "d", ReadOnly: true}, vmm.Network{Connection: wire}}
			})},
		{"a call from a snapshot", "call|--from|d|--clock|go-on|--service|s", defaults(func(o *sandboxOptions) {
			o.image, o.tasks, o.from, o.clock, o.service = "", nil, "d", clockFlag(vmm.GoOn), "s"
		})},
		{"a snapshot", "snapshot|i|-o|d", defaults(func(o *sandboxOptions) { o.directory = "d" })},
		{"a snapshot behind a call", "snapshot|i|a|-o|d|--service|s", defaults(func(o *sandboxOptions) { o.tasks, o.directory, o.service = []string{"a"}, "d", "s" })},
		{"a server at a socket", "serve|i|--listen|unix:s|--clock=go-on", defaults(func(o *sandboxOptions) { o.listen, o.clock = "unix:s", clockFlag(vmm.GoOn) })},
		{"a server at a port", "serve|i|--listen|127.0.0.1:80|--sandboxes|9|--queue|0|--grace|1s", defaults(func(o *sandboxOptions) {
			o.serveOptions = serveOptions{"127.0.0.1:80", 9, 0, time.Second}
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Split(test.args, "|")
			got, err := parseSandbox(args[0], args[1:])
			require.NoError(t, err)
			assert.Equal(t, &test.want, got)
		})
	}
}

func TestParseSandboxErrors(t *testing.T) {
	for _, test := range []struct{ name, args, want string }{
		{"no image", "call|--service|s", "no image given: kapsel call [flags] --service NAME IMAGE [TASK...], or --from DIR in the place of the image"},
		{"no service", "call|i", "no --service given: kapsel call [flags] --service NAME IMAGE [TASK...]"},
		{"a long name of a service", "call|i|--service|" + strings.Repeat("x", 64), "--service of 64 bytes: a name has at most 63"},
		{"no directory", "snapshot|i", "no -o given: kapsel snapshot [flags] -o DIR IMAGE [TASK...]"},
		{"no address", "serve|i", "no --listen given: kapsel serve [flags] --listen unix:PATH IMAGE [TASK...]"},
		{"an address without a port", "serve|i|--listen|localhost", "--listen localhost: want unix:PATH, or HOST:PORT as 127.0.0.1:8080"},
		{"a socket without a path", "serve|i|--listen|unix:", "--listen unix:: want unix:PATH, or PATH"},
		{"a snapshot and an image", "call|--from|d|i|--service|s", `--from goes on with the image and the tasks of the snapshot: "i" would be another`},
		{"no snapshot", "call|--from=|--service|s", `--from "": want the directory of a snapshot, which kapsel snapshot makes`},
		{"a snapshot with another memory", "serve|--from|d|--mem|1M|--listen|unix:s", "--mem is for a machine that boots: --from goes on with what the snapshot has"},
		{"a snapshot with another command line", "snapshot|--from|d|--cmdline|x|-o|e", "--cmdline is for a machine that boots"},
		{"a clock of a machine that boots", "call|i|--service|s|--clock|go-on", "--clock is for a machine from a snapshot: give --from DIR"},
		{"an unknown clock", "serve|i|--clock|back", "--clock back: want stand-still or go-on"},
		{"no time", "call|i|--service|s|--timeout|0", "--timeout 0s: want a positive time, as 10s"},
		{"too large a payload", "call|i|--service|s|--payload|2M", "--payload 2M: a payload has at most 1024K"},
		{"too much memory", "call|i|--service|s|--mem|2048G", "--mem 2048G: a machine can have at most 1024G"},
		{"too many devices", "call|i|--service|s" + strings.Repeat("|--rng", 8), "9 devices are more than the 8"},
		{"a long command line", "call|i|--service|s|--cmdline|" + strings.Repeat("x", abi.CmdlineMax-20), "the kernel reads at most 2048"},
		{"no sandbox", "serve|i|--sandboxes|0", "--sandboxes 0: want a whole number from 1 to 200"},
		{"too many sandboxes", "serve|i|--sandboxes|201", "--sandboxes 201: want a whole number from 1 to 200"},
		{"half a call", "serve|i|--queue|1.5", "--queue 1.5: want a whole number from 0 to 1000"},
		{"a network for many sandboxes", "serve|i|--net|user", "no flag --net: see kapsel help serve"},
		{"a disk that is written, to be saved", "snapshot|i|-o|d|--disk|e", "--disk e: a snapshot cannot take back what the guest writes to a file: give e,ro or e,private"},
		{"a disk that is written, to be served", "serve|i|--listen|unix:s|--disk|e", "--disk e: a snapshot cannot take back"},
		{"a disk that is written, from a snapshot", "call|--from|d|--service|s|--disk|e", "--disk e: a snapshot cannot take back"},
		{"a clock for what is saved", "snapshot|i|-o|d|--clock=go-on", "no flag --clock: see kapsel help snapshot"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Split(test.args, "|")
			_, err := parseSandbox(args[0], args[1:])
			assert.ErrorContains(t, err, test.want)
		})
	}
}

// TestParseSandboxArguments: tasks that are called have arguments and an environment as those that are run.
func TestParseSandboxArguments(t *testing.T) {
	o, err := parseSandbox("call", []string{"i", "--service", "s", "--env", "A=b", "--", "--mem"})
	require.NoError(t, err)
	assert.Equal(t, []string{"--mem"}, o.args)
	assert.Equal(t, []string{"A=b"}, o.env)
	_, err = parseSandbox("serve", []string{"--from", "d", "--listen", "unix:s", "--", "a"})
	assert.ErrorContains(t, err, `--from goes on with the arguments of the snapshot: "a" would be another`)
}

func TestParseRunFrom(t *testing.T) {
	o, err := parseRun([]string{"--from", "d", "--clock", "go-on", "--rng", "--port", "a,in=b"})
	require.NoError(t, err)
	assert.Equal(t, "d", o.from)
	assert.Equal(t, vmm.GoOn, vmm.Time(o.clock))
	for _, test := range []struct{ args, want string }{
		{"--from|d|i", `"i" would be another`},
		{"--from|d|--linux|k", "--linux is for a machine that boots"},
		{"--from|d|--env|A=b", "--env is for a machine that boots"},
		{"--from|d|--|a", `--from goes on with the arguments of the snapshot: "a" would be another`},
		{"--from|d|--initrd|k", "--initrd is for a machine that boots"},
		{"--from|d|--accel|qemu", "--from needs KVM, and --accel qemu forbids it"},
		{"i|--clock|go-on", "--clock is for a machine from a snapshot"},
	} {
		_, err := parseRun(strings.Split(test.args, "|"))
		assert.ErrorContains(t, err, test.want, test.args)
	}
}

// TestCallStatus: each kind of error has the status that the help names.
func TestCallStatus(t *testing.T) {
	of := func(kind error) error { return errors.Join(&sandbox.Error{Kind: kind, Poisoned: true}) }
	for _, test := range []struct {
		err  error
		want int
	}{
		{usageError{io.EOF}, 2},
		{fmt.Errorf("sandbox: %w", &vmm.DeviceError{Err: io.EOF}), 2},
		{of(sandbox.ErrNoService), 1},
		{of(sandbox.ErrAnswer), 1},
		{of(sandbox.ErrTooLarge), 1},
		{of(sandbox.ErrFault), 100},
		{of(sandbox.ErrMemory), 100},
		{of(sandbox.ErrEnded), 100},
		{of(sandbox.ErrOutput), 100},
		{of(sandbox.ErrTime), 124},
		{of(sandbox.ErrProtocol), 125},
		{io.EOF, 125},
	} {
		assert.Equal(t, test.want, callStatus(test.err), "%v", test.err)
	}
	assert.EqualError(t, plainly(of(sandbox.ErrFault)), "sandbox: the task faulted", "and what programs are to do is left out")
	assert.Equal(t, io.EOF, plainly(io.EOF))
}

// TestSandboxCommandsRefuse: what cannot be used is said in one line, before anything is made.
func TestSandboxCommandsRefuse(t *testing.T) {
	image := imageFile(t, codeSpin)
	dir := t.TempDir()
	taken := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(taken, nil, 0o600))
	for _, test := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no image", []string{"call", "--service", "s", "/nowhere"}, 2, "/nowhere"},
		{"no task", []string{"call", "--service", "s", image, taken}, 2, "want a task in Tock Binary Format, found an empty file"},
		{"too little memory", []string{"snapshot", "-o", filepath.Join(dir, "new"), "--mem", "4K", image}, 2, "memory"},
		{"a directory that is taken", []string{"snapshot", "-o", dir, image}, 2, "it is there, and no snapshot"},
		{"a file in the place of a directory", []string{"snapshot", "-o", taken, image}, 2, "it is there, and no directory"},
		{"no snapshot", []string{"call", "--service", "s", "--from", dir}, 2, "loading the snapshot"},
		{"no snapshot to run", []string{"run", "--from", dir, "--accel", "kvm"}, 2, "loading the snapshot"},
		{"no snapshot to serve", []string{"serve", "--from", dir, "--listen", "unix:" + filepath.Join(dir, "s")}, 2, "loading the snapshot"},
		{"a socket's path that is taken", []string{"serve", "--listen", "unix:" + taken, image}, 2, "is there, and is no socket: choose another path"},
		{"an address that is none", []string{"serve", "--listen", "192.0.2.1:1", image}, 2, "--listen 192.0.2.1:1: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, test.args...)
			cmd.Run()
			assert.Equal(t, test.status, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			assertOneLine(t, stderr.String(), test.want)
		})
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left but the file: %v", entries)
}

// TestRequestsTooLarge: a request is bounded as it is read.
func TestRequestsTooLarge(t *testing.T) {
	o := &sandboxOptions{payload: 4096}
	request, err := o.request(t.Context(), strings.NewReader(strings.Repeat("x", 4096)))
	require.NoError(t, err)
	assert.Len(t, request, 4096)
	_, err = o.request(t.Context(), strings.NewReader(strings.Repeat("x", 5000)))
	assert.EqualError(t, err, "a request of more than 4K: --payload has the limit")
	assert.Equal(t, 2, callStatus(err))
}

// TestQuoted: a guest's line is no line of the command's.
func TestQuoted(t *testing.T) {
	var lines []string
	q := quoted{func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }}
	n, err := q.Write([]byte("a\nkapsel: serving\x1b[2J\n"))
	assert.NoError(t, err)
	assert.Equal(t, 22, n)
	assert.Equal(t, []string{`guest: "a\nkapsel: serving\x1b[2J\n"`}, lines)
}

// TestUnit: the unit of systemd's has a command line that is right.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../examples/serve/kapsel.service")
	require.NoError(t, err)
	_, line, found := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), "\nExecStart=/usr/local/bin/kapsel serve ")
	require.True(t, found)
	line, _, _ = strings.Cut(line, "\n")
	o, err := parseSandbox("serve", strings.Fields(line))
	require.NoError(t, err)
	assert.Equal(t, "unix:%t/kapsel/calls", o.listen)
	assert.Equal(t, confineOn, o.confine)
	assert.NotEmpty(t, o.tasks)
	assert.Less(t, uint64(o.sandboxes)*uint64(o.memory), uint64(1<<30), "MemoryMax")
	assert.Less(t, o.grace, 20*time.Second, "TimeoutStopSec")
}
