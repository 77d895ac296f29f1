package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runtime.md, Scope of a Container and State.
var stateMusts = []must{
	{"operations by who created", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		assert.Equal(t, specs.StateCreated, c.state().Status)
		c.succeeds("start", c.id)
		assert.Equal(t, specs.StateRunning, c.state().Status)
		c.succeeds("kill", c.id, "KILL")
		assert.Equal(t, syscall.SIGKILL, c.ends().Signal())
		assert.Equal(t, specs.StateStopped, c.state().Status)
		c.succeeds("delete", c.id)
		c.fails("state", c.id)
	}},
	{"an ID is one container's", func(t *testing.T, r *runtime) {
		first, second := r.create(r.sleeper()), r.create(r.sleeper())
		assert.NotEqual(t, first.pid, second.pid)
		assert.Equal(t, first.bundle.dir, first.state().Bundle)
		assert.Equal(t, second.bundle.dir, second.state().Bundle)
		first.succeeds("delete", "--force", first.id)
		assert.Equal(t, specs.StateCreated, second.state().Status)
	}},
	{"a status is one of the four", func(t *testing.T, r *runtime) {
		b := r.greeter().hooked(nil)
		c := r.started(b)
		c.ends()
		c.succeeds("delete", c.id)
		for _, f := range r.found() {
			assert.Contains(t, []specs.ContainerState{specs.StateCreating, specs.StateCreated, specs.StateRunning, specs.StateStopped}, f.State.Status, f.Name)
		}
	}},
	{"state has what is required", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		s := c.state()
		assert.Regexp(t, `^1\.\d+\.\d+`, s.Version)
		assert.Equal(t, c.id, s.ID)
		assert.Equal(t, specs.StateCreated, s.Status)
		assert.Positive(t, s.Pid)
		assert.NoError(t, syscall.Kill(s.Pid, 0), "a process has that pid")
		assert.Equal(t, c.bundle.dir, s.Bundle)
		assert.Equal(t, c.bundle.spec.Annotations, s.Annotations)
		c.succeeds("start", c.id)
		assert.Equal(t, s.Pid, c.state().Pid, "the container's process is the same one")
	}},
	{"state keeps to its schema", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		check := func() {
			var s map[string]any
			require.NoError(t, json.Unmarshal([]byte(c.succeeds("state", c.id).out), &s))
			for _, name := range []string{"ociVersion", "id", "status", "bundle"} {
				assert.IsType(t, "", s[name], name)
			}
			if pid, ok := s["pid"]; ok {
				require.IsType(t, float64(0), pid)
				assert.GreaterOrEqual(t, pid, float64(0))
			}
			for key, value := range s["annotations"].(map[string]any) {
				assert.IsType(t, "", value, key)
			}
		}
		check()
		c.stop()
		check()
	}},
}

// runtime.md, Lifecycle. The steps' hooks are hookMusts.
var lifecycleMusts = []must{
	{"the environment is as configured", func(t *testing.T, r *runtime) {
		b := r.sleeper().with(func(s *specs.Spec) {
			s.Process.OOMScoreAdj = ptr(500)
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}}
		})
		c := r.create(b)
		own, its := namespacesOf("self"), namespacesOf(text(c.pid))
		for _, kind := range []string{"net", "ipc", "uts", "mnt"} {
			assert.NotEqual(t, own[kind], its[kind], kind)
		}
		assert.Equal(t, "500\n", read(t, "/proc/"+text(c.pid)+"/oom_score_adj"))
		assert.Contains(t, quota(t, c.id), "50000")
	}},
	{"what cannot be made is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/self/ns/none" }))
	}},
	{"create runs no program", func(t *testing.T, r *runtime) {
		c := r.create(r.greeter())
		assert.Equal(t, specs.StateCreated, c.state().Status)
		assert.DirExists(t, filepath.Join("/proc", text(c.pid)), "its process is there")
		assert.Len(t, descendants(c.pid), 0, "and no emulator")
		assert.NotContains(t, c.console(), greeting)
		c.succeeds("start", c.id)
		c.prints(greeting)
		c.ends()
	}},
	{"config.json can change after create", func(t *testing.T, r *runtime) {
		c := r.create(r.greeter())
		before := c.state()
		require.NoError(t, os.WriteFile(c.bundle.file("config.json"), []byte("no configuration any more"), 0o644))
		assert.Equal(t, before, c.state())
		c.succeeds("start", c.id)
		c.prints(greeting)
		c.ends()
		c.succeeds("delete", c.id)
	}},
	{"delete undoes create", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		id := r.name()
		b.write(id)
		before := look(r.dir)
		r.succeeds(creation(id, b)...)
		c := &container{runtime: r, id: id, bundle: b}
		c.pid = c.state().Pid
		c.stop()
		c.succeeds("delete", id)
		assert.Empty(t, r.since(before))
	}},
}

