package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// containerdConfig has containerd keep all it has in one folder, and not ask for what only root of a whole machine may give. What a user adds to it for Kapsel
// stands behind it (docs/kubernetes.md).
const containerdConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[1]s/sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/plain:1"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[2]s"
    conf_dir = "%[1]s/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`

// podNetwork is the network of pods: a bridge, with ports of the host's forwarded.
const podNetwork = `{
  "cniVersion": "0.4.0", "name": "fleet",
  "plugins": [
    {"type": "bridge", "bridge": "fleet0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}`

// containerd is the daemon, which getCtr and getCRI share.
var containerd struct {
	once    sync.Once
	process *exec.Cmd
	log     string // its file
}

// socket is containerd's.
func socket() string { return filepath.Join(root(), "containerd", "sock") }

// startContainerd starts the daemon at its first call, with all images.
func startContainerd(t *testing.T) {
	t.Helper()
	setUp(t, "containerd", "ctr", "runc")
	containerd.once.Do(func() {
		dir := filepath.Join(root(), "containerd")
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "net.d"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "net.d", "10-fleet.conflist"), []byte(podNetwork), 0o644))
		plugins := "/opt/cni/bin"
		if _, err := os.Stat("/usr/lib/cni"); err == nil {
			plugins = "/usr/lib/cni"
		}
		handler := strings.ReplaceAll(document(t, "containerd.toml"), "/usr/local/bin/kapsel-oci", runtimePath())
		require.Contains(t, handler, runtimePath(), "docs/kubernetes.md names the runtime")
		config := filepath.Join(dir, "config.toml")
		require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(containerdConfig, dir, plugins)+handler), 0o644))
		containerd.log = filepath.Join(dir, "log")
		log, err := os.Create(containerd.log)
		require.NoError(t, err)
		c := exec.Command("containerd", "--config", config)
		c.Stdout, c.Stderr = log, log
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, c.Start())
		containerd.process = c
		eventually(t, func() string { return "containerd answers:\n" + from(containerd.log, 0) }, func() bool {
			return command(t, "", "ctr", "--address", socket(), "version").status == 0
		})
		for _, namespace := range []string{"default", "k8s.io"} {
			for _, archive := range archives {
				succeed(t, "", "ctr", "--address", socket(), "--namespace", namespace, "image", "import", archive)
			}
		}
		t.Log(succeed(t, "", "containerd", "--version") + succeed(t, "", "runc", "--version"))
	})
	require.NotNil(t, containerd.process, "containerd did not start: see the first test that needed it")
	before := size(containerd.log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd's log of this test:\n%s", from(containerd.log, before))
		}
	})
}

// size is how long a file is.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// stopEngines ends the daemons. What containers are left ends with the namespaces.
func stopEngines() {
	for _, c := range []*exec.Cmd{dockerd.process, containerd.process} {
		if c != nil {
			c.Process.Signal(syscall.SIGTERM)
			c.Wait()
		}
	}
}

// from is a file from an offset on, of which the last bytes are kept.
func from(path string, offset int64) string {
	const most = 32 << 10
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(offset, int64(len(b)-most)):])
}

// ctr is an engine: containerd, by its own client.
type ctr struct{ program }

func getCtr(t *testing.T) engine {
	t.Helper()
	startContainerd(t)
	return ctr{program{"ctr", []string{"--address", socket()}}}
}

// running is the command "ctr run" for a container.
func (e ctr) running(c container, flags ...string) []string {
	args := append([]string{"run", "--runc-binary", runtimePath(), "--cgroup", "/" + parent + "/" + c.name}, flags...)
	if c.port != 0 {
		args = append(args, "--net-host")
	}
	for _, v := range c.env {
		args = append(args, "--env", v)
	}
	if c.tty {
		args = append(args, "--tty")
	}
	if c.memory != 0 {
		args = append(args, "--memory-limit", strconv.FormatInt(c.memory, 10))
	}
	if c.cpus != 0 {
		args = append(args, "--cpus", strconv.FormatFloat(c.cpus, 'f', -1, 64))
	}
	if c.volume != "" {
		args = append(args, "--mount", "type=bind,options=rbind:rw,dst=/data,src="+c.volume)
	}
	if c.image == "" {
		c.image = passenger
	}
	return append(append(args, c.image, c.name), c.words()...)
}

func (e ctr) run(t *testing.T, c container) (string, int) {
	t.Helper()
	r := e.do(t, e.running(c, "--rm")...)
	t.Logf("ctr's standard error: %s", r.errors)
	return r.output, r.status
}

func (e ctr) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	return e.converse(t, c, words, input, e.running(c, "--rm")...)
}

// logFile is where a container of ctr's writes.
func (ctr) logFile(name string) string { return filepath.Join(root(), name+".log") }

func (e ctr) start(t *testing.T, c container) {
	t.Helper()
	e.must(t, e.running(c, "--detach", "--log-uri", "file://"+e.logFile(c.name))...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.name, from(e.logFile(c.name), 0))
		}
		e.do(t, "task", "delete", "--force", c.name)
		e.do(t, "container", "delete", c.name)
	})
}

func (e ctr) logs(t *testing.T, name string) string { return from(e.logFile(name), 0) }

func (e ctr) inspect(t *testing.T, name string) (bool, int) {
	t.Helper()
	for _, line := range strings.Split(e.must(t, "task", "list"), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			pid, err := strconv.Atoi(f[1])
			require.NoError(t, err)
			return f[2] == "RUNNING", pid
		}
	}
	t.Fatalf("ctr task list has no %s", name)
	return false, 0
}

func (e ctr) stop(t *testing.T, name string) {
	t.Helper()
	e.must(t, "task", "kill", "--signal", "SIGTERM", name)
}

func (e ctr) kill(t *testing.T, name string) {
	t.Helper()
	e.must(t, "task", "kill", "--signal", "SIGKILL", name)
}

// wait is by "task delete", which tells a status that is not 0 by a warning, and fails while the task runs.
func (e ctr) wait(t *testing.T, name string) int {
	t.Helper()
	eventually(t, func() string { return name + " ends" }, func() bool {
		running, _ := e.inspect(t, name)
		return !running
	})
	_, status, found := strings.Cut(e.do(t, "task", "delete", name).errors, "exit with non-zero exit code ")
	if !found {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimRight(status, "\"\n"))
	require.NoError(t, err)
	return n
}

func (e ctr) remove(t *testing.T, name string) {
	t.Helper()
	e.must(t, "container", "delete", name)
}
