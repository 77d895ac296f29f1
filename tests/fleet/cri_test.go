package fleet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A message is one of the CRI's, in JSON.
type message map[string]any

// cri is containerd's CRI plugin. Each container is in a pod of its own.
type cri struct {
	pods, containers *sync.Map // identifiers by name
}

// logs is the folder where containers of all pods write.
const logs = "/run/fleet/logs"

var sharedCRI = cri{new(sync.Map), new(sync.Map)}

func getCRI(t *testing.T) engine {
	t.Helper()
	startContainerd(t)
	return sharedCRI
}

// call carries out a method. Its answer has integers of 64 bits as text, as JSON has it for messages.
func (cri) call(t *testing.T, method string, request message) message {
	t.Helper()
	text, err := json.Marshal(request)
	require.NoError(t, err)
	var response message
	answer := succeed(t, string(text), file(t, "test/cri"), socket(), method)
	require.NoError(t, json.Unmarshal([]byte(answer), &response), answer)
	return response
}

// id is the identifier of a pod or container.
func id(t *testing.T, ids *sync.Map, name string) string {
	t.Helper()
	v, ok := ids.Load(name)
	require.True(t, ok, name)
	return v.(string)
}

// pod is a pod's configuration. One with a port has a network of its own, the others the node's.
func (cri) pod(c container) message {
	linux := message{"cgroup_parent": "/" + parent}
	m := message{
		"metadata":      message{"name": c.name, "uid": c.name, "namespace": "fleet"},
		"log_directory": logs,
		"linux":         linux,
	}
	if c.port == 0 {
		linux["security_context"] = message{"namespace_options": message{"network": "NODE"}}
	} else {
		m["port_mappings"] = []message{{"container_port": c.inside(), "host_port": c.port}}
	}
	return m
}

// config is a container's configuration.
func (cri) config(c container) message {
	if c.image == "" {
		c.image = passenger
	}
	m := message{
		"metadata": message{"name": c.name}, "image": message{"image": c.image}, "args": c.args,
		"log_path": c.name + ".log", "tty": c.tty, "stdin": c.stdin || c.tty,
	}
	var env []message
	for _, v := range c.env {
		name, value, _ := strings.Cut(v, "=")
		env = append(env, message{"key": name, "value": []byte(value)})
	}
	m["envs"] = env
	resources := message{"memory_limit_in_bytes": c.memory}
	if c.cpus != 0 {
		const period = 100000
		resources["cpu_period"], resources["cpu_quota"] = period, int64(c.cpus*period)
	}
	m["linux"] = message{"resources": resources}
	if c.volume != "" {
		m["mounts"] = []message{{"container_path": "/data", "host_path": c.volume}}
	}
	return m
}

func (e cri) start(t *testing.T, c container) {
	t.Helper()
	pod := e.pod(c)
	e.startPod(t, c.name, pod)
	e.create(t, c.name, c.name, pod, e.config(c))
	e.call(t, "StartContainer", message{"container_id": id(t, e.containers, c.name)})
}

// startPod starts a pod's sandbox, which is removed at the test's end, with all that is in it.
func (e cri) startPod(t *testing.T, name string, pod message) {
	t.Helper()
	e.pods.Store(name, e.call(t, "RunPodSandbox", message{"config": pod, "runtime_handler": handler(t)})["podSandboxId"])
	t.Cleanup(func() { e.removePod(t, name) })
}

// create creates a container in a pod.
func (e cri) create(t *testing.T, pod, name string, podConfig, config message) {
	t.Helper()
	request := message{"pod_sandbox_id": id(t, e.pods, pod), "config": config, "sandbox_config": podConfig}
	e.containers.Store(name, e.call(t, "CreateContainer", request)["containerId"])
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, e.logs(t, name))
		}
	})
}

// removePod ends and removes a pod, if it is still there, with its container.
func (e cri) removePod(t *testing.T, name string) {
	t.Helper()
	if pod, ok := e.pods.LoadAndDelete(name); ok {
		e.call(t, "StopPodSandbox", message{"pod_sandbox_id": pod})
		e.call(t, "RemovePodSandbox", message{"pod_sandbox_id": pod})
	}
}

func (e cri) run(t *testing.T, c container) (string, int) {
	t.Helper()
	e.start(t, c)
	status := e.wait(t, c.name)
	output := e.logs(t, c.name)
	e.remove(t, c.name)
	return output, status
}

func (e cri) attach(t *testing.T, c container, words, input string) (string, int) {
	t.Helper()
	e.start(t, c)
	printed(t, e, c.name, words)
	url := e.call(t, "Attach", message{"container_id": id(t, e.containers, c.name), "stdin": true, "stdout": true, "stderr": !c.tty, "tty": c.tty})["url"].(string)
	converse(t, false, "", input, file(t, "test/cri"), "attach", url)
	status := e.wait(t, c.name)
	output := e.logs(t, c.name)
	e.remove(t, c.name)
	return output, status
}

func (cri) logFile(name string) string { return filepath.Join(logs, name+".log") }

// logs reads a log: each line has a time, a stream, F or P for whether a newline is at its end, and what was printed.
func (e cri) logs(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(e.logFile(name))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) < 4 {
			continue // it is being written
		}
		text.WriteString(f[3])
		if f[2] == "F" {
			text.WriteByte('\n')
		}
	}
	return text.String()
}

// status is a container's.
func (e cri) status(t *testing.T, name string) (status, info message) {
	t.Helper()
	answer := e.call(t, "ContainerStatus", message{"container_id": id(t, e.containers, name), "verbose": true})
	text := answer["info"].(map[string]any)["info"].(string)
	require.NoError(t, json.Unmarshal([]byte(text), &info))
	return answer["status"].(map[string]any), info
}

func (e cri) inspect(t *testing.T, name string) (bool, int) {
	t.Helper()
	status, info := e.status(t, name)
	pid, _ := info["pid"].(float64)
	return status["state"] == "CONTAINER_RUNNING", int(pid)
}

func (e cri) stop(t *testing.T, name string) {
	t.Helper()
	e.call(t, "StopContainer", message{"container_id": id(t, e.containers, name), "timeout": "60"})
}

func (e cri) kill(t *testing.T, name string) {
	t.Helper()
	e.call(t, "StopContainer", message{"container_id": id(t, e.containers, name), "timeout": "0"})
}

func (e cri) wait(t *testing.T, name string) int {
	t.Helper()
	var status message
	eventually(t, func() string { return name + " ends: " + strconv.Quote(e.logs(t, name)) }, func() bool {
		status, _ = e.status(t, name)
		return status["state"] == "CONTAINER_EXITED"
	})
	code, _ := status["exitCode"].(float64) // JSON leaves 0 out
	return int(code)
}

func (e cri) remove(t *testing.T, name string) {
	t.Helper()
	e.call(t, "RemoveContainer", message{"container_id": id(t, e.containers, name)})
	e.removePod(t, name)
}
