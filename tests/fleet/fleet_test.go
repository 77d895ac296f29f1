package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/tools/ociimage"
)

// patience ends a command, or a wait, that does not end: far more than any takes, also when 20 emulated machines share a processor.
const patience = 90 * time.Second

// Images, as each engine knows them.
const (
	passenger = "localhost/passenger:1"  // of Kapsel
	httpd     = "localhost/httpd:1"      // of Kapsel, on the network of its container
	httpdUser = "localhost/httpd-user:1" // of Kapsel, with a network of the monitor's
	ordinary  = "localhost/plain:1"      // of Linux
)

// A container is what an engine is to run.
type container struct {
	name   string
	image  string // empty: passenger
	args   []string
	env    []string
	tty    bool
	stdin  bool
	memory int64   // bytes, 0 for no limit
	cpus   float64 // 0 for no limit
	volume string  // of the host's, which is to appear as /data
	port   int     // of the host's, where the guest's port 80 is to be; 0 for none
}

// words are all arguments of a container, the first being the image's entrypoint.
func (c container) words() []string {
	switch c.image {
	case ordinary:
		return append([]string{"/plain"}, c.args...)
	case httpd, httpdUser:
		return append([]string{"/httpd.tbf"}, c.args...)
	}
	return append([]string{"/passenger.tbf"}, c.args...)
}

// inside is the port of the container's network that the host's is forwarded to.
func (c container) inside() int {
	if c.image == httpdUser {
		return 8082
	}
	return 80
}

// An engine runs containers. Its methods fail the test if the engine does.
type engine interface {
	// run runs a container to its end, and returns what it printed and its status.
	run(t *testing.T, c container) (output string, status int)
	// attach is run with input: what is to be written when the container has printed the words.
	attach(t *testing.T, c container, words, input string) (output string, status int)
	// start starts a container that runs by itself until remove.
	start(t *testing.T, c container)
	logs(t *testing.T, name string) string
	// inspect tells whether a container runs, and the process of its machine.
	inspect(t *testing.T, name string) (running bool, pid int)
	// stop asks a container to end; kill ends it.
	stop(t *testing.T, name string)
	kill(t *testing.T, name string)
	// wait waits for a container's end and returns its status.
	wait(t *testing.T, name string) int
	remove(t *testing.T, name string)
}

// engines are all there are, by name. Each is made when the first test asks for it.
var engines = []struct {
	name string
	get  func(t *testing.T) engine
}{{"podman", getPodman}, {"ctr", getCtr}, {"cri", getCRI}, {"docker", getDocker}}

// each runs a test with each engine that is here.
func each(t *testing.T, test func(t *testing.T, e engine)) {
	ran := false
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			engine := e.get(t)
			ran = true
			t.Cleanup(func() { nothingLeft(t) })
			test(t, engine)
		})
	}
	if !ran && !t.Failed() {
		t.Skip("no engine could be run")
	}
}

// nothingLeft checks that containers that were removed leave no process and no cgroup. What ends with its parent may take a moment longer.
func nothingLeft(t *testing.T) {
	t.Helper()
	var left []string
	eventually(t, func() string { return fmt.Sprintf("nothing is left; but %q", left) }, func() bool {
		left = leftovers(t)
		return len(left) == 0
	})
}

// leftovers are machines' processes, by their command lines, and containers' cgroups.
func leftovers(t *testing.T) []string {
	t.Helper()
	left, err := findCgroups(parent + "/*/cgroup.procs")
	require.NoError(t, err)
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range all {
		b, err := os.ReadFile(path)
		if word, _, _ := strings.Cut(string(b), "\x00"); err == nil && (word == "kapsel" || strings.Contains(word, "qemu-system")) {
			left = append(left, string(b))
		}
	}
	return left
}

// file is a file of the build folder.
func file(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("KAPSEL_BUILD")
	if dir == "" {
		dir = filepath.Join("..", "..", "build")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "scripts/test builds it")
	return path
}

// runtimePath is the runtime: the command by its other name.
var runtimePath = sync.OnceValue(func() string { return filepath.Join(root(), "kapsel-oci") })

// root is a folder for what engines keep, which ends with the namespaces.
var root = sync.OnceValue(func() string {
	const dir = "/run/fleet"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
})

// setUp makes the images, and skips the test where no engine can run.
func setUp(t *testing.T, commands ...string) {
	t.Helper()
	if os.Getenv(stage) == "" {
		t.Skip("engines run as root alone")
	}
	for _, name := range commands {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v: scripts/test installs it", err)
		}
	}
	makeImages(t)
}

var made sync.Once

// makeImages finds or makes the images' archives, and gives the runtime its name.
func makeImages(t *testing.T) {
	t.Helper()
	made.Do(func() {
		require.NoError(t, os.Symlink(file(t, "kapsel"), runtimePath()))
		for _, name := range []string{"passenger", "httpd", "httpd-user"} {
			archives = append(archives, file(t, "test/"+name+".tar"))
		}
		content, err := os.ReadFile(file(t, "test/plain"))
		require.NoError(t, err)
		image := ociimage.Image{Name: ordinary, Entrypoint: []string{"/plain"}, Files: []ociimage.File{{Path: "plain", Content: content, Program: true}}}
		var archive bytes.Buffer
		require.NoError(t, image.Write(&archive))
		path := filepath.Join(root(), "plain.tar")
		require.NoError(t, os.WriteFile(path, archive.Bytes(), 0o644))
		archives = append(archives, path)
	})
}

// archives are the images' archives: those of Kapsel's are made by scripts/image.
var archives []string

// A result is how a command ended.
type result struct {
	output string // standard output
	errors string // standard error
	status int
}

// command carries out a command, with an input, and fails the test if it takes too long.
func command(t *testing.T, input string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // not the test's: cleaning up needs commands, too
	defer cancel()
	var out, err bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &err
	c.WaitDelay = 5 * time.Second
	failure := c.Run()
	r := result{output: out.String(), errors: err.String(), status: c.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if failure != nil && (ctx.Err() != nil || !errors.As(failure, &exit)) {
		t.Fatalf("%s %s: %v after %v\n%s%s", name, strings.Join(args, " "), failure, patience, r.output, r.errors)
	}
	return r
}

// succeed is command, whose status is to be 0; it returns the standard output.
func succeed(t *testing.T, input string, name string, args ...string) string {
	t.Helper()
	r := command(t, input, name, args...)
	require.Zero(t, r.status, "%s %s:\n%s%s", name, strings.Join(args, " "), r.output, r.errors)
	return r.output
}

// eventually waits until something holds.
func eventually(t *testing.T, what func() string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what())
		}
	}
}

// printed waits until a container's log has the words.
func printed(t *testing.T, e engine, name, words string) {
	t.Helper()
	log, looks := "", 0
	what := func() string { return fmt.Sprintf("%q in the log of %s:\n%s", words, name, log) }
	eventually(t, what, func() bool {
		running := true
		if looks++; looks%50 == 0 {
			running, _ = e.inspect(t, name)
		}
		log = e.logs(t, name)
		found := strings.Contains(log, words)
		require.True(t, running || found, "it has ended: %s", what())
		return found
	})
}
