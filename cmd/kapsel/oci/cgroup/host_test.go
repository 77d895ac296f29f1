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
