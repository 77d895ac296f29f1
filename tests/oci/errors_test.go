package oci

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/errors.golden anew")

// An entry is a line of --log in the format json, which engines read to learn why a call failed.
type entry struct {
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	Time    time.Time `json:"time"`
}

// entries are the lines of a log.
func entries(t *testing.T, log string) (all []entry) {
	t.Helper()
	for line := range strings.Lines(log) {
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		var e entry
		require.NoError(t, decoder.Decode(&e), "log: %s", line)
		assert.NotEmpty(t, e.Message, "log: %s", line)
		assert.WithinDuration(t, time.Now(), e.Time, time.Hour, "log: %s", line)
		all = append(all, e)
	}
	return all
}

// levels are those of the lines of a log.
func levels(t *testing.T, log string) (all []string) {
	t.Helper()
	for _, e := range entries(t, log) {
		all = append(all, e.Level)
	}
	return all
}

// mistakes are calls that cannot succeed. Each returns the arguments, after it has done what goes before; the ID in them is c's.
var mistakes = []struct {
	name string
	call func(c *container) []string
}{
	{"no verb", func(c *container) []string { return nil }},
	{"an unknown verb", func(c *container) []string { return []string{"exec", c.id, "/bin/sh"} }},
	{"an unknown flag", func(c *container) []string { return []string{"start", "--quick", c.id} }},
	{"no ID", func(c *container) []string { return []string{"start"} }},
	{"an ID that is none", func(c *container) []string { return []string{"state", "../" + c.id} }},
	{"a word too many", func(c *container) []string { return []string{"delete", c.id, "now"} }},
	{"an unknown log format", func(c *container) []string { return []string{"--log-format", "xml", "state", c.id} }},

	{"no container", func(c *container) []string { return []string{"state", c.id} }},
	{"an ID that is taken", func(c *container) []string { c.created(); return creation(c.id, c.bundle) }},
	{"started twice", func(c *container) []string { c.created("start"); return []string{"start", c.id} }},
	{"killed when it has stopped", func(c *container) []string { c.created("kill"); c.ends(); return []string{"kill", c.id, "KILL"} }},
	{"an unknown signal", func(c *container) []string { c.created(); return []string{"kill", c.id, "SIGNOSUCH"} }},
	{"deleted while it runs", func(c *container) []string { c.created("start"); return []string{"delete", c.id} }},
	{"started without a process", func(c *container) []string {
		c.bundle.spec.Process = nil
		c.created()
		return []string{"start", c.id}
	}},

	{"no bundle", func(c *container) []string { return []string{"create", "--bundle", filepath.Join(c.dir, "none"), c.id} }},
	{"no JSON", func(c *container) []string {
		args := c.creation(nil)
		require.NoError(c.t, os.WriteFile(c.bundle.file("config.json"), []byte(`{"ociVersion": 1.3}`), 0o644))
		return args
	}},
	{"a name twice", func(c *container) []string {
		args := c.creation(nil)
		require.NoError(c.t, os.WriteFile(c.bundle.file("config.json"), []byte(`{"root": {"path": "a", "path": "b"}}`), 0o644))
		return args
	}},
	{"a version to come", func(c *container) []string { return c.creation(func(s *specs.Spec) { s.Version = "2.0.0" }) }},
	{"no root", func(c *container) []string { return c.creation(func(s *specs.Spec) { s.Root.Path = "none" }) }},
	{"a relative cwd", func(c *container) []string { return c.creation(func(s *specs.Spec) { s.Process.Cwd = "home" }) }},
	{"no kernel", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Annotations["org.kapsel.kernel"] = "/none.elf" })
	}},
	{"a kernel that is none", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Annotations["org.kapsel.kernel"] = "/task.tbf" })
	}},
	{"a task that is none", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Annotations["org.kapsel.tasks"] = "/kernel.elf" })
	}},
	{"a size that is none", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Annotations["org.kapsel.memory"] = "much" })
	}},
	{"too small a limit", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20))}}
		})
	}},
	{"a folder as a disk", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/data", Source: c.bundle.file("rootfs"), Type: "bind"}}
		})
	}},
	{"a network of no words", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Annotations["org.kapsel.net"] = "fast" })
	}},
	{"a terminal for nobody", func(c *container) []string { return c.creation(func(s *specs.Spec) { s.Process.Terminal = true }) }},
	{"an unknown namespace", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.Namespaces = []specs.LinuxNamespace{{Type: "planet"}} })
	}},
	{"a namespace that is not there", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/self/ns/none" })
	}},
	{"a namespace of another kind", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/self/ns/uts" })
	}},
	{"an unknown limit", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "NOFILE"}} })
	}},
	{"an unknown controller", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.Resources = unknownController() })
	}},
	{"a device to move", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}} })
	}},
	{"a class of service", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} })
	}},
	{"a relative hook", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "bin/true"}}} })
	}},
	{"a hook that is not there", func(c *container) []string {
		return c.creation(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/none/hook"}}} })
	}},
	{"a hook that fails", func(c *container) []string {
		hook := c.hook("createContainer 1", "fail")
		return c.creation(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{hook}} })
	}},
	{"a process that is killed", func(c *container) []string {
		hook := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", `kill -9 $(sed 's/.*"pid":\([0-9]*\).*/\1/')`}, Env: []string{"PATH=/usr/bin:/bin"}}
		return c.creation(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{hook}} })
	}},
	{"too small a limit of addresses", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_AS", Soft: 1 << 30, Hard: 1 << 30}}
		})
	}},
	{"the runtime's own user namespace to join", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/1/ns/user"})
		})
	}},
	{"a user namespace that is a file", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/dev/null"})
		})
	}},
	{"a time namespace of another kind", func(c *container) []string {
		return c.creation(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace, Path: "/proc/1/ns/uts"})
		})
	}},
	{"a hook that hangs", func(c *container) []string {
		hook := c.hook("createRuntime 1", "hang")
		hook.Timeout = ptr(1)
		return c.creation(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{hook}} })
	}},
}

