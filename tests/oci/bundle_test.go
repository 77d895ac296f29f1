package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// numbers counts containers and bundles.
var numbers atomic.Int64

// A bundle is a folder with config.json and a root file system of a kernel and task objects.
type bundle struct {
	*runtime
	dir  string
	spec *specs.Spec
	// edits change config.json where the specification's types cannot say it.
	edits []func(config map[string]any)
}

// bundle makes one as engines do, with a kernel and a task; write writes its config.json.
func (r *runtime) bundle(task string) *bundle {
	r.t.Helper()
	dir, err := os.MkdirTemp(r.dir, "bundle")
	require.NoError(r.t, err)
	b := &bundle{runtime: r, dir: dir, spec: &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: "rootfs"},
		Process:     &specs.Process{Cwd: "/", Args: []string{"/kernel.elf"}, Env: []string{"PATH=/bin"}},
		Annotations: map[string]string{"org.kapsel.kernel": "/kernel.elf", "org.kapsel.tasks": "/task.tbf", "org.example.key": "value"},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
		}},
	}}
	require.NoError(r.t, os.Mkdir(b.file("rootfs"), 0o755))
	b.expect(dir, b.file("rootfs"))
	b.put("kernel.elf", machine.Object(r.t, "bare.elf"))
	b.put("task.tbf", machine.Object(r.t, task))
	return b
}

// greeter is a bundle whose task greets and ends, sleeper one whose task says that it is ready, and waits for input that never comes.
func (r *runtime) greeter() *bundle { return r.bundle("hello.tbf") }
func (r *runtime) sleeper() *bundle { return r.bundle("test/echo.tbf") }

// What the tasks of these bundles print first.
const (
	greeting = "hello: greeting 1 of 10"
	asleep   = "echo: ready"
)

// file is the path of a file of the bundle.
func (b *bundle) file(name string) string { return filepath.Join(b.dir, name) }

// put makes a file of the root file system.
func (b *bundle) put(name string, content []byte) {
	b.t.Helper()
	path := b.file("rootfs/" + name)
	require.NoError(b.t, os.WriteFile(path, content, 0o644))
	b.expect(path)
}

// edit changes config.json where the specification's types cannot say it.
func (b *bundle) edit(f func(config map[string]any)) *bundle {
	b.edits = append(b.edits, f)
	return b
}

// group is the cgroup of a container of that ID, below all hierarchies.
func group(id string) string { return "/" + id }

// config is the text of config.json, for a container of that ID.
func (b *bundle) config(id string) []byte {
	b.t.Helper()
	spec := *b.spec
	if spec.Linux != nil && spec.Linux.CgroupsPath == "" {
		linux := *spec.Linux
		linux.CgroupsPath = group(id)
		spec.Linux = &linux
	}
	text, err := json.Marshal(&spec)
	require.NoError(b.t, err)
	if len(b.edits) == 0 {
		return text
	}
	var config map[string]any
	require.NoError(b.t, json.Unmarshal(text, &config))
	for _, f := range b.edits {
		f(config)
	}
	text, err = json.Marshal(config)
	require.NoError(b.t, err)
	return text
}

// write writes config.json.
func (b *bundle) write(id string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(b.file("config.json"), b.config(id), 0o644))
	b.expect(b.file("config.json"))
}

// with changes the specification's structure.
func (b *bundle) with(f func(s *specs.Spec)) *bundle {
	f(b.spec)
	return b
}

// expect says that the test made files itself.
func (r *runtime) expect(paths ...string) {
	for _, path := range paths {
		r.before["file "+path] = true
	}
}
