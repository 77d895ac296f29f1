package fleet

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A manifest is what Kubernetes is given, as far as the documents of docs/kubernetes.md go: what is not here may not stand in them.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name        string
		Annotations map[string]string
	}
	Handler string // of a RuntimeClass
	Spec    struct {
		RuntimeClassName string `yaml:"runtimeClassName"`
		Containers       []manifestContainer
	}
}

type manifestContainer struct {
	Name, Image     string
	ImagePullPolicy string `yaml:"imagePullPolicy"`
	Args            []string
	Env             []struct{ Name, Value string }
	Ports           []struct {
		ContainerPort int `yaml:"containerPort"`
		HostPort      int `yaml:"hostPort"`
	}
	Resources struct {
		Limits struct{ Memory, CPU string }
	}
}

// parseManifest reads a document of docs/kubernetes.md.
func parseManifest(t *testing.T, name, kind string) (m manifest) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader([]byte(document(t, name))))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&m), name)
	require.Equal(t, kind, m.Kind)
	return m
}

// handler is the runtime handler that the RuntimeClass names.
func handler(t *testing.T) string {
	t.Helper()
	return parseManifest(t, "runtimeclass.yaml", "RuntimeClass").Handler
}

// quantity reads one of Kubernetes' quantities with a unit, in units of 1/1000 if that is m.
func quantity(t *testing.T, text string) int64 {
	t.Helper()
	number, scale := strings.TrimSuffix(text, "Mi"), int64(1<<20)
	if number == text {
		number, scale = strings.TrimSuffix(text, "m"), 1
	}
	n, err := strconv.ParseInt(number, 10, 64)
	require.NoError(t, err, "want Mi or m")
	return n * scale
}

// container is the container that a kubelet makes of it.
func (m manifestContainer) container(t *testing.T) container {
	t.Helper()
	c := container{
		name: m.Name, image: m.Image, args: m.Args,
		memory: quantity(t, m.Resources.Limits.Memory), cpus: float64(quantity(t, m.Resources.Limits.CPU)) / 1000,
	}
	for _, v := range m.Env {
		c.env = append(c.env, v.Name+"="+v.Value)
	}
	return c
}

// TestPod: the pod of docs/kubernetes.md, as a kubelet starts it: a pause container and an ordinary one by runc, and between them one of Kapsel's, which has the
// pod's annotations and its network.
func TestPod(t *testing.T) {
	e := getCRI(t).(cri)
	t.Cleanup(func() { nothingLeft(t) })
	m := parseManifest(t, "pod.yaml", "Pod")
	require.Equal(t, parseManifest(t, "runtimeclass.yaml", "RuntimeClass").Metadata.Name, m.Spec.RuntimeClassName)
	pod := e.pod(container{name: m.Metadata.Name, port: 1})
	pod["annotations"] = m.Metadata.Annotations
	var ports []message
	for _, c := range m.Spec.Containers {
		for _, p := range c.Ports {
			ports = append(ports, message{"container_port": p.ContainerPort, "host_port": p.HostPort})
		}
	}
	require.Len(t, ports, 1)
	pod["port_mappings"] = ports
	e.startPod(t, m.Metadata.Name, pod)
	for _, c := range m.Spec.Containers {
		e.create(t, m.Metadata.Name, c.Name, pod, e.config(c.container(t)))
		e.call(t, "StartContainer", message{"container_id": id(t, e.containers, c.Name)})
	}

	require.Len(t, m.Spec.Containers, 2)
	web, beside := m.Spec.Containers[0].Name, m.Spec.Containers[1].Name
	printed(t, e, web, "httpd: ")
	assert.Contains(t, e.logs(t, web), " 32768 KiB of memory\n", "by the pod's annotation")
	assert.Contains(t, fetch(t, "http://127.0.0.1:"+strconv.Itoa(ports[0]["host_port"].(int))+"/"), "Kapsel")
	printed(t, e, beside, "waiting\n")

	_, pid := e.inspect(t, web)
	assert.Regexp(t, `^kapsel\x00run\x00`, commandLine(t, pid))
	_, pid = e.inspect(t, beside)
	assert.Regexp(t, `^/plain\x00`, commandLine(t, pid))
	assert.Regexp(t, `^/plain\x00`, commandLine(t, e.pausePID(t, m.Metadata.Name)))

	e.stop(t, beside)
	assert.Zero(t, e.wait(t, beside))
	assert.Contains(t, e.logs(t, beside), "asked to end\n")
	e.stop(t, web)
	assert.Equal(t, 143, e.wait(t, web))
	e.removePod(t, m.Metadata.Name)
}

// pausePID is the process of a pod's pause container.
func (e cri) pausePID(t *testing.T, pod string) int {
	t.Helper()
	answer := e.call(t, "PodSandboxStatus", message{"pod_sandbox_id": id(t, e.pods, pod), "verbose": true})
	var info struct{ PID int }
	require.NoError(t, json.Unmarshal([]byte(answer["info"].(map[string]any)["info"].(string)), &info))
	return info.PID
}

// TestOrdinaryContainer: a container without anything of Kapsel's is run by runc.
func TestOrdinaryContainer(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		output, status := e.run(t, container{name: "ordinary", image: ordinary, args: []string{"tell", "it"}, env: []string{"CARGO=coal"}})
		assert.Zero(t, status)
		assert.Equal(t, "arguments: it\nCARGO is coal\n", output)
		_, status = e.run(t, container{name: "ordinary-exit", image: ordinary, args: []string{"exit", "3"}})
		assert.Equal(t, 3, status)
	})
}

// TestRefusalReachesTheUser: what Kapsel refuses is told by the engine in Kapsel's words.
func TestRefusalReachesTheUser(t *testing.T) {
	const words = "is a directory, and a guest has no file system"
	each(t, func(t *testing.T, e engine) {
		c := container{name: "refused", args: []string{"stay"}, volume: t.TempDir()}
		var r result
		switch e := e.(type) {
		case interface {
			do(t *testing.T, args ...string) result
			running(c container, flags ...string) []string
		}:
			r = e.do(t, e.running(c, "--rm")...)
		case cri:
			pod := e.pod(c)
			e.startPod(t, c.name, pod)
			e.create(t, c.name, c.name, pod, e.config(c))
			r = command(t, `{"container_id": "`+id(t, e.containers, c.name)+`"}`, file(t, "test/cri"), socket(), "StartContainer")
			e.removePod(t, c.name)
		}
		assert.NotZero(t, r.status)
		assert.Contains(t, r.errors, words)
	})
}
