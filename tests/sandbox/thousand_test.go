package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/sandbox"
	"kapsel/tests/machine"
)

// TestThousandSandboxes: a thousand sandboxes of one snapshot, each of which was called, are in 1 GiB, all together: what the process has, and what Linux has for it, in KVM
// and elsewhere. By day it is a tenth of them, and half as much again as they take for a thousand must not be more: the first ones find memory that was there before.
func TestThousandSandboxes(t *testing.T) {
	n, reckoned := uint64(100), uint64(1500)
	if machine.Nightly() {
		n, reckoned = 1000, 1000
	}
	atFirst := memory(t)
	snap := snapshot(t, start(t, func(c *sandbox.Config) { c.Log = nil }))
	before, files := memory(t), entries(t, "fd")
	all := make([]*sandbox.Sandbox, n)
	for i := range all {
		s, err := snap.Start(t.Context())
		require.NoError(t, err, "sandbox %d", i)
		all[i] = s
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		require.Equal(t, "0001", count(t, s))
		if (i+1)%100 == 0 {
			t.Logf("%d sandboxes: %d bytes each", i+1, taken(before, memory(t))/uint64(i+1))
		}
	}
	behind := memory(t)
	for name, kib := range behind {
		if more := (int64(kib) - int64(before[name])) << 10 / int64(n); more > 1<<10 || more < -1<<10 {
			t.Logf("%s: %d bytes more for each", name, more)
		}
	}
	fixed, each := taken(atFirst, before), taken(before, behind)/n
	t.Logf("%d bytes for the first sandbox and the snapshot, %d for each of %d more; %d threads", fixed, each, n, entries(t, "task"))
	assert.Less(t, fixed+reckoned*each, uint64(1<<30))
	assert.LessOrEqual(t, entries(t, "fd")-files, 2*int(n), "open files: of each its machine and its processor")
	for _, s := range []*sandbox.Sandbox{all[0], all[n/2], all[n-1]} {
		assert.Equal(t, "0002", count(t, s))
	}
}

// taken is how many bytes of memory were taken between two looks. In the rig, where nothing else runs, it is all that Linux has no more; elsewhere what the process has.
func taken(before, behind map[string]uint64) uint64 {
	if machine.InRig() {
		return (before["MemFree"] - behind["MemFree"]) << 10
	}
	return (behind["VmRSS"] - before["VmRSS"]) << 10
}

// memory is what Linux tells of the machine's memory, and of the process's, in KiB.
func memory(t *testing.T) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for _, path := range []string{"/proc/meminfo", "/proc/self/status"} {
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ":")
			var kib uint64
			if n, _ := fmt.Sscanf(value, "%d kB", &kib); n == 1 && !slices.Contains([]string{"Threads", "FDSize"}, name) {
				all[name] = kib
			}
		}
	}
	return all
}

// entries counts the process's descriptors ("fd") or threads ("task").
func entries(t *testing.T, kind string) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/" + kind)
	require.NoError(t, err)
	return len(all)
}
