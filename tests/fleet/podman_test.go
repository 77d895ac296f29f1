package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// podmanConfig has podman need no systemd, and ask for no more than root of a small machine may give.
const podmanConfig = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
network_config_dir = "/run/fleet/podman-networks"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
`

type podman struct{}

var podmanOnce sync.Once

// getPodman prepares podman at its first call.
func getPodman(t *testing.T) engine {
	t.Helper()
	setUp(t, "podman")
	podmanOnce.Do(func() {
		config := filepath.Join(root(), "containers.conf")
		require.NoError(t, os.WriteFile(config, []byte(podmanConfig), 0o644))
		require.NoError(t, os.Setenv("CONTAINERS_CONF", config))
		for _, archive := range archives {
			succeed(t, "", "podman", "load", "-i", archive)
		}
		require.NoError(t, os.MkdirAll("/run/fleet/podman-networks", 0o755))
		t.Logf("%s%s", succeed(t, "", "podman", "--version"), succeed(t, "", "podman", "info", "--format",
			"cgroups {{.Host.CgroupsVersion}}, network {{.Host.NetworkBackend}}, storage {{.Store.GraphDriverName}}"))
	})
	return podman{}
}

// do carries out a command of podman's, with Kapsel as the runtime.
func (podman) do(t *testing.T, input string, args ...string) result {
	t.Helper()
	return command(t, input, "podman", append([]string{"--runtime", runtimePath()}, args...)...)
}

// must is do, which is to succeed.
func (podman) must(t *testing.T, args ...string) string {
	t.Helper()
	return succeed(t, "", "podman", append([]string{"--runtime", runtimePath()}, args...)...)
}

// arguments are those of "podman run" for a container.
func (podman) arguments(c container, flags ...string) []string {
	args := append([]string{"run", "--cgroups=no-conmon", "--cgroup-parent=/" + parent}, flags...)
	if c.name != "" {
		args = append(args, "--name", c.name)
	}
	if c.port != 0 {
		args = append(args, "--publish", fmt.Sprintf("%d:%d", c.port, c.inside()))
	} else {
		args = append(args, "--network=none")
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

func (p podman) run(t *testing.T, c container) (string, int) {
	t.Helper()
	r := p.do(t, "", p.arguments(c, "--rm")...)
	t.Logf("podman's standard error: %s", r.errors)
	require.NotContains(t, r.errors, "kapsel: warning: container", "an ordinary command has nothing that Kapsel warns of")
	return r.output, r.status
}

func (p podman) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	return converse(t, c.tty, words, input, "podman", append([]string{"--runtime", runtimePath()}, p.arguments(c, "--rm")...)...)
}

func (p podman) start(t *testing.T, c container) {
	t.Helper()
	p.started(t, c)
}

// started is start with more flags.
func (p podman) started(t *testing.T, c container, flags ...string) {
	t.Helper()
	p.must(t, p.arguments(c, append(flags, "--detach")...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.name, p.logs(t, c.name))
		}
		p.do(t, "", "rm", "--force", "--time=0", "--ignore", c.name)
	})
}

func (p podman) logs(t *testing.T, name string) string {
	t.Helper()
	r := p.do(t, "", "logs", name)
	return r.output + r.errors
}

func (p podman) inspect(t *testing.T, name string) (bool, int) {
	t.Helper()
	running, pid, _ := strings.Cut(strings.TrimSpace(p.must(t, "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", name)), " ")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	return running == "true", n
}

func (p podman) stop(t *testing.T, name string) {
	t.Helper()
	p.must(t, "stop", "--time=60", name)
}

func (p podman) kill(t *testing.T, name string) {
	t.Helper()
	p.must(t, "kill", "--signal=KILL", name)
}

func (p podman) wait(t *testing.T, name string) int {
	t.Helper()
	status, err := strconv.Atoi(strings.TrimSpace(p.must(t, "wait", name)))
	require.NoError(t, err)
	return status
}

func (p podman) remove(t *testing.T, name string) {
	t.Helper()
	p.must(t, "rm", name)
}

// TestPodmanUserNamespace: with a user namespace podman fills the network namespace when the container has been created. The guest is asked at its own address, and the container is
// removed whatever podman says to that: podman 4.3 was seen to leave forwarded ports of such containers, and to find its own mount of shm busy.
func TestPodmanUserNamespace(t *testing.T) {
	p := getPodman(t).(podman)
	t.Cleanup(func() { nothingLeft(t) })
	const words = "httpd: http://"
	c := container{name: "mapped", image: httpd, port: 8084}
	p.started(t, c, "--uidmap=0:100000:65536", "--gidmap=0:100000:65536", "--ipc=none")
	printed(t, p, c.name, words)
	_, after, _ := strings.Cut(p.logs(t, c.name), words)
	address, _, _ := strings.Cut(after, "/")
	assert.Contains(t, fetch(t, "http://"+address+"/"), "Kapsel")
}
