// Package sandbox runs tasks in sandboxes under KVM: what package kapsel/sandbox promises, with the kernel and tasks in Go and C in the place of
// a model of them.
package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox"
	"kapsel/tests/machine"
	"kapsel/vmm/image"
)

// greeters are the task in Go and the one in C: what they do is told by a request's first word.
var greeters = []string{"greeter", "greeter32"}

// config is a sandbox with the greeters, whose console goes to the log of a test that fails. It is bounded generously: the rig is slow.
func config(t testing.TB) sandbox.Config {
	t.Helper()
	needKVM(t)
	img, err := image.Open(t.Context(), machine.File(t, "bare.elf"))
	require.NoError(t, err)
	console := &lockedBuffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console:\n%s", console)
		}
	})
	return sandbox.Config{
		Image: img,
		Tasks: [][]byte{
			machine.Object(t, "test/greeter.tbf"), machine.Object(t, "test/greeter32.tbf"), machine.Object(t, "test/porter.tbf"),
		},
		Services: sandbox.Services{
			"time": func(_ context.Context, reply, request []byte) ([]byte, error) {
				return append(append(reply, "12:00 "...), request...), nil
			},
		},
		CallTime: 30 * time.Second,
		Cmdline:  "no-dump",
		Output:   console,
		Log:      t.Logf,
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func needKVM(t testing.TB) {
	t.Helper()
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a sandbox needs KVM")
	}
}

// start returns a sandbox of config, after change.
func start(t testing.TB, change ...func(*sandbox.Config)) *sandbox.Sandbox {
	t.Helper()
	c := config(t)
	for _, f := range change {
		f(&c)
	}
	s, err := sandbox.New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// snapshot returns a snapshot of a sandbox.
func snapshot(t testing.TB, s *sandbox.Sandbox) *sandbox.Snapshot {
	t.Helper()
	snap, err := s.Snapshot()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, snap.Close()) })
	return snap
}

func call(t testing.TB, s *sandbox.Sandbox, service, request string) string {
	t.Helper()
	reply, err := s.Call(t.Context(), service, []byte(request))
	require.NoError(t, err)
	return string(reply)
}

// count is how often the C task was called in this life, with this call.
func count(t testing.TB, s *sandbox.Sandbox) string { return call(t, s, "greeter32", "count") }

// TestCalls: both tasks answer, of payloads of all sizes, and call the host.
func TestCalls(t *testing.T) {
	s := start(t)
	for _, name := range greeters {
		assert.Equal(t, "Hello, host!", call(t, s, name, "greet host"))
		assert.Empty(t, call(t, s, name, ""))
	}
	assert.Equal(t, "12:00 UTC", call(t, s, "greeter", "ask time UTC"))
	for _, n := range []int{1, 1000, 4096, 10_000, sandbox.DefaultPayload} {
		request := strings.Repeat("0123456789", n/10+1)[:n]
		reply := call(t, s, "porter", request)
		require.Len(t, reply, n)
		for i := range n {
			require.Equal(t, request[i], reply[n-1-i])
		}
	}
}

// TestThousandCalls: and what each takes of exits and allocations.
func TestThousandCalls(t *testing.T) {
	s := start(t)
	request, reply := []byte("greet host"), make([]byte, 0, 100)
	for _, name := range greeters {
		call(t, s, name, "") // the task serves, and buffers are made
		before := s.Stats()
		allocations := testing.AllocsPerRun(1000, func() {
			got, err := s.AppendCall(context.Background(), reply, name, request)
			if err != nil || string(got) != "Hello, host!" {
				t.Errorf("%q, %v", got, err)
			}
		})
		assert.Zero(t, allocations, name)
		after := s.Stats()
		calls := after.Calls - before.Calls
		require.EqualValues(t, 1001, calls)
		exits := after.Machine.Exits() - before.Machine.Exits()
		t.Logf("%s: %d calls, %.2f exits each: %.2f to I/O ports, %.2f to memory, %.2f others; %.2f interrupted", name, calls, per(exits, calls),
			per(after.Machine.IO-before.Machine.IO, calls), per(after.Machine.MMIO-before.Machine.MMIO, calls), per(after.Machine.Other-before.Machine.Other, calls),
			per(after.Machine.Interrupted-before.Machine.Interrupted, calls))
		assert.LessOrEqual(t, per(exits, calls), 2.01, "exits for a call and back: one each way, and one now and then for what the kernel does besides")
	}
}

func per(n, calls uint64) float64 { return float64(n) / float64(calls) }

