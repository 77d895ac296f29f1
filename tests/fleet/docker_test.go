package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
type docker struct{}

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
			return docker{}.do(t, "version").status == 0
		})
		for _, archive := range archives {
			docker{}.must(t, "load", "--input", archive)
		}
		t.Log(docker{}.must(t, "version", "--format", "docker {{.Client.Version}}, dockerd {{.Server.Version}}"))
	})
	require.NotNil(t, dockerd.process, "dockerd did not start: see the first test that needed it")
	before := size(dockerd.log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dockerd's log of this test:\n%s", from(dockerd.log, before))
		}
	})
	return docker{}
}

// arguments are those of docker.
func (docker) arguments(args ...string) []string {
	return append([]string{"--host", "unix://" + dockerDir() + "/sock"}, args...)
}

func (d docker) do(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, "", "docker", d.arguments(args...)...)
}

func (d docker) must(t *testing.T, args ...string) string {
	t.Helper()
	return succeed(t, "", "docker", d.arguments(args...)...)
}

// running are the arguments of "docker run" for a container.
func (d docker) running(c container, flags ...string) []string {
	args := append([]string{"run", "--runtime", "kapsel", "--cgroup-parent", "/" + parent, "--name", c.name}, flags...)
	if c.port != 0 {
		args = append(args, "--publish", fmt.Sprintf("%d:%d", c.port, c.inside()))
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
	return d.arguments(append(append(args, c.image), c.args...)...)
}

func (d docker) run(t *testing.T, c container) (string, int) {
	t.Helper()
	r := command(t, "", "docker", d.running(c, "--rm")...)
	t.Logf("docker's standard error: %s", r.errors)
	return r.output, r.status
}

func (d docker) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	return converse(t, c.tty, words, input, "docker", d.running(c, "--rm")...)
}

func (d docker) start(t *testing.T, c container) {
	t.Helper()
	d.must(t, d.running(c, "--detach")[2:]...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.name, d.logs(t, c.name))
		}
		d.do(t, "rm", "--force", c.name)
	})
}

func (d docker) logs(t *testing.T, name string) string {
	t.Helper()
	r := d.do(t, "logs", name)
	return r.output + r.errors
}

func (d docker) inspect(t *testing.T, name string) (bool, int) {
	t.Helper()
	running, pid, _ := strings.Cut(strings.TrimSpace(d.must(t, "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", name)), " ")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	return running == "true", n
}

func (d docker) stop(t *testing.T, name string) {
	t.Helper()
	d.must(t, "stop", "--time=60", name)
}

func (d docker) kill(t *testing.T, name string) {
	t.Helper()
	d.must(t, "kill", "--signal=KILL", name)
}

func (d docker) wait(t *testing.T, name string) int {
	t.Helper()
	status, err := strconv.Atoi(strings.TrimSpace(d.must(t, "wait", name)))
	require.NoError(t, err)
	return status
}

func (d docker) remove(t *testing.T, name string) {
	t.Helper()
	d.must(t, "rm", name)
}

// TestDockerOrdinary: with Kapsel as the default runtime ordinary containers are runc's.
func TestDockerOrdinary(t *testing.T) {
	d := getDocker(t).(docker)
	t.Cleanup(func() { nothingLeft(t) })
	out := d.must(t, "run", "--rm", "--runtime", "kapsel", "--cgroup-parent", "/"+parent, "--name", "ordinary", ordinary, "tell", "one")
	assert.Contains(t, out, "arguments: one\n")
}
