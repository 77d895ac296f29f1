// Package oci holds `kapsel oci` to the life cycle of the OCI runtime specification, on the plain command line and without an engine: one
// test for each MUST, by its name in docs/oci.md (TestMusts). It kills the runtime at any point, lets two callers at once have one container, and
// looks at what errors say. After each test nothing is left behind: no process, mount, cgroup, file or network interface.
package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/tests/machine"
)

// patience is for what another process does: far more than it takes.
const patience = 60 * time.Second

// apart, in the environment, says that the tests run in namespaces of their own.
const apart = "KAPSEL_OCI_APART"

// TestMain runs the tests in a mount and a network namespace of their own, so that what appears in them is the runtime's, with empty
// folders for what programs keep while they run. The process is what an engine's shim is: the parent of the processes that `create` leaves behind.
// A hook is this program, too.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(hookFile) != "":
		os.Exit(runHook())
	case os.Getuid() != 0:
		os.Exit(m.Run()) // each test says why it is skipped
	case os.Getenv(apart) == "":
		os.Exit(runApart())
	}
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	for _, dir := range volatile {
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/oci: namespaces of its own:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// volatile are the folders where programs keep what is for this boot alone.
var volatile = []string{"/run", "/dev/shm"}

// runApart runs this program again in namespaces of its own.
func runApart() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "tests/oci:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// A runtime is `kapsel oci` with a --root of its own.
type runtime struct {
	t       *testing.T
	dir     string // of the test, for all files
	root    string // --root
	log     string // --log
	command string
	made    []string        // the IDs of what was created, for the end
	before  map[string]bool // what was there before, and what the test made itself
}

// A result is what a call of the runtime came to.
type result struct {
	status   int
	out, err string
	log      string // what it added to --log
}

// asRoot skips a test of another user's.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the tests make namespaces and cgroups: run them as root")
	}
}

// start gives a test a runtime. When the test has ended its containers are deleted, and nothing is left behind.
func start(t *testing.T) *runtime {
	t.Helper()
	asRoot(t)
	dir := t.TempDir()
	r := &runtime{t: t, dir: dir, root: filepath.Join(dir, "root"), log: filepath.Join(dir, "log"), command: machine.File(t, "kapsel")}
	r.before = look(dir)
	t.Cleanup(func() {
		for _, id := range r.made {
			r.run("delete", "--force", id)
		}
		reap(t)
		assert.Empty(t, r.left(), "is left behind")
		for _, pid := range descendants(os.Getpid()) { // it is not the next test's fault
			syscall.Kill(pid, syscall.SIGKILL)
		}
		reap(t)
	})
	return r
}

// arguments are those of a call.
func (r *runtime) arguments(args []string) []string {
	return append([]string{"oci", "--root", r.root, "--log", r.log, "--log-format", "json"}, args...)
}

// environment has temporary files made where they are looked for.
func (r *runtime) environment() []string { return append(os.Environ(), "TMPDIR="+r.dir) }

// prepare makes a call of the runtime, with files as standard streams: a container keeps them.
func (r *runtime) prepare(ctx context.Context, args ...string) (cmd *exec.Cmd, finish func() result) {
	r.t.Helper()
	out, errs := r.temp(args), r.temp(args)
	logged, _ := os.ReadFile(r.log)
	cmd = exec.CommandContext(ctx, r.command, r.arguments(args)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.environment(), out, errs
	return cmd, func() result {
		defer out.Close()
		defer errs.Close()
		log, _ := os.ReadFile(r.log)
		return result{cmd.ProcessState.ExitCode(), read(r.t, out.Name()), read(r.t, errs.Name()), string(bytes.TrimPrefix(log, logged))}
	}
}

// run calls the runtime to its end.
func (r *runtime) run(args ...string) result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd, finish := r.prepare(ctx, args...)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		r.t.Fatalf("kapsel oci %s: %v", strings.Join(args, " "), err)
	}
	require.NoError(r.t, ctx.Err(), "kapsel oci %s does not end", strings.Join(args, " "))
	return finish()
}