// TestHostCallsFromWithin: what a call costs within which the guest calls the host.
func TestHostCallsFromWithin(t *testing.T) {
	s := start(t)
	call(t, s, "greeter", "ask time UTC")
	before := s.Stats()
	for range 200 {
		require.Equal(t, "12:00 UTC", call(t, s, "greeter", "ask time UTC"))
	}
	after := s.Stats()
	assert.EqualValues(t, 200, after.HostCalls-before.HostCalls)
	exits := per(after.Machine.Exits()-before.Machine.Exits(), 200)
	t.Logf("%.2f exits for a call with one of the host's within", exits)
	assert.LessOrEqual(t, exits, 4.05, "one each way, of two calls, and one now and then for what the kernel does besides")
}

// TestNested: calls within calls, 8 deep on each side, of both tasks.
func TestNested(t *testing.T) {
	var s *sandbox.Sandbox
	depth, most := 0, 0
	name := ""
	s = start(t, func(c *sandbox.Config) {
		c.Services["nest"] = func(ctx context.Context, reply, request []byte) ([]byte, error) {
			depth++
			defer func() { depth-- }()
			if depth == most {
				return append(append(reply, request...), " bottom"...), nil
			}
			return s.AppendCall(ctx, reply, name, fmt.Appendf(nil, "nest %s%d", request, depth))
		}
	})
	for range 3 {
		name, most = "greeter", 8
		assert.Equal(t, "x1234567 bottom", call(t, s, name, "nest x"))
		name, most = "greeter32", 4
		assert.Equal(t, "x123 bottom", call(t, s, name, "nest x"))
	}
	name, most = "greeter", 9
	_, err := s.Call(t.Context(), name, []byte("nest x"))
	assert.Error(t, err, "one too many")
	most = 8
	assert.Equal(t, "x1234567 bottom", call(t, s, name, "nest x"))
}

// failure is what a hostile task does, and the error of the call.
type failure struct {
	service, request string
	kind             error
	console          string
	poisons          bool
}

var failures = []failure{
	{"greeter", "spin", sandbox.ErrTime, "", true},
	{"greeter", "fault", sandbox.ErrFault, "task 1 greeter faulted", true},
	{"greeter32", "fault", sandbox.ErrFault, "task 2 greeter32 faulted", true},
	{"greeter", "panic", sandbox.ErrEnded, "greeter was told to", true},
	{"greeter", "exhaust", sandbox.ErrMemory, "", true},
	{"greeter32", "exhaust", sandbox.ErrMemory, "", true},
	{"greeter", "exit", sandbox.ErrEnded, "", true},
	{"greeter32", "exit", sandbox.ErrEnded, "", true},
	{"greeter", "restart", sandbox.ErrEnded, "", true},
	{"greeter", "flood", sandbox.ErrOutput, "greeter floods the console", true},
	{"greeter", "nest", sandbox.ErrCalls, "", true},
	{"greeter", "much", sandbox.ErrTooLarge, "", false},
	{"greeter32", "much", sandbox.ErrTooLarge, "", false},
	{"greeter32", "echo " + strings.Repeat("x", 3000), sandbox.ErrTooLarge, "", false},
	{"greeter", "refuse", abi.NOACK, "", false},
	{"greeter", "what?", abi.NOSUPPORT, "", false},
	{"nobody", "greet", sandbox.ErrNoService, "", false},
}

// TestErrors: each kind of failure is told as what it is, and a reset makes the sandbox whole.
func TestErrors(t *testing.T) {
	var s *sandbox.Sandbox
	s = start(t, func(c *sandbox.Config) {
		c.OutputLimit = 4 << 10
		c.Calls = 3
		c.Services["nest"] = func(ctx context.Context, reply, _ []byte) ([]byte, error) {
			return s.AppendCall(ctx, reply, "greeter", []byte("nest"))
		}
	})
	assert.Equal(t, "0001", count(t, s))
	snap := snapshot(t, s)
	for _, f := range failures {
		t.Run(strings.TrimRight(f.service+" "+f.request, "x "), func(t *testing.T) {
			ctx := t.Context()
			if f.kind == sandbox.ErrTime {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
			}
			_, err := s.Call(ctx, f.service, []byte(f.request))
			require.ErrorIs(t, err, f.kind)
			var e *sandbox.Error
			require.ErrorAs(t, err, &e)
			t.Log(err)
			assert.Contains(t, e.Console, f.console)
			require.Equal(t, f.poisons, e.Poisoned)
			if f.poisons {
				_, err := s.Call(t.Context(), "greeter", nil)
				require.ErrorIs(t, err, sandbox.ErrPoisoned)
				require.NoError(t, s.Reset(snap))
				assert.Equal(t, "0002", count(t, s))
			}
			assert.Equal(t, "Hello, again!", call(t, s, "greeter", "greet again"))
		})
	}
	require.NoError(t, s.Reset(snap))
	assert.Equal(t, "0002", count(t, s))
}

