package fleet

import (
	"fmt"
	"os"
	"path/filepath"
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

// podman is an engine, with Kapsel as the runtime.
type podman struct{ dockerLike }

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
	return podman{dockerLike{program{"podman", []string{"--runtime", runtimePath()}}}}
}

// running is the command "podman run" for a container.
func (p podman) running(c container, flags ...string) []string {
	args := append([]string{"run", "--cgroups=no-conmon", "--cgroup-parent=/" + parent}, flags...)
	if c.port != 0 {
		args = append(args, "--publish", fmt.Sprintf("%d:%d", c.port, c.inside()))
	} else {
		args = append(args, "--network=none")
	}
	return append(args, p.flags(c)...)
}

func (p podman) run(t *testing.T, c container) (string, int) {
	t.Helper()
	r := p.do(t, p.running(c, "--rm")...)
	t.Logf("podman's standard error: %s", r.errors)
	require.NotContains(t, r.errors, "kapsel: warning: container", "an ordinary command has nothing that Kapsel warns of")
	return r.output, r.status
}

func (p podman) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	return p.converse(t, c, words, input, p.running(c, "--rm")...)
}

func (p podman) start(t *testing.T, c container) {
	t.Helper()
	p.started(t, c)
}

// started is start with more flags.
func (p podman) started(t *testing.T, c container, flags ...string) {
	t.Helper()
	p.removed(t, c, p.running(c, append(flags, "--detach")...), "rm", "--force", "--time=0", "--ignore")
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
