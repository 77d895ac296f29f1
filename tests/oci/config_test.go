package oci

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bundle.md, and of glossary.md what JSON is.
var bundleMusts = []must{
	{"config.json is in the bundle's folder", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		res := r.fails(creation(r.name(), b)...)
		assert.Contains(t, res.err, "config.json")
		require.NoError(t, os.Mkdir(b.file("rootfs/deeper"), 0o755))
		require.NoError(t, os.WriteFile(b.file("rootfs/deeper/config.json"), b.config("none"), 0o644))
		b.expect(b.file("rootfs/deeper"), b.file("rootfs/deeper/config.json"))
		r.fails(creation(r.name(), b)...)
		c := r.create(b)
		assert.Equal(t, b.dir, c.state().Bundle)
	}},
	{"JSON is UTF-8", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		id := r.name()
		b.write(id)
		text := strings.Replace(string(b.config(id)), `"value"`, "\"\xff\xfe\"", 1)
		require.NoError(t, os.WriteFile(b.file("config.json"), []byte(text), 0o644))
		r.fails(creation(id, b)...)
	}},
	{"JSON has no name twice", func(t *testing.T, r *runtime) {
		b := r.sleeper()
		id := r.name()
		b.write(id)
		text := strings.Replace(string(b.config(id)), `"root":`, `"root":{"path":"none"},"root":`, 1)
		require.NoError(t, os.WriteFile(b.file("config.json"), []byte(text), 0o644))
		r.fails(creation(id, b)...)
	}},
}

// config.md but for the process, hooks and annotations.
var configMusts = []must{
	{"ociVersion is a semantic version", func(t *testing.T, r *runtime) {
		for _, version := range []string{"", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "one"} {
			b := r.sleeper()
			b.spec.Version = version
			r.refuses(b)
		}
		b := r.sleeper()
		b.spec.Version = "1.0.2-dev+build"
		c := r.create(b)
		assert.Equal(t, specs.StateCreated, c.state().Status)
	}},
	{"root.path is a folder", func(t *testing.T, r *runtime) {
		for _, path := range []string{"none", "config.json", ""} {
			r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Root.Path = path }))
		}
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Root = nil }))
		b := r.greeter()
		b.spec.Root.Path = b.file("rootfs")
		assert.Zero(t, r.started(b).ends().ExitStatus(), "an absolute path")
	}},
	{"a root that is only read is not written", func(t *testing.T, r *runtime) {
		b := r.greeter().with(func(s *specs.Spec) { s.Root.Readonly = true })
		c := r.started(b)
		assert.Zero(t, c.ends().ExitStatus())
		c.prints(greeting)
		entries, err := os.ReadDir(b.file("rootfs"))
		require.NoError(t, err)
		assert.Len(t, entries, 2)
	}},
	{"unknown properties are ignored", func(t *testing.T, r *runtime) {
		b := r.greeter().edit(func(config map[string]any) {
			config["unknown"] = map[string]any{"a": []any{1, "b", nil}}
			config["linux"].(map[string]any)["unknown"] = 1
			config["process"].(map[string]any)["unknown"] = "x"
		})
		c := r.started(b)
		c.prints(greeting)
		c.ends()
	}},
	{"invalid values are errors", func(t *testing.T, r *runtime) {
		for _, f := range []func(config map[string]any){
			func(c map[string]any) { c["process"].(map[string]any)["cwd"] = 1 },
			func(c map[string]any) { c["process"].(map[string]any)["args"] = "not a list" },
			func(c map[string]any) { c["process"].(map[string]any)["args"] = []string{} },
			func(c map[string]any) { c["root"] = "rootfs" },
			func(c map[string]any) { c["annotations"] = []string{"a"} },
			func(c map[string]any) {
				c["linux"].(map[string]any)["namespaces"] = []any{map[string]any{"type": "none"}}
			},
			func(c map[string]any) { c["linux"].(map[string]any)["namespaces"] = []any{map[string]any{}} },
			func(c map[string]any) { c["process"].(map[string]any)["oomScoreAdj"] = 2000 },
		} {
			r.refuses(r.sleeper().edit(f))
		}
	}},
}

