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
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// links are the names in /proc/PID/ns of the kinds of namespaces that config.json names.
var links = map[specs.LinuxNamespaceType]string{
	specs.MountNamespace: "mnt", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
	specs.PIDNamespace: "pid", specs.UserNamespace: "user", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time",
}

// only gives the bundle these namespaces.
func (b *bundle) only(namespaces ...specs.LinuxNamespace) *bundle {
	b.spec.Linux.Namespaces = namespaces
	return b
}

// owner is the user namespace that owns the one of a file, as /proc/PID/ns has it.
func owner(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	require.NoError(t, err)
	defer unix.Close(fd)
	name, err := os.Readlink("/proc/self/fd/" + text(fd))
	require.NoError(t, err)
	return name
}

// config-linux.md, Namespaces.
var namespaceMusts = []must{
	{"a namespace's path is absolute", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().only(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "self/ns/net"}))
	}},
	{"a namespace is that of the path", func(t *testing.T, r *runtime) {
		pid := sleep(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC|syscall.CLONE_NEWUTS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
		want := namespacesOf(text(pid))
		for _, kind := range []specs.LinuxNamespaceType{specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.PIDNamespace} {
			path := filepath.Join("/proc", text(pid), "ns", links[kind])
			c := r.create(r.sleeper().only(specs.LinuxNamespace{Type: kind, Path: path}))
			assert.Equal(t, want[links[kind]], namespacesOf(text(c.pid))[links[kind]], kind)
			c.succeeds("start", c.id)
			assert.Equal(t, want[links[kind]], namespacesOf(text(c.pid))[links[kind]], kind)
			c.stop()
			c.succeeds("delete", c.id)
		}
	}},
	{"a user namespace is that of the path", func(t *testing.T, r *runtime) {
		pid := sleep(t, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC|syscall.CLONE_NEWUTS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
		its := namespacesOf(text(pid))
		place := func(kind specs.LinuxNamespaceType) specs.LinuxNamespace {
			return specs.LinuxNamespace{Type: kind, Path: filepath.Join("/proc", text(pid), "ns", links[kind])}
		}
		var joined, made []specs.LinuxNamespace
		for _, kind := range []specs.LinuxNamespaceType{specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace, specs.MountNamespace} {
			joined, made = append(joined, place(kind)), append(made, specs.LinuxNamespace{Type: kind})
		}
		for _, others := range [][]specs.LinuxNamespace{nil, joined, made} {
			b := r.sleeper().only(append(others, place(specs.UserNamespace))...)
			if others != nil {
				b.spec.Hostname = "joined" // which takes a right in the owner of the namespace
			}
			c := r.create(b)
			for _, step := range []string{"created", "started"} {
				if step == "started" {
					c.succeeds("start", c.id)
					c.prints(asleep)
				}
				found := namespacesOf(text(c.pid))
				assert.Equal(t, its["user"], found["user"], step)
				for _, n := range others {
					link := links[n.Type]
					assert.Equal(t, n.Path != "", its[link] == found[link], "%s, %s", link, step)
					assert.NotEqual(t, namespacesOf("self")[link], found[link], "%s, %s", link, step)
					assert.Equal(t, its["user"], owner(t, "/proc/"+text(c.pid)+"/ns/"+link), "%s, %s", link, step)
				}
				for _, name := range []string{"Uid", "Gid"} {
					assert.Equal(t, slices.Repeat([]string{text(users[0].HostID)}, 4), statusOf(t, c.pid, name), "%s, %s", name, step)
				}
				assert.True(t, inGroup(t, c.pid, group(c.id)), step)
			}
			c.stop()
			c.succeeds("delete", c.id)
		}
	}},
	{"the mappings of a user namespace that is joined are its own", func(t *testing.T, r *runtime) {
		pid := sleep(t, syscall.CLONE_NEWUSER)
		b := r.sleeper().only(specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/" + text(pid) + "/ns/user"})
		b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(users[0].HostID), Size: uint32(users[0].Size)}} // as Kubernetes gives them, too
		b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
		b.spec.Process.User = specs.User{UID: 7, GID: 8}
		c := r.started(b)
		c.prints(asleep)
		assert.Equal(t, text(users[0].HostID+7), statusOf(t, c.pid, "Uid")[0])
		assert.Equal(t, text(users[0].HostID+8), statusOf(t, c.pid, "Gid")[0])
		c.stop()
		c.succeeds("delete", c.id)

		for _, wrong := range []struct {
			change func()
			want   string
		}{
			{func() { b.spec.Process.User.UID = uint32(users[0].Size) }, "process.user"},
			{func() { b.spec.Linux.UIDMappings[0].HostID++ }, "want those of the user namespace"},
		} {
			wrong.change()
			id := r.name()
			b.write(id)
			assert.Contains(t, r.fails(creation(id, b)...).err, wrong.want) // what it leaves is found at the end: refuses would wait for the process that sleeps
		}
	}},
	{"a time namespace is that of the path", func(t *testing.T, r *runtime) {
		pid := sleep(t, unix.CLONE_NEWTIME)
		path := "/proc/" + text(pid) + "/ns/time_for_children"
		want, err := os.Readlink(path)
		require.NoError(t, err)
		require.NotEqual(t, namespacesOf("self")["time"], want)
		c := r.create(r.sleeper().only(specs.LinuxNamespace{Type: specs.TimeNamespace, Path: path}))
		assert.Equal(t, want, namespacesOf(text(c.pid))["time"])
		c.succeeds("start", c.id)
		c.prints(asleep)
		assert.Equal(t, want, namespacesOf(text(c.pid))["time"])
	}},
	{"a path of another kind is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().only(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/self/ns/uts"}))
		r.refuses(r.sleeper().only(specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/self/ns/uts"}))
		r.refuses(r.sleeper().only(specs.LinuxNamespace{Type: specs.TimeNamespace, Path: "/proc/self/ns/uts"}))
		b := r.sleeper()
		r.refuses(b.only(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: b.file("rootfs/kernel.elf")}))
	}},
	{"a namespace without a path is new", func(t *testing.T, r *runtime) {
		own := namespacesOf("self")
		for kind, link := range links {
			if kind == specs.UserNamespace {
				continue // with mappings, below
			}
			c := r.create(r.sleeper().only(specs.LinuxNamespace{Type: kind}))
			its := namespacesOf(text(c.pid))
			for other, value := range its {
				if other == link {
					assert.NotEqual(t, own[other], value, kind)
				} else {
					assert.Equal(t, own[other], value, "%s, where %s is new", other, kind)
				}
			}
		}
		b := r.sleeper().only(specs.LinuxNamespace{Type: specs.UserNamespace})
		b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 10}}
		b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
		c := r.create(b)
		assert.NotEqual(t, own["user"], namespacesOf(text(c.pid))["user"])
		assert.Equal(t, []string{"0", "0", "10"}, strings.Fields(read(t, "/proc/"+text(c.pid)+"/uid_map")))
	}},
	{"a namespace that is not named is the runtime's", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper().only())
		assert.Equal(t, namespacesOf("self"), namespacesOf(text(c.pid)))
	}},
	{"a namespace twice is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().only(specs.LinuxNamespace{Type: specs.IPCNamespace}, specs.LinuxNamespace{Type: specs.IPCNamespace}))
	}},
}

