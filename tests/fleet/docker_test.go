package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dockerSettings have Docker's daemon keep all it has in one folder, and leave the machine's packet filter alone; what a user adds for Kapsel is in docs/kubernetes.md.
const dockerSettings = `{
  "data-root": "%[1]s/data", "exec-root": "%[1]s/exec", "pidfile": "%[1]s/pid", "hosts": ["unix://%[1]s/sock"],
  "iptables": false, "ip6tables": false, "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"]
}`

// docker is an engine: the daemon and its client.
type docker struct{ dockerLike }

func newDocker() docker {
	return docker{dockerLike{program{"docker", []string{"--host", "unix://" + dockerDir() + "/sock"}}}}
}

// dockerd is the daemon.
var dockerd struct {
	once    sync.Once
	process *exec.Cmd
	log     string // its file
}

// dockerDir is the folder for what Docker keeps.
func dockerDir() string { return filepath.Join(root(), "docker") }

// getDocker starts the daemon at its first call, with all images.
func getDocker(t *testing.T) engine {
	t.Helper()
	setUp(t, "dockerd", "docker", "containerd", "runc", "iptables")
	dockerd.once.Do(func() {
		require.NoError(t, os.MkdirAll(dockerDir(), 0o755))
		settings := map[string]any{}
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, dockerSettings, dockerDir()), &settings))
		added := strings.ReplaceAll(document(t, "daemon.json"), "/usr/local/bin/kapsel-oci", runtimePath())
		require.Contains(t, added, runtimePath(), "docs/kubernetes.md names the runtime")
		require.NoError(t, json.Unmarshal([]byte(added), &settings))
		text, err := json.Marshal(settings)
		require.NoError(t, err)
		config := filepath.Join(dockerDir(), "daemon.json")
		require.NoError(t, os.WriteFile(config, text, 0o644))
		dockerd.log = filepath.Join(dockerDir(), "log")
		log, err := os.Create(dockerd.log)
		require.NoError(t, err)
		c := exec.Command("dockerd", "--config-file", config)
		c.Stdout, c.Stderr = log, log
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, c.Start())
		dockerd.process = c
		eventually(t, func() string { return "dockerd answers:\n" + from(dockerd.log, 0) }, func() bool {
			return newDocker().do(t, "version").status == 0
		})
		for _, archive := range archives {
			newDocker().must(t, "load", "--input", archive)
		}
		t.Log(newDocker().must(t, "version", "--format", "docker {{.Client.Version}}, dockerd {{.Server.Version}}"))
	})
	require.NotNil(t, dockerd.process, "dockerd did not start: see the first test that needed it")
	before := size(dockerd.log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dockerd's log of this test:\n%s", from(dockerd.log, before))
		}
	})
	return newDocker()
}

// running is the command "docker run" for a container.
func (d docker) running(c container, flags ...string) []string {
	args := append([]string{"run", "--runtime", "kapsel", "--cgroup-parent", "/" + parent}, flags...)
	if c.port != 0 {
		args = append(args, "--publish", fmt.Sprintf("%d:%d", c.port, c.inside()))
	}
	return append(args, d.flags(c)...)
}

func (d docker) run(t *testing.T, c container) (string, int) {
	t.Helper()
	r := d.do(t, d.running(c, "--rm")...)
	t.Logf("docker's standard error: %s", r.errors)
	return r.output, r.status
}

func (d docker) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	return d.converse(t, c, words, input, d.running(c, "--rm")...)
}

func (d docker) start(t *testing.T, c container) {
	t.Helper()
	d.removed(t, c, d.running(c, "--detach"), "rm", "--force")
}

// TestDockerOrdinary: with Kapsel as the default runtime ordinary containers are runc's.
func TestDockerOrdinary(t *testing.T) {
	d := getDocker(t).(docker)
	t.Cleanup(func() { nothingLeft(t) })
	out := d.must(t, "run", "--rm", "--runtime", "kapsel", "--cgroup-parent", "/"+parent, "--name", "ordinary", ordinary, "tell", "one")
	assert.Contains(t, out, "arguments: one\n")
}