// creation are the arguments that create the container of its bundle, changed.
func (c *container) creation(change func(s *specs.Spec)) []string {
	if change != nil {
		change(c.bundle.spec)
	}
	c.bundle.write(c.id)
	return creation(c.id, c.bundle)
}

// created has it created, and then start or kill called.
func (c *container) created(verbs ...string) {
	c.t.Helper()
	c.succeeds(c.creation(nil)...)
	c.pid = c.state().Pid
	for _, verb := range verbs {
		args := []string{verb, c.id}
		if verb == "kill" {
			args = append(args, "KILL")
		}
		c.succeeds(args...)
	}
}

// TestErrors: what each mistake says, on standard error and in the log, is that of testdata/errors.golden: what failed, what was found, what is wanted
// and what to do. And it leaves nothing behind.
func TestErrors(t *testing.T) {
	const golden = "testdata/errors.golden"
	asRoot(t)
	said, want := "", read(t, golden)
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			r := start(t)
			c := &container{runtime: r, id: r.name(), bundle: r.sleeper()}
			args := m.call(c)
			before := look(r.dir)
			res := r.fails(args...)
			words, ok := strings.CutPrefix(strings.TrimSpace(res.err), "kapsel: ")
			assert.True(t, ok, "standard error: %s", res.err)
			if m.name == "an unknown log format" {
				assert.Contains(t, res.log, "level=error msg=") // as text, for want of another format
			} else if logged := entries(t, res.log); assert.Len(t, logged, 1) {
				assert.Equal(t, "error", logged[0].Level)
				assert.Equal(t, words, logged[0].Message)
			}
			if c.pid == 0 {
				assert.Empty(t, r.since(before), "an error leaves this behind")
			}
			line := m.name + ": " + c.plain(words) + "\n"
			said += line
			if !*update {
				assert.Contains(t, want, line)
			}
		})
	}
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(said), 0o644))
	}
}

// plain has names in the place of what is another each time.
func (c *container) plain(words string) string {
	program, _ := os.Executable()
	for _, r := range []struct{ old, new string }{
		{c.bundle.dir, "$BUNDLE"}, {c.dir, "$DIR"}, {c.id, "$ID"}, {program, "$HOOK"}, {filepath.Dir(c.command), "$BUILD"},
	} {
		words = strings.ReplaceAll(words, r.old, r.new)
	}
	return regexp.MustCompile(`process \d+`).ReplaceAllString(words, "process $$PID")
}