// TestSnapshotResetFork: a reset goes back, a fork goes its own way, and a snapshot from disk is as good.
func TestSnapshotResetFork(t *testing.T) {
	s := start(t)
	assert.Equal(t, "0001", count(t, s))
	snap := snapshot(t, s)
	assert.Equal(t, "0002", count(t, s))
	fork, err := snap.Start(t.Context())
	require.NoError(t, err)
	defer fork.Close()
	assert.Equal(t, "0003", count(t, s))
	assert.Equal(t, "0002", count(t, fork))
	assert.Equal(t, "12:00 UTC", call(t, fork, "greeter", "ask time UTC"))
	for range 10 {
		require.NoError(t, s.Reset(snap))
		assert.Equal(t, "0002", count(t, s))
		assert.Equal(t, "Hello, host!", call(t, s, "greeter", "greet host"))
	}
	t.Logf("a reset behind two calls: %+v", s.Stats().Reset)
	require.NoError(t, fork.Reset(snap))
	assert.Equal(t, "0002", count(t, fork))

	dir := filepath.Join(t.TempDir(), "snapshot")
	require.NoError(t, snap.Save(dir))
	c := config(t)
	c.Image, c.Tasks = nil, nil
	loaded, err := sandbox.Load(dir, c)
	require.NoError(t, err)
	defer loaded.Close()
	other, err := loaded.Start(t.Context())
	require.NoError(t, err)
	defer other.Close()
	assert.Equal(t, "0002", count(t, other))
	assert.Equal(t, "12:00 UTC", call(t, other, "greeter", "ask time UTC"))
}

// TestPool: users that take turns, each of which may leave a wreck.
func TestPool(t *testing.T) {
	s := start(t)
	count(t, s)
	pool, err := sandbox.NewPool(snapshot(t, s), sandbox.PoolConfig{Warm: 2, Max: 3})
	require.NoError(t, err)
	var users sync.WaitGroup
	for user := range 4 {
		users.Go(func() {
			for n := range 5 {
				s, err := pool.Get(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				reply, err := s.Call(t.Context(), "greeter32", []byte("count"))
				assert.NoError(t, err)
				assert.Equal(t, "0002", string(reply))
				if (user+n)%2 == 0 {
					_, err = s.Call(t.Context(), "greeter", []byte("fault"))
					assert.ErrorIs(t, err, sandbox.ErrFault)
				}
				assert.NoError(t, pool.Put(s))
			}
		})
	}
	users.Wait()
	stats := pool.Stats()
	t.Logf("%+v", stats)
	assert.EqualValues(t, 20, stats.Resets)
	assert.Zero(t, stats.Lost)
	assert.NoError(t, pool.Close())
}

// TestCloseInACall: of a guest that spins.
func TestCloseInACall(t *testing.T) {
	s := start(t)
	ended := make(chan error)
	go func() {
		_, err := s.Call(context.Background(), "greeter", []byte("ask time")) // a first one, so that it runs
		if err == nil {
			_, err = s.Call(context.Background(), "greeter", []byte("spin"))
		}
		ended <- err
	}()
	for s.Stats().Calls < 2 {
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, s.Close())
	assert.ErrorIs(t, <-ended, sandbox.ErrClosed)
}

// TestUnsoundTask: what is no task is refused by the kernel, which says so on the console, and calls find no service.
func TestUnsoundTask(t *testing.T) {
	s := start(t, func(c *sandbox.Config) { c.Tasks = [][]byte{bytes.Repeat([]byte{1}, 5000)} })
	_, err := s.Call(t.Context(), "greeter", nil)
	assert.ErrorIs(t, err, sandbox.ErrNoService)
}

// TestTenThousandCalls: both tasks, a reset behind each call, and now and then a wreck.
func TestTenThousandCalls(t *testing.T) {
	calls := 50 // in the rig an exit takes long
	if os.Getenv("KAPSEL_NIGHTLY") != "" {
		calls = 10_000
	}
	s := start(t, func(c *sandbox.Config) { c.Output, c.Log, c.OutputLimit = io.Discard, nil, 4<<10 })
	count(t, s)
	snap := snapshot(t, s)
	wrecks := slices.DeleteFunc(slices.Clone(failures), func(f failure) bool {
		return !f.poisons || f.kind == sandbox.ErrTime || f.kind == sandbox.ErrCalls
	})
	for n := range calls {
		for _, name := range greeters {
			require.Equal(t, "Hello, host!", call(t, s, name, "greet host"))
			require.NoError(t, s.Reset(snap))
		}
		if n%10 == 0 {
			f := wrecks[n/10%len(wrecks)]
			_, err := s.Call(t.Context(), f.service, []byte(f.request))
			require.ErrorIs(t, err, f.kind)
			require.NoError(t, s.Reset(snap))
		}
	}
	assert.Equal(t, "0002", count(t, s))
}