// config.md, Process.
var processMusts = []must{
	{"consoleSize without a terminal is ignored", func(t *testing.T, r *runtime) {
		b := r.greeter().with(func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 1, Width: 1} })
		c := r.started(b)
		c.prints(greeting)
		assert.Zero(t, c.ends().ExitStatus())
	}},
	{"cwd is absolute", func(t *testing.T, r *runtime) {
		for _, cwd := range []string{"", ".", "tmp"} {
			r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Process.Cwd = cwd }))
		}
	}},
	{"an unknown limit is an error", func(t *testing.T, r *runtime) {
		for _, kind := range []string{"RLIMIT_NONE", "", "NOFILE"} {
			r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: kind, Soft: 64, Hard: 64}} }))
		}
	}},
	{"limits are the process'", func(t *testing.T, r *runtime) {
		b := r.sleeper().with(func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 500, Hard: 600}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 4096}}
		})
		c := r.create(b) // once it runs, the program may have changed them itself, as Go's runtime does
		limits := read(t, "/proc/"+text(c.pid)+"/limits")
		assert.Regexp(t, `(?m)^Max open files +500 +600 `, limits)
		assert.Regexp(t, `(?m)^Max core file size +0 +4096 `, limits)
	}},
	{"a limit twice is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().with(func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 64}, {Type: "RLIMIT_NOFILE", Soft: 64, Hard: 64}}
		}))
	}},
	{"a capability that cannot be granted is a warning", func(t *testing.T, r *runtime) {
		b := r.sleeper().with(func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_OF_NOBODY", "CAP_CHOWN"}, Ambient: []string{"CAP_KILL"}}
		})
		id := r.name()
		b.write(id)
		res := r.succeeds(creation(id, b)...)
		assert.Contains(t, levels(t, res.log), "warning")
		assert.Contains(t, res.log, "CAP_OF_NOBODY")
		assert.Contains(t, res.log, "not granted: ambient CAP_KILL")
		assert.NotContains(t, res.log, "CAP_CHOWN")
		r.succeeds("start", id)
	}},
	{"oomScoreAdj is set", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().with(func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(321) }))
		assert.Equal(t, "321\n", read(t, "/proc/"+text(c.pid)+"/oom_score_adj"))
		c.succeeds("start", c.id)
		c.prints(asleep)
		assert.Equal(t, "321\n", read(t, "/proc/"+text(c.pid)+"/oom_score_adj"))
	}},
	{"oomScoreAdj is left alone", func(t *testing.T, r *runtime) {
		own := read(t, "/proc/self/oom_score_adj")
		c := r.started(r.sleeper())
		c.prints(asleep)
		assert.Equal(t, own, read(t, "/proc/"+text(c.pid)+"/oom_score_adj"))
	}},
}

// config.md, Annotations.
var annotationMusts = []must{
	{"annotations are strings by name", func(t *testing.T, r *runtime) {
		for _, value := range []any{1, []string{"a"}, map[string]any{"b": "c"}, true} {
			r.refuses(r.sleeper().edit(func(config map[string]any) { config["annotations"].(map[string]any)["org.example.other"] = value }))
		}
	}},
	{"an annotation has a name", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Annotations[""] = "x" }))
	}},
	{"unknown annotations are ignored", func(t *testing.T, r *runtime) {
		b := r.greeter().with(func(s *specs.Spec) {
			s.Annotations["org.example.unknown"] = "x"
			s.Annotations["org.kapsel.unknown"] = "x"
			s.Annotations["org.example.empty"] = ""
		})
		c := r.started(b)
		c.prints(greeting)
		c.ends()
		assert.Equal(t, b.spec.Annotations, c.state().Annotations)
	}},
}

