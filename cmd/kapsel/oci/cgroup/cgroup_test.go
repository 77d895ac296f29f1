package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFind: the tables of mounts of hosts as they are.
func TestFind(t *testing.T) {
	for _, tt := range []struct {
		name, table string
		want        []hierarchy
	}{
		{"v2 alone", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n", []hierarchy{{"/sys/fs/cgroup", true, nil}}},
		{"v1", `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,release_agent=/lib/systemd/agent,name=systemd
`, []hierarchy{{"/sys/fs/cgroup/cpu,cpuacct", false, []string{"cpu", "cpuacct"}}, {"/sys/fs/cgroup/systemd", false, []string{"name=systemd"}}}},
		{"both", `32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`, []hierarchy{{"/sys/fs/cgroup/memory", false, []string{"memory"}}, {"/sys/fs/cgroup/unified", true, nil}}},
		{"mounted twice", "30 23 0:26 / /a\\040b rw - cgroup2 x rw\n31 23 0:26 / /second rw - cgroup2 x rw\n", []hierarchy{{"/a b", true, nil}}},
		{"none", "23 1 0:21 / / rw - ext4 /dev/vda rw\n", nil},
		{"no table", "cgroup2\n - cgroup2 x rw\n\n1 2 3 - cgroup\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mountinfo")
			require.NoError(t, os.WriteFile(path, []byte(tt.table), 0o600))
			got, err := find(path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestPaths: where a group is, by cgroupsPath as engines give it.
func TestPaths(t *testing.T) {
	for _, tt := range []struct {
		path    string
		systemd bool
		want    string // that does not begin with a slash: of the error
	}{
		{"/libpod_parent/libpod-1", false, "/libpod_parent/libpod-1"},
		{"default/ID", false, "/default/ID"},
		{"/a/../../../b/./c/", false, "/b/c"},
		{"system.slice:a:b", false, "/system.slice:a:b"},
		{"", false, "no cgroup path: want one as /kapsel/NAME"},
		{"/", false, "no cgroup path"},
		{"/a/..", false, "no cgroup path"},
		{"/a\nb", false, "want one without line ends and NUL characters"},
		{"system.slice:kapsel:1", true, "/system.slice/kapsel-1.scope"},
		{":cri-containerd:1", true, "/system.slice/cri-containerd-1.scope"},
		{"machine.slice::name", true, "/machine.slice/name.scope"},
		{"-.slice:a:b", true, "/a-b.scope"},
		{"kubepods-burstable-pod1_2.slice:cri-containerd:3", true, "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-3.scope"},
		{"a.slice:x:b.slice", true, "/a.slice/b.slice"},
		{"/a/b", true, `cgroup path "/a/b" with --systemd-cgroup: want SLICE:PREFIX:NAME, as system.slice:kapsel:ID`},
		{"a.slice:b:", true, "want SLICE:PREFIX:NAME"},
		{"a.slice:b:c:d", true, "want SLICE:PREFIX:NAME"},
		{"a:b:c", true, `slice "a": want a name as system.slice or a-b.slice`},
		{"a--b.slice:b:c", true, `slice "a--b.slice": want a name`},
		{"../x.slice:b:c", true, `slice "../x.slice": want a name`},
		{".slice:b:c", true, `slice ".slice": want a name`},
		{"a.slice:../../..:..", true, "/..-...scope"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			got, err := clean(tt.path, tt.systemd)
			if strings.HasPrefix(tt.want, "/") {
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// fake is a tree of plain directories, in which a new group has the files of its controllers, each with a default.
func fake(t *testing.T, controllers ...hierarchy) tree {
	t.Helper()
	top := t.TempDir()
	in := tree{rmdir: os.RemoveAll}
	in.mkdir = func(path string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		for _, h := range in.hierarchies {
			if strings.HasPrefix(path, h.root+"/") {
				return populate(path, h)
			}
		}
		return nil
	}
	for _, h := range controllers {
		h.root = filepath.Join(top, h.root)
		require.NoError(t, os.Mkdir(h.root, 0o755))
		require.NoError(t, populate(h.root, h))
		in.hierarchies = append(in.hierarchies, h)
	}
	return in
}

// contents are the files of a new group by controller.
var contents = map[bool]map[string][]string{
	false: {
		"":       {"cgroup.procs"},
		"memory": {"memory.limit_in_bytes", "memory.soft_limit_in_bytes"},
		"cpu":    {"cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"},
		"cpuset": {"cpuset.cpus", "cpuset.mems"},
		"pids":   {"pids.max"},
	},
	true: {
		"":       {"cgroup.procs", "cgroup.controllers", "cgroup.subtree_control", "cgroup.kill"},
		"memory": {"memory.max", "memory.low", "memory.swap.max", "memory.high"},
		"cpu":    {"cpu.max", "cpu.weight"},
		"cpuset": {"cpuset.cpus", "cpuset.mems"},
		"pids":   {"pids.max"},
	},
}

// populate makes the files of a directory.
func populate(path string, h hierarchy) error {
	var errs []error
	for _, controller := range append([]string{""}, h.controllers...) {
		for _, file := range contents[h.v2][controller] {
			value := ""
			if file == "cgroup.controllers" {
				value = strings.Join(h.controllers, " ") + "\n"
			}
			errs = append(errs, os.WriteFile(filepath.Join(path, file), []byte(value), 0o644))
		}
	}
	return errors.Join(errs...)
}

func of[T any](v T) *T { return &v }

// resources are limits of every kind that the monitor can be held to.
func resources() *specs.LinuxResources {
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: of(int64(1 << 30)), Reservation: of(int64(1 << 29)), Swap: of(int64(3 << 29))},
		CPU:    &specs.LinuxCPU{Shares: of(uint64(512)), Quota: of(int64(25_000)), Period: of(uint64(50_000)), Cpus: "0-1", Mems: "0"},
		Pids:   &specs.LinuxPids{Limit: of(int64(100))},
	}
}

// read are a group's files as FILE=CONTENT, of those that were written.
func read(t *testing.T, g *Group) map[string]string {
	t.Helper()
	written := map[string]string{}
	for _, d := range g.dirs {
		entries, err := os.ReadDir(d.path)
		require.NoError(t, err)
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(d.path, e.Name()))
			require.NoError(t, err)
			if len(text) > 0 && e.Name() != "cgroup.controllers" {
				written[e.Name()] = string(text)
			}
		}
	}
	return written
}

// TestVersion2: limits as version 2 writes them, with the controllers given on from the root.
func TestVersion2(t *testing.T) {
	in := fake(t, hierarchy{"unified", true, []string{"cpuset", "cpu", "memory", "pids"}})
	r := resources()
	r.Unified = map[string]string{"memory.high": "1000000000"}
	g, err := in.make("/pod/one", false, r)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"memory.max": "1073741824", "memory.low": "536870912", "memory.swap.max": "536870912", "memory.high": "1000000000",
		"cpu.weight": "20", "cpu.max": "25000 50000", "cpuset.cpus": "0-1", "cpuset.mems": "0", "pids.max": "100",
	}, read(t, g))
	for _, above := range []string{"", "pod"} {
		text, err := os.ReadFile(filepath.Join(in.hierarchies[0].root, above, "cgroup.subtree_control"))
		require.NoError(t, err)
		assert.NotEmpty(t, text, "controllers of %q", above)
	}
	require.NoError(t, g.Add(42))
	assert.Equal(t, "42", read(t, g)["cgroup.procs"])
}

// TestVersion1: the same limits in the hierarchies of their controllers; a new group has the processors of the one above.
func TestVersion1(t *testing.T) {
	in := fake(t, hierarchy{"memory", false, []string{"memory"}}, hierarchy{"cpu", false, []string{"cpu", "cpuacct"}}, hierarchy{"cpuset", false, []string{"cpuset"}},
		hierarchy{"pids", false, []string{"pids"}}, hierarchy{"systemd", false, []string{"name=systemd"}}, hierarchy{"unified", true, nil})
	require.NoError(t, os.WriteFile(filepath.Join(in.hierarchies[2].root, "cpuset.cpus"), []byte("0-3\n"), 0o600))
	g, err := in.make("/pod/one", false, resources())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"memory.limit_in_bytes": "1073741824", "memory.soft_limit_in_bytes": "536870912", // and no limit of swap, which this kernel does not count
		"cpu.shares": "512", "cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "25000", "cpuset.cpus": "0-1", "cpuset.mems": "0", "pids.max": "100",
	}, read(t, g))
	above, err := os.ReadFile(filepath.Join(in.hierarchies[2].root, "pod", "cpuset.cpus"))
	require.NoError(t, err)
	assert.Equal(t, "0-3", string(above))
	_, ok := g.FD()
	assert.False(t, ok, "a process started in the hierarchy of version 2 would be in no other")

	_, err = in.make("/pod/two", false, &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}})
	assert.EqualError(t, err, `linux.resources.unified: want controller "memory" of cgroup v2, found that of v1`)
}

