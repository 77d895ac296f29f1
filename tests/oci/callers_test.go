package oci

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// both makes two calls of the runtime at once.
func (r *runtime) both(first, second []string) (results [2]result) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, finishA := r.prepare(ctx, first...)
	b, finishB := r.prepare(ctx, second...)
	require.NoError(r.t, a.Start())
	require.NoError(r.t, b.Start())
	a.Wait()
	b.Wait()
	require.NoError(r.t, ctx.Err(), "two calls at once do not end: %v and %v", first, second)
	return [2]result{finishA(), finishB()}
}

// one demands that exactly one of two calls did what it was told, and that the other says why it did not.
func one(t *testing.T, results [2]result) {
	t.Helper()
	assert.True(t, (results[0].status == 0) != (results[1].status == 0), "one of two: %+v", results)
	for _, res := range results {
		if res.status != 0 {
			assert.Contains(t, res.err, "kapsel", "%+v", res)
			assert.Contains(t, levels(t, res.log), "error")
		}
	}
}

// rounds is how often two callers meet.
const rounds = 8

// TestTwoCallersAtOnce: of two calls at once for one container those succeed that would one behind the other, and nothing else comes of it.
func TestTwoCallersAtOnce(t *testing.T) {
	asRoot(t)
	t.Run("create and create", func(t *testing.T) {
		r := start(t)
		for range rounds {
			first, second := r.sleeper(), r.sleeper()
			id := r.name()
			first.write(id)
			second.write(id)
			results := r.both(creation(id, first), creation(id, second))
			one(t, results)
			winner := first
			if results[1].status == 0 {
				winner = second
			}
			c := &container{runtime: r, id: id, bundle: winner}
			assert.Equal(t, winner.dir, c.state().Bundle)
			assert.Equal(t, specs.StateCreated, c.state().Status)
			assert.Len(t, descendants(os.Getpid()), 1, "one process")
			r.succeeds("delete", "--force", id)
			assert.Empty(t, r.left())
		}
	})
	meet(t, "start and start", func(t *testing.T, c *container) {
		one(t, c.both([]string{"start", c.id}, []string{"start", c.id}))
		assert.Equal(t, specs.StateRunning, c.state().Status)
		c.stop()
		c.succeeds("delete", c.id)
	})
	meet(t, "start and delete --force", func(t *testing.T, c *container) {
		results := c.both([]string{"start", c.id}, []string{"delete", "--force", c.id})
		assert.Zero(t, results[1].status, "%+v", results)
	})
	meet(t, "kill and delete", func(t *testing.T, c *container) {
		results := c.both([]string{"kill", c.id, "KILL"}, []string{"delete", c.id})
		assert.Zero(t, results[0].status, "nothing else ends it: %+v", results)
		c.ends()
		if results[1].status != 0 { // it came before the end
			assert.Equal(t, specs.StateStopped, c.state().Status)
			c.succeeds("delete", c.id)
		}
	})
	meet(t, "delete and delete", func(t *testing.T, c *container) {
		c.stop()
		one(t, c.both([]string{"delete", c.id}, []string{"delete", c.id}))
	})
	meet(t, "delete --force and delete --force", func(t *testing.T, c *container) {
		for _, res := range c.both([]string{"delete", "--force", c.id}, []string{"delete", "--force", c.id}) {
			assert.Zero(t, res.status, res.err)
		}
	})
}

// meet has callers meet at a container, again and again, after which there is none and nothing is left.
func meet(t *testing.T, name string, calls func(t *testing.T, c *container)) {
	t.Run(name, func(t *testing.T) {
		r := start(t)
		for range rounds {
			c := r.create(r.sleeper())
			calls(t, c)
			r.fails("state", c.id)
			assert.Empty(t, r.left())
		}
	})
}

// TestRunForwardsSignals: a signal to run is the container's, which has a session of its own, and run removes what is left of it then.
func TestRunForwardsSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			r := start(t)
			b := r.sleeper()
			c := &container{runtime: r, id: r.name(), bundle: b}
			b.write(c.id)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd, finish := r.prepare(ctx, "run", "--bundle", b.dir, c.id)
			require.NoError(t, cmd.Start())
			c.prints(asleep)
			require.NoError(t, cmd.Process.Signal(s))
			cmd.Wait()
			assert.Equal(t, 128+int(s), finish().status)
			r.fails("state", c.id)
		})
	}
}
