package fleet

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program is an engine's client.
type program struct {
	name   string
	global []string // arguments before each command
}

// with is a command, behind the program's arguments.
func (p program) with(args ...string) []string { return slices.Concat(p.global, args) }

// do carries out a command.
func (p program) do(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, "", p.name, p.with(args...)...)
}

// must is do, which is to succeed.
func (p program) must(t *testing.T, args ...string) string {
	t.Helper()
	return succeed(t, "", p.name, p.with(args...)...)
}

// converse runs a container with input, as engine.attach does.
func (p program) converse(t *testing.T, c container, words, input string, args ...string) (string, int) {
	t.Helper()
	return converse(t, c.tty, words, input, p.name, p.with(args...)...)
}

// dockerLike is a program with docker's words, as podman is one.
type dockerLike struct{ program }

// flags are those of "run" that are the same in all, and the image with what is behind it.
func (dockerLike) flags(c container) (args []string) {
	if c.name != "" {
		args = append(args, "--name", c.name)
	}
	for _, e := range c.env {
		args = append(args, "--env", e)
	}
	if c.tty {
		args = append(args, "--tty")
	}
	if c.stdin {
		args = append(args, "--interactive")
	}
	if c.memory != 0 {
		args = append(args, "--memory", strconv.FormatInt(c.memory, 10))
	}
	if c.cpus != 0 {
		args = append(args, "--cpus", strconv.FormatFloat(c.cpus, 'f', -1, 64))
	}
	if c.volume != "" {
		args = append(args, "--volume", c.volume+":/data")
	}
	if c.image == "" {
		c.image = passenger
	}
	return append(append(args, c.image), c.args...)
}

func (d dockerLike) logs(t *testing.T, name string) string {
	t.Helper()
	r := d.do(t, "logs", name)
	return r.output + r.errors
}

func (d dockerLike) inspect(t *testing.T, name string) (bool, int) {
	t.Helper()
	running, pid, _ := strings.Cut(strings.TrimSpace(d.must(t, "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", name)), " ")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	return running == "true", n
}

func (d dockerLike) stop(t *testing.T, name string) {
	t.Helper()
	d.must(t, "stop", "--time=60", name)
}

func (d dockerLike) kill(t *testing.T, name string) {
	t.Helper()
	d.must(t, "kill", "--signal=KILL", name)
}

func (d dockerLike) wait(t *testing.T, name string) int {
	t.Helper()
	status, err := strconv.Atoi(strings.TrimSpace(d.must(t, "wait", name)))
	require.NoError(t, err)
	return status
}

func (d dockerLike) remove(t *testing.T, name string) {
	t.Helper()
	d.must(t, "rm", name)
}

// removed starts a container by the command args. When the test ends it is removed by another command, and what it printed is shown if the test has failed.
func (d dockerLike) removed(t *testing.T, c container, args []string, remove ...string) {
	t.Helper()
	d.must(t, args...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.name, d.logs(t, c.name))
		}
		d.do(t, append(remove, c.name)...)
	})
}