// succeeds calls the runtime, which does what it is told.
func (r *runtime) succeeds(args ...string) result {
	r.t.Helper()
	res := r.run(args...)
	require.Zero(r.t, res.status, "kapsel oci %s: %s", strings.Join(args, " "), res.err)
	return res
}

// fails calls the runtime, which says why it does not do what it is told.
func (r *runtime) fails(args ...string) result {
	r.t.Helper()
	res := r.run(args...)
	require.NotZero(r.t, res.status, "kapsel oci %s: no error; printed %q", strings.Join(args, " "), res.out)
	assert.NotEmpty(r.t, res.err, "no words on standard error")
	return res
}

// A container is one that the runtime was told to create.
type container struct {
	*runtime
	id     string
	bundle *bundle
	pid    int
}

// name gives a container an ID that no other test has, so that it can be found in what is left behind.
func (r *runtime) name() string {
	id := fmt.Sprintf("kapsel-test-%d-%d", os.Getpid(), numbers.Add(1))
	r.made = append(r.made, id)
	return id
}

// creation are the arguments that create a container of the bundle.
func creation(id string, b *bundle, flags ...string) []string {
	return append(append([]string{"create", "--bundle", b.dir}, flags...), id)
}

// create makes a container of the bundle.
func (r *runtime) create(b *bundle, flags ...string) *container {
	r.t.Helper()
	c := &container{runtime: r, id: r.name(), bundle: b}
	b.write(c.id)
	r.succeeds(creation(c.id, b, flags...)...)
	c.pid = c.state().Pid
	return c
}

// refuses tries to create a container of the bundle, which is an error and leaves nothing behind.
func (r *runtime) refuses(b *bundle) result {
	r.t.Helper()
	id := r.name()
	b.write(id)
	before := look(r.dir)
	res := r.fails(creation(id, b)...)
	assert.Empty(r.t, r.since(before), "an error leaves this behind")
	r.fails("state", id)
	return res
}

// started makes and starts a container of the bundle.
func (r *runtime) started(b *bundle) *container {
	r.t.Helper()
	c := r.create(b)
	c.succeeds("start", c.id)
	return c
}

// state is what the runtime says of the container.
func (c *container) state() specs.State {
	c.t.Helper()
	var s specs.State
	require.NoError(c.t, json.Unmarshal([]byte(c.succeeds("state", c.id).out), &s))
	return s
}

// console is what the container printed up to now; its standard output is that of create.
func (c *container) console() string {
	var all strings.Builder
	names, _ := filepath.Glob(filepath.Join(c.dir, "streams", c.id+".*"))
	for _, name := range names {
		all.WriteString(read(c.t, name))
	}
	return all.String()
}

// prints waits until the container has printed the text.
func (c *container) prints(text string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.console(), text) }, patience, 20*time.Millisecond,
		"the container does not print %q", text)
}

// ends waits for the end of the container's process, which is our child, and returns how it ended.
func (c *container) ends() syscall.WaitStatus {
	c.t.Helper()
	return waitFor(c.t, c.pid)
}

// stop ends the container's process.
func (c *container) stop() {
	c.t.Helper()
	c.succeeds("kill", c.id, "KILL")
	c.ends()
}

// waitFor waits for the end of a child.
func waitFor(t *testing.T, pid int) syscall.WaitStatus {
	t.Helper()
	var status syscall.WaitStatus
	require.Eventually(t, func() bool {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		return got == pid || err == syscall.ECHILD
	}, patience, 5*time.Millisecond, "process %d does not end", pid)
	return status
}

// temp makes a file for a standard stream of a call, by whose last argument, an ID, it is named.
func (r *runtime) temp(args []string) *os.File {
	r.t.Helper()
	dir := filepath.Join(r.dir, "streams")
	require.NoError(r.t, os.MkdirAll(dir, 0o700))
	name := "other"
	if n := len(args); n > 0 && slices.Contains(r.made, args[n-1]) {
		name = args[n-1]
	}
	f, err := os.CreateTemp(dir, name+".*")
	require.NoError(r.t, err)
	return f
}

// read is a file's text.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}