// config-linux.md, Control groups, and what is an error there and in IntelRdt.
var cgroupMusts = []must{
	{"an absolute cgroupsPath is below the mount point", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		assert.True(t, inGroup(t, c.pid, group(c.id)), read(t, "/proc/"+text(c.pid)+"/cgroup"))
		c.succeeds("start", c.id)
		assert.True(t, inGroup(t, c.pid, group(c.id)))
	}},
	{"a cgroup with processes is an error", func(t *testing.T, r *runtime) {
		c := r.create(r.sleeper())
		res := r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Linux.CgroupsPath = group(c.id) }))
		assert.Contains(t, res.err, "process")
		assert.True(t, inGroup(t, c.pid, group(c.id)), "the first stays in it")
		assert.Equal(t, specs.StateCreated, c.state().Status)
	}},
	{"a cgroupsPath is always the same place", func(t *testing.T, r *runtime) {
		id := r.name()
		var places []string
		for range 2 {
			b := r.sleeper().with(func(s *specs.Spec) { s.Linux.CgroupsPath = id + "-relative" })
			c := r.create(b)
			places = append(places, read(t, "/proc/"+text(c.pid)+"/cgroup"))
			c.stop()
			c.succeeds("delete", c.id)
		}
		assert.Equal(t, places[0], places[1])
		assert.Contains(t, places[0], id+"-relative")
	}},
	{"an invalid cgroupsPath is an error", func(t *testing.T, r *runtime) {
		for _, path := range []string{"/../kapsel-out", "/a/../../../kapsel-out", "../kapsel-out"} {
			before := missingOutside(t)
			b := r.sleeper().with(func(s *specs.Spec) { s.Linux.CgroupsPath = path })
			id := r.name()
			b.write(id)
			if res := r.run(creation(id, b)...); res.status == 0 {
				c := &container{runtime: r, id: id}
				pid := c.state().Pid
				assert.NotContains(t, read(t, "/proc/"+text(pid)+"/cgroup"), "..", "it is within the hierarchy")
				r.succeeds("delete", "--force", id)
			}
			assert.Equal(t, before, missingOutside(t), "nothing is made outside of the hierarchies")
		}
	}},
	{"a controller that is not there is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Linux.Resources = unknownController() }))
	}},
	{"intelRdt without resctrl is an error", func(t *testing.T, r *runtime) {
		if _, err := os.Stat("/sys/fs/resctrl/schemata"); err == nil {
			t.Skip("this host has resctrl mounted")
		}
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "kapsel"} }))
	}},
	{"a network device that is not there is an error", func(t *testing.T, r *runtime) {
		r.refuses(r.sleeper().with(func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"none0": {}} }))
	}},
}

