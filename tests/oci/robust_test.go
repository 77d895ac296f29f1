package oci

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// TestForceEndsAHookThatHangs: delete --force ends create or start whose hook has no timeout and does not end, and nothing of the hook or the container is left.
func TestForceEndsAHookThatHangs(t *testing.T) {
	asRoot(t)
	for _, p := range points {
		if p.operation == "delete" { // which has removed all by then, and holds nothing up
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			r := start(t)
			hook := p.name + " 1"
			b := r.sleeper().hooked(map[string]string{hook: "hang"})
			id := r.name()
			b.write(id)
			call := creation(id, b)
			if p.operation == "start" {
				r.succeeds(call...)
				call = []string{"start", id}
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd, finish := r.prepare(ctx, call...)
			require.NoError(t, cmd.Start())
			require.Eventually(t, func() bool { return slices.Contains(r.called(), hook) }, patience, 20*time.Millisecond)
			r.succeeds("delete", "--force", id)
			cmd.Wait()
			require.NoError(t, ctx.Err())
			assert.NotZero(t, finish().status)
			r.fails("state", id)
			assert.Contains(t, r.called(), "poststop 1", "the container was there")
		})
	}
}

// TestDamagedState: what delete --force removes does not depend on state.json.
func TestDamagedState(t *testing.T) {
	asRoot(t)
	for _, text := range []string{"", `{"ociVersion": "1.3.0", "id"`, "{}"} {
		r := start(t)
		c := r.started(r.sleeper())
		c.prints(asleep)
		require.NoError(t, os.WriteFile(filepath.Join(r.root, "@kapsel", c.id, "state.json"), []byte(text), 0o600))
		assert.Equal(t, specs.StateRunning, c.state().Status)
		c.succeeds("delete", "--force", c.id)
		assert.Empty(t, r.left())
	}
}

// A limit that is too small for the monitor, and the least that is not.
var smallLimits = []struct {
	name          string
	small, enough uint64
}{
	{"RLIMIT_AS", 1 << 30, 2<<30 + 64<<20},
	{"RLIMIT_DATA", 64 << 20, 128<<20 + 64<<20},
	{"RLIMIT_STACK", 8 << 10, 128 << 10},
	{"RLIMIT_NOFILE", 8, 64},
	{"RLIMIT_NPROC", 4, 32},
	{"RLIMIT_SIGPENDING", 0, 64},
}

// TestSmallLimits: limits that the monitor cannot live with are errors of create, and within the least ones whatever fails says so itself: Go's runtime prints no trace.
func TestSmallLimits(t *testing.T) {
	asRoot(t)
	for _, l := range smallLimits {
		t.Run(l.name, func(t *testing.T) {
			r := start(t)
			b := r.greeter()
			limited := func(n uint64) *bundle {
				return b.with(func(s *specs.Spec) {
					s.Process.User = specs.User{UID: 70000, GID: 70000} // root's processes are not limited
					s.Process.Rlimits = []specs.POSIXRlimit{{Type: l.name, Soft: n, Hard: n}}
				})
			}
			assert.Contains(t, r.refuses(limited(l.small)).err, "process.rlimits "+l.name+" "+text(int(l.small))+": want ")
			id := r.name()
			limited(l.enough).write(id)
			res := r.run("run", "--bundle", b.dir, id)
			for _, word := range []string{"goroutine ", "fatal error", "SIGSEGV"} {
				assert.NotContains(t, res.out+res.err, word)
			}
			if res.status == 0 {
				assert.Contains(t, res.out, "hello: greeting 10 of 10")
			} else {
				assert.Contains(t, res.err, "kapsel: ")
			}
		})
	}
}

// TestFilesOfAnother: a file that the container's user may not open is an error of create.
func TestFilesOfAnother(t *testing.T) {
	r := start(t)
	b := r.greeter().with(func(s *specs.Spec) { s.Process.User = specs.User{UID: 70000, GID: 70000} })
	require.NoError(t, os.Chmod(b.file("rootfs/task.tbf"), 0o600))
	assert.Contains(t, r.refuses(b).err, "process.user 70000:70000 may not open \""+b.file("rootfs/task.tbf")+"\", which the container needs: permission denied: want another user")

	require.NoError(t, os.Chown(b.file("rootfs/task.tbf"), 0, 70001))
	require.NoError(t, os.Chmod(b.file("rootfs/task.tbf"), 0o640))
	b.spec.Process.User.AdditionalGids = []uint32{70001}
	r.create(b)
}

// TestKernelOfTheCommand: tasks without a kernel run on the one that comes with the command, in a folder that the container's user may not be let into.
func TestKernelOfTheCommand(t *testing.T) {
	r := start(t)
	dir := filepath.Join(r.dir, "command")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for name, mode := range map[string]os.FileMode{"kapsel": 0o755, "bare.elf": 0o644} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, machine.Object(t, name), mode))
		r.expect(path)
	}
	r.expect(dir)
	r.command = filepath.Join(dir, "kapsel")
	b := r.greeter().with(func(s *specs.Spec) {
		delete(s.Annotations, "org.kapsel.kernel")
		s.Process.User = specs.User{UID: 70000, GID: 70000}
	})
	c := r.started(b)
	c.prints(greeting)
	c.ends()
}