// runtime.md, Lifecycle, steps 3 to 13, and config.md, POSIX-platform Hooks.
var hookMusts = []must{
	{"hooks of create", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		assert.Equal(t, calledBy("create"), r.called())
		assert.Equal(t, specs.StateCreated, c.state().Status)
		for _, f := range r.found() {
			if f.Name != "createContainer 1" && f.Name != "createContainer 2" {
				assert.Equal(t, c.pid, f.State.Pid, f.Name)
				assert.NotEmpty(t, f.Command, "%s: the container's process is there", f.Name)
			}
		}
	}},
	{"hooks of start", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		c.succeeds("start", c.id)
		assert.Equal(t, append(calledBy("create"), calledBy("start")...), r.called())
		for _, f := range r.found() {
			if strings.HasPrefix(f.Name, "poststart") {
				assert.Contains(t, f.Command, " run ", "%s: the machine's process has been executed", f.Name)
			}
		}
	}},
	{"startContainer hooks are before the program", func(t *testing.T, r *runtime) {
		b := r.sleeper().hooked(map[string]string{"startContainer 1": "hang"})
		b.spec.Hooks.StartContainer[0].Timeout = ptr(1)
		c := r.create(b)
		c.fails("start", c.id)
		reap(t)
		assert.NotContains(t, c.console(), "Kapsel", "no kernel ever ran")
	}},
	{"hooks of delete", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		c.stop()
		assert.NotContains(t, strings.Join(r.called(), " "), "poststop")
		c.succeeds("delete", c.id)
		all := r.found()
		assert.Equal(t, append(calledBy("create"), calledBy("delete")...), r.called())
		for _, f := range all[len(all)-2:] {
			assert.Equal(t, specs.StateStopped, f.State.Status, f.Name)
			assert.NotContains(t, strings.Join(f.Root, " "), c.id, "%s: the container is deleted", f.Name)
		}
	}},
	{"a prestart hook fails", failsIn("prestart", "create")},
	{"a createRuntime hook fails", failsIn("createRuntime", "create")},
	{"a createContainer hook fails", failsIn("createContainer", "create")},
	{"a startContainer hook fails", failsIn("startContainer", "start")},
	{"a poststart hook fails", failsIn("poststart", "start")},
	{"a poststop hook fails", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(map[string]string{"poststop 1": "fail"}))
		c.stop()
		res := c.succeeds("delete", c.id)
		assert.Equal(t, append(calledBy("create"), calledBy("delete")...), r.called(), "the next one is called all the same")
		assert.Contains(t, levels(t, res.log), "warning")
		c.fails("state", c.id)
	}},
	{"a hook's path is absolute", func(t *testing.T, r *runtime) {
		for _, p := range points {
			b := r.sleeper().hooked(nil)
			(*p.list(b.spec.Hooks))[0].Path = "bin/true"
			r.refuses(b)
			assert.Empty(t, r.called(), "none is called")
		}
	}},
	{"a hook's timeout is above zero", func(t *testing.T, r *runtime) {
		for _, p := range points {
			for _, timeout := range []int{0, -1} {
				b := r.sleeper().hooked(nil)
				(*p.list(b.spec.Hooks))[0].Timeout = &timeout
				r.refuses(b)
			}
		}
	}},
	{"a hook's timeout ends it", func(t *testing.T, r *runtime) {
		b := r.sleeper().hooked(map[string]string{"createRuntime 2": "hang"})
		b.spec.Hooks.CreateRuntime[1].Timeout = ptr(1)
		began := time.Now()
		r.refuses(b)
		assert.Less(t, time.Since(began), patience)
	}},
	{"hooks are in order, each with the state", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		c.succeeds("start", c.id)
		c.stop()
		c.succeeds("delete", c.id)
		assert.Equal(t, append(append(calledBy("create"), calledBy("start")...), calledBy("delete")...), r.called())
		status := map[string][]specs.ContainerState{
			"prestart": {specs.StateCreating}, "createRuntime": {specs.StateCreating}, "createContainer": {specs.StateCreating},
			"startContainer": {specs.StateCreated}, "poststart": {specs.StateRunning}, "poststop": {specs.StateStopped},
		}
		for _, f := range r.found() {
			kind, _, _ := strings.Cut(f.Name, " ")
			assert.Equal(t, c.id, f.State.ID, f.Name)
			assert.Equal(t, c.bundle.dir, f.State.Bundle, f.Name)
			assert.Equal(t, c.bundle.spec.Annotations, f.State.Annotations, f.Name)
			assert.Contains(t, status[kind], f.State.Status, f.Name)
			assert.Equal(t, []string{f.Name, "an argument"}, f.Args)
			assert.Len(t, f.Env, 3, "%s: its environment is that of config.json", f.Name)
		}
	}},
	{"hooks of the runtime's namespaces", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		c.succeeds("start", c.id)
		c.stop()
		c.succeeds("delete", c.id)
		own := namespacesOf("self")
		for _, f := range r.found() {
			for _, p := range points {
				if !p.container && strings.HasPrefix(f.Name, p.name+" ") {
					assert.Equal(t, own, f.Namespaces, f.Name)
				}
			}
		}
	}},
	{"hooks of the container's namespaces", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().hooked(nil))
		its := namespacesOf(text(c.pid))
		c.succeeds("start", c.id)
		for _, f := range r.found() {
			for _, p := range points {
				if p.container && strings.HasPrefix(f.Name, p.name+" ") {
					assert.Equal(t, its, f.Namespaces, f.Name)
				}
			}
		}
	}},
}

// calledBy are the names of the hooks that an operation calls.
func calledBy(operation string) (names []string) {
	for _, p := range points {
		if p.operation == operation {
			names = append(names, p.name+" 1", p.name+" 2")
		}
	}
	return names
}

// failsIn is the test of a hook that fails: the operation is an error and calls no further hook but those of poststop, the container is stopped and destroyed.
func failsIn(kind, operation string) func(t *testing.T, r *runtime) {
	return func(t *testing.T, r *runtime) {
		b := r.sleeper().hooked(map[string]string{kind + " 1": "fail"})
		id := r.name()
		b.write(id)
		before := look(r.dir)
		var res result
		if operation == "create" {
			res = r.fails(creation(id, b)...)
		} else {
			r.succeeds(creation(id, b)...)
			res = r.fails("start", id)
		}
		for _, word := range []string{kind, "the hook's own words", "3"} {
			assert.Contains(t, res.err, word)
		}
		assert.Empty(t, r.since(before), "the container is destroyed")
		want := []string{}
		for _, p := range points {
			if p.name == kind {
				break
			}
			want = append(want, p.name+" 1", p.name+" 2")
		}
		assert.Equal(t, append(append(want, kind+" 1"), calledBy("delete")...), r.called())
		r.fails("state", id)
	}
}