// missingOutside is whether something is beside the hierarchies' mount points that no test makes.
func missingOutside(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, mount := range hierarchies(t) {
		for _, dir := range []string{filepath.Dir(mount), filepath.Dir(filepath.Dir(mount))} {
			if _, err := os.Stat(filepath.Join(dir, "kapsel-out")); err == nil {
				found = append(found, dir)
			}
		}
	}
	return found
}

// config-vm.md, the paths.
var vmMusts = []must{
	{"paths of the vm object are absolute", func(t *testing.T, r *runtime) {
		for _, vm := range []specs.VM{
			{Kernel: specs.VMKernel{Path: "rootfs/kernel.elf"}},
			{Kernel: specs.VMKernel{Path: "kernel.elf"}, Hypervisor: specs.VMHypervisor{Path: "bin/hypervisor"}},
		} {
			r.refuses(r.sleeper().with(func(s *specs.Spec) { s.VM = &vm }))
		}
		b := r.sleeper()
		r.refuses(b.with(func(s *specs.Spec) {
			s.VM = &specs.VM{Kernel: specs.VMKernel{Path: b.file("rootfs/kernel.elf"), InitRD: "rootfs/task.tbf"}}
		}))
	}},
}

// features.md and features-linux.md.
var featureMusts = []must{
	{"features' versions are accepted", func(t *testing.T, r *runtime) {
		f := r.features()
		for _, version := range []string{f.OCIVersionMin, f.OCIVersionMax} {
			c := r.create(r.sleeper().with(func(s *specs.Spec) { s.Version = version }))
			assert.Equal(t, specs.StateCreated, c.state().Status, version)
		}
	}},
	{"features' versions are in order", func(t *testing.T, r *runtime) {
		f := r.features()
		assert.LessOrEqual(t, version(t, f.OCIVersionMin), version(t, f.OCIVersionMax))
	}},
	{"features has only what is defined", func(t *testing.T, r *runtime) {
		decoder := json.NewDecoder(strings.NewReader(r.succeeds("features").out))
		decoder.DisallowUnknownFields()
		assert.NoError(t, decoder.Decode(new(features.Features)))
	}},
	{"features' hooks are called", func(t *testing.T, r *runtime) {
		var all []string
		for _, p := range points {
			all = append(all, p.name)
		}
		assert.ElementsMatch(t, all, r.features().Hooks, "hookMusts has each of them called")
	}},
	{"features' mount options are recognised", func(t *testing.T, r *runtime) {
		for _, option := range r.features().MountOptions {
			b := r.sleeper()
			disk := b.file("rootfs/disk")
			b.put("disk", make([]byte, 1<<20))
			b.spec.Mounts = []specs.Mount{{Destination: "/disk", Source: disk, Type: "bind", Options: []string{"bind", option}}}
			c := r.create(b)
			assert.Equal(t, specs.StateCreated, c.state().Status, option)
		}
	}},
	{"features' annotations are strings", func(t *testing.T, r *runtime) {
		for key := range r.features().Annotations {
			assert.NotEmpty(t, key)
		}
	}},
	{"features' namespaces are recognised", func(t *testing.T, r *runtime) {
		f := r.features()
		require.NotNil(t, f.Linux)
		require.NotEmpty(t, f.Linux.Namespaces)
		for _, kind := range f.Linux.Namespaces {
			b := r.sleeper().only(specs.LinuxNamespace{Type: specs.LinuxNamespaceType(kind)})
			if kind == "user" {
				b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 10}}
				b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
			}
			c := r.create(b)
			assert.Equal(t, specs.StateCreated, c.state().Status, kind)
		}
	}},
	{"features' capabilities are recognised", func(t *testing.T, r *runtime) {
		names := r.features().Linux.Capabilities
		b := r.sleeper().with(func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names} })
		id := r.name()
		b.write(id)
		res := r.succeeds(creation(id, b)...)
		assert.NotContains(t, res.log, "unknown")
	}},
}

// features is what the runtime says of itself.
func (r *runtime) features() features.Features {
	r.t.Helper()
	var f features.Features
	require.NoError(r.t, json.Unmarshal([]byte(r.succeeds("features").out), &f))
	return f
}

// version is a semantic version as a number that grows with it.
func version(t *testing.T, v string) (n int) {
	t.Helper()
	release, _, _ := strings.Cut(v, "-")
	parts := strings.Split(release, ".")
	require.Len(t, parts, 3, v)
	for _, part := range parts {
		var value int
		require.NoError(t, json.Unmarshal([]byte(part), &value))
		n = n*1000 + value
	}
	return n
}