// runtime.md, Errors and Warnings.
var errorMusts = []must{
	{"an error leaves no trace", func(t *testing.T, r *runtime) {
		for name, spoil := range spoilt {
			t.Log(name)
			b := r.sleeper()
			spoil(b)
			r.refuses(b)
		}
		c := r.create(r.sleeper())
		before := look(r.dir)
		state := c.state()
		c.fails("delete", c.id)
		c.fails(creation(c.id, c.bundle)...)
		c.fails("kill", c.id, "NOSUCH")
		assert.Equal(t, state, c.state())
		assert.Empty(t, missing(before, look(r.dir)))
		assert.Empty(t, missing(look(r.dir), before))
	}},
	{"a warning is no error", func(t *testing.T, r *runtime) {
		b := r.greeter().with(func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_OF_NOBODY"}}
		})
		c := r.started(b)
		c.prints(greeting)
		c.ends()
		c.succeeds("delete", c.id)
	}},
}

// spoilt are bundles of which no container can be made, each failing at another step.
var spoilt = map[string]func(b *bundle){
	"no root":       func(b *bundle) { b.spec.Root.Path = "none" },
	"no kernel":     func(b *bundle) { b.spec.Annotations["org.kapsel.kernel"] = "/none" },
	"no task":       func(b *bundle) { b.spec.Annotations["org.kapsel.tasks"] = "/kernel.elf" },
	"a namespace":   func(b *bundle) { b.spec.Linux.Namespaces[1].Path = "/none" },
	"a cgroup":      func(b *bundle) { b.spec.Linux.Resources = unknownController() },
	"a limit":       func(b *bundle) { b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NONE"}} },
	"a hook's path": func(b *bundle) { b.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/none"}}} },
	"a hook": func(b *bundle) {
		b.spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{b.hook("createContainer 1", "fail")}}
	},
}

// runtime.md, Operations.
var operationMusts = []must{
	{"each operation is there", func(t *testing.T, r *runtime) {
		for _, verb := range []string{"state", "create", "start", "kill", "delete"} {
			res := r.fails(verb)
			assert.NotContains(t, res.err, "unknown", verb)
			assert.Contains(t, res.err, "ID", verb)
		}
	}},
	{"state without an ID", func(t *testing.T, r *runtime) { r.fails("state"); r.fails("state", "") }},
	{"state of no container", func(t *testing.T, r *runtime) { r.fails("state", r.name()) }},
	{"state returns the state", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		var statuses []specs.ContainerState
		next := func() { statuses = append(statuses, c.state().Status) }
		next()
		c.succeeds("start", c.id)
		next()
		c.stop()
		next()
		assert.Equal(t, []specs.ContainerState{specs.StateCreated, specs.StateRunning, specs.StateStopped}, statuses)
	}},

	{"create without bundle or ID", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		b.write("none")
		r.fails("create", "--bundle", b.dir)
		r.fails("create", "--bundle", b.dir, "")
		r.fails("create", r.name()) // the current folder is no bundle
		r.fails("create", "--bundle", "", r.name())
	}},
	{"create with an ID that is taken", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		state := c.state()
		other := r.sleeper()
		other.write(c.id)
		before := look(r.dir)
		c.fails(creation(c.id, other)...)
		assert.Empty(t, missing(look(r.dir), before))
		assert.Empty(t, missing(before, look(r.dir)))
		assert.Equal(t, state, c.state())
	}},
	{"create with an ID that is none", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		for _, id := range []string{".", "..", "../out", "a/b", "/a", "a b", "a\nb", strings.Repeat("a", 5000)} {
			b.write("none")
			before := look(r.dir)
			r.fails(append(creation("--", b), id)...)
			assert.Empty(t, r.since(before), "%.20q", id)
		}
	}},
	{"create makes a container", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		assert.Equal(t, specs.StateCreated, c.state().Status)
		assert.Contains(t, r.succeeds("list").out, c.id)
	}},
	{"create applies all but the process", func(t *testing.T, r *runtime) {
		b := r.sleeper().with(func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{r.hook("createRuntime 1", "")}}
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(70000)), Period: ptr(uint64(100000))}}
		})
		c := r.create(b)
		assert.NotEqual(t, namespacesOf("self")["net"], namespacesOf(text(c.pid))["net"])
		assert.Contains(t, quota(t, c.id), "70000")
		assert.True(t, inGroup(t, c.pid, group(c.id)), "its process is in the cgroup")
		assert.Equal(t, []string{"createRuntime 1"}, r.called())
		assert.Equal(t, b.spec.Annotations, c.state().Annotations)
	}},
	{"create does not apply the arguments", func(t *testing.T, r *runtime) {
		c := r.create(r.greeter())
		assert.NotContains(t, command(c.pid), "kernel.elf")
		c.stop()
		assert.NotContains(t, c.console(), "Kapsel", "no kernel ever ran")
		c.succeeds("delete", c.id)
	}},
	{"create cannot apply a property", func(t *testing.T, r *runtime) {
		b := r.sleeper().with(func(s *specs.Spec) { s.Linux.Resources = unknownController() })
		r.refuses(b)
	}},

	{"start without an ID", func(t *testing.T, r *runtime) { r.fails("start"); r.fails("start", "") }},
	{"start of what is not created", func(t *testing.T, r *runtime) {
		r.fails("start", r.name())
		c := r.started(r.sleeper())
		c.prints(asleep)
		children := descendants(c.pid)
		c.fails("start", c.id)
		assert.Equal(t, specs.StateRunning, c.state().Status)
		assert.Equal(t, children, descendants(c.pid), "the machine is the one that was")
		c.stop()
		c.fails("start", c.id)
		assert.Equal(t, specs.StateStopped, c.state().Status)
	}},
	{"start runs the program", func(t *testing.T, r *runtime) {
		c := r.started(r.greeter())
		assert.Contains(t, []specs.ContainerState{specs.StateRunning, specs.StateStopped}, c.state().Status)
		assert.Zero(t, c.ends().ExitStatus())
		assert.Contains(t, c.console(), greeting)
		assert.Equal(t, specs.StateStopped, c.state().Status)
	}},
	{"start without a process", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().with(func(s *specs.Spec) { s.Process = nil }))
		c.fails("start", c.id)
		assert.Equal(t, specs.StateCreated, c.state().Status)
	}},

	{"kill without an ID", func(t *testing.T, r *runtime) { r.fails("kill"); r.fails("kill", "") }},
	{"kill of what does not run", func(t *testing.T, r *runtime) {
		r.fails("kill", r.name(), "TERM")
		c := r.create(r.sleeper())
		c.stop()
		before := c.state()
		c.fails("kill", c.id, "TERM")
		assert.Equal(t, before, c.state())
	}},
	{"kill sends the signal", func(t *testing.T, r *runtime) {
		created := r.create(r.sleeper())
		created.succeeds("kill", created.id, "KILL")
		assert.Equal(t, syscall.SIGKILL, created.ends().Signal(), "one that is created")
		for _, signal := range []string{"TERM", "SIGTERM", "15"} {
			c := r.started(r.sleeper())
			if signal == "TERM" { // the others may come before it is ready for them
				c.prints(asleep)
			}
			c.succeeds("kill", c.id, signal)
			assert.Equal(t, 128+int(syscall.SIGTERM), c.ends().ExitStatus(), "the monitor ends by SIGTERM as it does else: %s", c.console())
		}
	}},

	{"delete without an ID", func(t *testing.T, r *runtime) { r.fails("delete"); r.fails("delete", "") }},
	{"delete of what has not stopped", func(t *testing.T, r *runtime) {
		r.fails("delete", r.name())
		c := r.create(r.sleeper())
		c.fails("delete", c.id)
		assert.Equal(t, specs.StateCreated, c.state().Status)
		c.succeeds("start", c.id)
		c.prints(asleep)
		c.fails("delete", c.id)
		assert.Equal(t, specs.StateRunning, c.state().Status)
		assert.NoError(t, syscall.Kill(c.pid, 0))
	}},
	{"delete deletes what create made", func(t *testing.T, r *runtime) {
		c := r.started(r.greeter())
		c.ends()
		assert.NotEmpty(t, r.left(), "a cgroup and the state, at the least")
		c.succeeds("delete", c.id)
		assert.Empty(t, r.left())
		again := r.greeter()
		again.write(c.id)
		c.succeeds(creation(c.id, again)...) // the ID is free
	}},
	{"delete leaves what create did not make", func(t *testing.T, r *runtime) {
		pid := sleep(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC)
		b := r.sleeper().with(func(s *specs.Spec) {
			for i := range s.Linux.Namespaces {
				switch n := &s.Linux.Namespaces[i]; n.Type {
				case specs.NetworkNamespace:
					n.Path = "/proc/" + text(pid) + "/ns/net"
				case specs.IPCNamespace:
					n.Path = "/proc/" + text(pid) + "/ns/ipc"
				}
			}
		})
		id := r.name()
		beside := makeGroup(t, group(id)+"-beside")
		before := namespacesOf(text(pid))
		b.write(id)
		r.succeeds(creation(id, b)...)
		c := &container{runtime: r, id: id, bundle: b}
		c.pid = c.state().Pid
		c.stop()
		c.succeeds("delete", id)
		assert.Equal(t, before, namespacesOf(text(pid)))
		for _, dir := range beside {
			assert.DirExists(t, dir)
		}
		assert.FileExists(t, b.file("config.json"))
		assert.FileExists(t, b.file("rootfs/kernel.elf"))
	}},
}

// missing is what is in the first only.
func missing(first, second map[string]bool) []string {
	var all []string
	for what := range first {
		if !second[what] {
			all = append(all, what)
		}
	}
	slices.Sort(all)
	return all
}
