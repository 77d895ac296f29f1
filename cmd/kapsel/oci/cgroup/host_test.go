package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// name is a group of a test's own.
func name(t *testing.T) string {
	return fmt.Sprintf("/kapsel-test/%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), os.Getpid())
}

// real is this machine's tree. Without one that the user may write to, the test is skipped.
func real(t *testing.T) tree {
	t.Helper()
	all, err := host()
	require.NoError(t, err)
	all.hierarchies = slices.DeleteFunc(all.hierarchies, func(h hierarchy) bool { return unix.Access(h.root, unix.W_OK) != nil })
	if len(all.hierarchies) == 0 || os.Getuid() != 0 {
		t.Skip("no cgroup hierarchy here that this user may write to")
	}
	return all
}

// make is a group that is removed when the test ends, with whatever is in it.
func makeIn(t *testing.T, in tree, r *specs.LinuxResources) *Group {
	t.Helper()
	g, err := in.make(name(t), false, r)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, g.Kill())
		assert.NoError(t, g.Remove())
		for _, d := range g.dirs {
			os.Remove(filepath.Dir(d.path)) // while no other test has a group there
		}
	})
	return g
}

// sleeper is a process that does not end by itself; its parent waits for it.
func sleeper(t *testing.T, attr *syscall.SysProcAttr) (pid int) {
	t.Helper()
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = attr
	require.NoError(t, c.Start())
	ended := make(chan error)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() { c.Process.Kill(); <-ended })
	return c.Process.Pid
}

// reads are the contents of a group's file in the hierarchy that has it.
func reads(t *testing.T, g *Group, file string) string {
	t.Helper()
	for _, d := range g.dirs {
		if text, err := os.ReadFile(filepath.Join(d.path, file)); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	t.Fatalf("no %s in %v", file, g.dirs)
	return ""
}

// TestGroupOfThisMachine: limits are the kernel's, processes come in, are found, end, and nothing is left; on whatever hierarchies there are.
func TestGroupOfThisMachine(t *testing.T) {
	in := real(t)
	memory, quota, period, pids := int64(64<<20), int64(20_000), uint64(50_000), int64(77)
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}, Pids: &specs.LinuxPids{Limit: &pids}}
	if !slices.ContainsFunc(in.hierarchies, func(h hierarchy) bool { return slices.Contains(h.controllers, "memory") }) {
		r = nil // whether v2 has the controllers is the host's to say: TestVersion2
	}
	g := makeIn(t, in, r)
	if r != nil {
		assert.Equal(t, "67108864", reads(t, g, "memory.limit_in_bytes"))
		assert.Equal(t, "20000", reads(t, g, "cpu.cfs_quota_us"))
		assert.Equal(t, "50000", reads(t, g, "cpu.cfs_period_us"))
		assert.Equal(t, "77", reads(t, g, "pids.max"))
	}
	one, two := sleeper(t, nil), sleeper(t, nil)
	require.NoError(t, g.Add(one))
	require.NoError(t, g.Add(two))
	again, err := in.open(name(t), false)
	require.NoError(t, err)
	found, err := again.Pids()
	require.NoError(t, err)
	assert.ElementsMatch(t, []int{one, two}, found)

	_, err = in.make(name(t), false, nil)
	assert.ErrorContains(t, err, "has 2 processes already: want one that is new or empty")

	require.NoError(t, again.Kill())
	found, err = g.Pids()
	require.NoError(t, err)
	assert.Empty(t, found)
	require.NoError(t, again.Remove())
	require.NoError(t, again.Remove(), "a second time")
	gone, err := in.open(name(t), false)
	require.NoError(t, err)
	assert.Empty(t, gone.dirs)
}

// only is a tree of the hierarchies of one version.
func only(t *testing.T, v2 bool) tree {
	t.Helper()
	in := real(t)
	in.hierarchies = slices.DeleteFunc(in.hierarchies, func(h hierarchy) bool { return h.v2 != v2 })
	if len(in.hierarchies) == 0 {
		t.Skipf("no such hierarchy here: v2 %t", v2)
	}
	return in
}

// family starts a process in the group that has others below it, some of them in a group of their own.
func family(t *testing.T, g *Group) {
	t.Helper()
	below := &Group{tree: g.tree}
	for _, d := range g.dirs {
		d.path = filepath.Join(d.path, "below")
		require.NoError(t, os.Mkdir(d.path, 0o755))
		if slices.Contains(d.controllers, "cpuset") {
			require.NoError(t, inheritSet(filepath.Dir(d.path), d.path))
		}
		below.dirs = append(below.dirs, d)
	}
	for _, in := range []*Group{g, below} {
		c := exec.Command("sh", "-c", "read go; for i in 1 2 3 4 5; do sleep 1000 & done; echo up; wait")
		stdin, err := c.StdinPipe()
		require.NoError(t, err)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		require.NoError(t, in.Add(c.Process.Pid))
		fmt.Fprintln(stdin, "go")
		_, err = fmt.Fscanln(out, new(string))
		require.NoError(t, err)
		ended := make(chan error)
		go func() { ended <- c.Wait() }()
		t.Cleanup(func() { c.Process.Kill(); <-ended })
	}
}

// TestKillEndsAllOfIt: processes that others started, in groups below, too, whether or not the kernel has cgroup.kill; then all of it can be removed.
func TestKillEndsAllOfIt(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		t.Run(fmt.Sprint("v2=", v2), func(t *testing.T) {
			g := makeIn(t, only(t, v2), nil)
			family(t, g)
			pids, err := g.Pids()
			require.NoError(t, err)
			assert.Len(t, pids, 12)
			require.NoError(t, g.Kill())
			pids, err = g.Pids()
			require.NoError(t, err)
			assert.Empty(t, pids)
			require.NoError(t, g.Remove())
			for _, d := range g.dirs {
				assert.NoDirExists(t, d.path)
			}
		})
	}
}

// TestStartInGroup: clone3 starts a process in the group of version 2.
func TestStartInGroup(t *testing.T) {
	g := makeIn(t, only(t, true), nil)
	fd, ok := g.FD()
	require.True(t, ok)
	defer unix.Close(fd)
	pid := sleeper(t, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd})
	pids, err := g.Pids()
	require.NoError(t, err)
	assert.Equal(t, []int{pid}, pids)
}

// TestRemoveWaitsForTheLast: a process that is ending holds its group for a while.
func TestRemoveWaitsForTheLast(t *testing.T) {
	g := makeIn(t, real(t), nil)
	pid := sleeper(t, nil)
	require.NoError(t, g.Add(pid))
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	require.NoError(t, g.Remove())
}

// TestRemoveRefusesTheLiving: a group whose processes run is not removed, and the error says where it is.
func TestRemoveRefusesTheLiving(t *testing.T) {
	g := makeIn(t, real(t), nil)
	require.NoError(t, g.Add(sleeper(t, nil)))
	err := g.Remove()
	assert.ErrorIs(t, err, unix.EBUSY)
	assert.ErrorContains(t, err, "removing cgroup \""+g.dirs[0].path)
}