// TestUnsetLimits: 0 is not set, and below 0 there is no limit.
func TestUnsetLimits(t *testing.T) {
	in := fake(t, hierarchy{"unified", true, []string{"cpu", "memory", "pids"}})
	g, err := in.make("/zero", false, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: of(int64(0)), Swap: of(int64(0))},
		CPU: &specs.LinuxCPU{Shares: of(uint64(0)), Quota: of(int64(0)), Period: of(uint64(0))}, Pids: &specs.LinuxPids{Limit: of(int64(0))}})
	require.NoError(t, err)
	assert.Empty(t, read(t, g))
	g, err = in.make("/none", false, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: of(int64(-1)), Swap: of(int64(-1))},
		CPU: &specs.LinuxCPU{Quota: of(int64(-1))}, Pids: &specs.LinuxPids{Limit: of(int64(-1))}})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"memory.max": "max", "memory.swap.max": "max", "cpu.max": "max 100000", "pids.max": "max"}, read(t, g))
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{1: 1, 2: 1, 512: 20, 1024: 39, 262_144: 10_000, 1 << 60: 10_000} {
		assert.Equal(t, want, weight(shares), shares)
	}
}

// TestRefusedLeavesNothing: a limit that cannot be set is named, with what is lacking, and no group is left; one that was there before stays.
func TestRefusedLeavesNothing(t *testing.T) {
	memory := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: of(int64(1 << 30))}}
	for _, tt := range []struct {
		name string
		have hierarchy
		r    *specs.LinuxResources
		want string
	}{
		{"no controller in v2", hierarchy{"unified", true, []string{"cpu"}}, memory, `has no memory.max: want controller "memory" there, found "cpu" above, in`},
		{"no controller in v1", hierarchy{"cpu", false, []string{"cpu"}}, memory, `linux.resources.memory.limit: no controller "memory" is mounted here: mount it, or leave the limit out`},
		{"no file in v1", hierarchy{"cpu", false, []string{"cpu", "memory "}}, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}, `linux.resources.cpu.cpus: no controller "cpuset"`},
		{"a path for a file", hierarchy{"unified", true, []string{"memory"}}, &specs.LinuxResources{Unified: map[string]string{"memory.../../cgroup.procs": "1"}}, "want the name of a controller's file, as memory.high"},
		{"a file of the group's", hierarchy{"unified", true, []string{"memory"}}, &specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, "want the name of a controller's file, as memory.high"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := fake(t, tt.have)
			root := in.hierarchies[0].root
			require.NoError(t, in.mkdir(filepath.Join(root, "pod")))
			_, err := in.make("/pod/new/one", false, tt.r)
			assert.ErrorContains(t, err, tt.want)
			assert.NoDirExists(t, filepath.Join(root, "pod", "new"))
			assert.DirExists(t, filepath.Join(root, "pod"))
		})
	}
}

// TestWithoutPermission: where the user may not make groups, a hierarchy is left out unless a limit needs it.
func TestWithoutPermission(t *testing.T) {
	in := fake(t, hierarchy{"memory", false, []string{"memory"}}, hierarchy{"cpu", false, []string{"cpu"}})
	mkdir := in.mkdir
	in.mkdir = func(path string) error {
		if strings.HasPrefix(path, in.hierarchies[0].root) {
			return &os.PathError{Op: "mkdir", Path: path, Err: unix.EACCES}
		}
		return mkdir(path)
	}
	g, err := in.make("/one", false, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: of(uint64(2))}})
	require.NoError(t, err)
	assert.Len(t, g.dirs, 1)
	_, err = in.make("/two", false, resources())
	assert.ErrorContains(t, err, `making cgroup "/two": mkdir`)
	assert.ErrorIs(t, err, os.ErrPermission)
}
