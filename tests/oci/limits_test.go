package oci

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
)

// leastLimit is the least memory limit of a container (docs/containers.md), in bytes.
const leastLimit = 58_851_328

// limited is a bundle whose task greets, with a memory limit.
func limited(t *testing.T, r *runtime, bytes int64) *bundle {
	t.Helper()
	if _, ok := hierarchies(t)["memory"]; !ok {
		t.Skip("no controller memory of cgroup version 1 here: cmd/kapsel/oci/cgroup has version 2's files")
	}
	return r.greeter().with(func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &bytes}}
	})
}

// TestLeastMemoryLimit: a guest runs to its end within the least limit, with all of the memory that the limit leaves it.
func TestLeastMemoryLimit(t *testing.T) {
	r := start(t)
	b := limited(t, r, leastLimit)
	id := r.name()
	b.write(id)
	res := r.succeeds("run", "--bundle", b.dir, id)
	assert.Contains(t, res.out, ", 8192 KiB of memory")
	assert.Contains(t, res.out, "hello: greeting 10 of 10")
}

// TestMemoryLimitTooSmall: is refused before anything is made, with what would do.
func TestMemoryLimitTooSmall(t *testing.T) {
	r := start(t)
	res := r.refuses(limited(t, r, leastLimit-1))
	assert.Contains(t, res.err, "a memory limit of 58851327 bytes: want 58851328 or more, of which the monitor needs 48M and a guest 8M")
}

// TestTasksAlone: an image of one task runs on the kernel that comes with the command.
func TestTasksAlone(t *testing.T) {
	r := start(t)
	b := r.greeter().with(func(s *specs.Spec) { s.Annotations, s.Process.Args = nil, []string{"task.tbf"} })
	id := r.name()
	b.write(id)
	assert.Contains(t, r.succeeds("run", "--bundle", b.dir, id).out, "hello: greeting 10 of 10")
}

// TestVolumes: a file is a disk, and a directory is refused.
func TestVolumes(t *testing.T) {
	r := start(t)
	b := r.greeter()
	b.put("disk", make([]byte, 64<<10))
	b.spec.Mounts = []specs.Mount{{Destination: "/data", Source: b.file("rootfs"), Options: []string{"rbind", "ro"}}}
	assert.Contains(t, r.refuses(b).err, "is a directory, and a guest has no file system: want a file, which becomes a disk")

	b.spec.Mounts[0].Source = b.file("rootfs/disk")
	id := r.name()
	b.write(id)
	assert.Contains(t, r.succeeds("run", "--bundle", b.dir, id).out, "hello: greeting 10 of 10")
}
