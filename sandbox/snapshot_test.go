package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// count calls the task that counts.
func count(t *testing.T, s *Sandbox) int {
	t.Helper()
	reply, err := s.Call(t.Context(), "counter", nil)
	require.NoError(t, err)
	return int(reply[0])
}

// TestSnapshot: a reset goes back, and what starts from a snapshot goes its own way, with the services of the first.
func TestSnapshot(t *testing.T) {
	s, _ := newTest(t, func(c *Config) {
		c.Services = Services{"time": func(context.Context, []byte, []byte) ([]byte, error) { return []byte("noon"), nil }}
	})
	assert.Equal(t, 1, count(t, s))
	snap, err := s.Snapshot()
	require.NoError(t, err)
	assert.Equal(t, 2, count(t, s))
	assert.Equal(t, 3, count(t, s))
	other, err := snap.Start(t.Context())
	require.NoError(t, err)
	defer other.Close()
	assert.Equal(t, 2, count(t, other))
	reply, err := other.Call(t.Context(), "asks", []byte("time"))
	require.NoError(t, err)
	assert.Equal(t, "noon", string(reply))
	assert.Equal(t, 4, count(t, s))
	for range 3 {
		require.NoError(t, s.Reset(snap))
		assert.Equal(t, 2, count(t, s))
		assert.Equal(t, 16, s.Stats().Reset.Pages)
	}
	assert.EqualValues(t, 3, s.Stats().Resets)
	later, err := other.Snapshot()
	require.NoError(t, err)
	require.NoError(t, s.Reset(later))
	assert.Equal(t, 3, count(t, s))
}

// TestSnapshotSettles: what tasks do by themselves is done before, with what they call.
func TestSnapshotSettles(t *testing.T) {
	asked := 0
	s, h := newTest(t, func(c *Config) {
		c.Services = Services{"time": func(context.Context, []byte, []byte) ([]byte, error) {
			asked++
			return nil, nil
		}}
	})
	h.tasks["begins"] = func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
		g.send(wire.Frame{Kind: abi.ServiceAnswer, Number: g.working})
		for range 3 { // behind the answer
			g.call("time", nil)
		}
		return nil, answered
	}
	_, err := s.Call(t.Context(), "begins", nil)
	require.NoError(t, err)
	assert.Less(t, asked, 3)
	_, err = s.Snapshot()
	require.NoError(t, err)
	assert.Equal(t, 3, asked)
	assert.True(t, s.link.AtRest())
}

// TestSnapshotOfATaskThatSpins has an end, and a reset helps.
func TestSnapshotOfATaskThatSpins(t *testing.T) {
	s, h := newTest(t, func(c *Config) { c.CallTime = 50 * time.Millisecond })
	h.tasks["begins"] = func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
		g.send(wire.Frame{Kind: abi.ServiceAnswer, Number: g.working})
		for {
			g.breathe()
		}
	}
	snap, err := s.Snapshot()
	require.NoError(t, err)
	_, err = s.Call(t.Context(), "begins", nil)
	require.NoError(t, err)
	_, err = s.Snapshot()
	assert.ErrorIs(t, err, ErrTime)
	require.NoError(t, s.Reset(snap))
	assert.Equal(t, 1, count(t, s))
}

// TestResetFails: then only Close is left.
func TestResetFails(t *testing.T) {
	s, h := newTest(t)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	h.failing = true
	err = s.Reset(snap)
	assert.ErrorIs(t, err, ErrReset)
	assert.EqualError(t, err, "sandbox: the sandbox cannot be reset: close it: pages are lost")
	assert.True(t, poisoned(t, err))
	_, err = s.Call(t.Context(), "echo", nil)
	assert.ErrorIs(t, err, ErrPoisoned)
	_, err = snap.Start(t.Context())
	assert.EqualError(t, err, "sandbox: no memory for a fork")
}

// TestLoadRefuses: an image beside the snapshot's, and what is no snapshot.
func TestLoadRefuses(t *testing.T) {
	_, err := Load(t.TempDir(), Config{Image: new(image.Image)})
	assert.EqualError(t, err, "sandbox: an image or tasks for a snapshot, which has its own: leave Config.Image and Tasks nil")
	for _, c := range []Config{{Arguments: []string{"a"}}, {Environment: []string{"A=b"}}} {
		_, err := Load(t.TempDir(), c)
		assert.EqualError(t, err, "sandbox: arguments or an environment for a snapshot, which has its own: leave Config.Arguments and Environment nil")
	}
	_, err = Load(t.TempDir(), Config{Payload: -1})
	assert.ErrorContains(t, err, "sandbox: a limit of -1 bytes")
	_, err = Load(t.TempDir(), Config{})
	assert.ErrorContains(t, err, "sandbox: ")
	_, err = From(&snapshot.Snapshot{}, Config{Tasks: [][]byte{{1}}})
	assert.ErrorContains(t, err, "an image or tasks for a snapshot")
}

// TestFrom: what starts from a snapshot that was read before has the Config's services.
func TestFrom(t *testing.T) {
	s, h := newTest(t)
	count(t, s)
	taken, err := s.machine.Snapshot()
	require.NoError(t, err)
	n, err := From(taken, Config{Services: Services{"time": func(_ context.Context, reply, _ []byte) ([]byte, error) { return append(reply, "noon"...), nil }}})
	require.NoError(t, err)
	n.host = h.host()
	other, err := n.Start(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, count(t, other))
	reply, err := other.Call(t.Context(), "asks", []byte("time"))
	require.NoError(t, err)
	assert.Equal(t, "noon", string(reply))
	assert.NoError(t, other.Close())
}

func TestPool(t *testing.T) {
	s, h := newTest(t)
	count(t, s)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	p, err := NewPool(snap, PoolConfig{Warm: 1, Max: 2})
	require.NoError(t, err)
	assert.Equal(t, PoolStats{Idle: 1, Started: 1}, p.Stats())

	a, err := p.Get(t.Context())
	require.NoError(t, err)
	b, err := p.Get(t.Context())
	require.NoError(t, err)
	assert.Equal(t, PoolStats{Busy: 2, Started: 2, Gets: 2}, p.Stats())
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = p.Get(short)
	assert.EqualError(t, err, "sandbox: all 2 sandboxes of the pool are in use: context deadline exceeded")
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	assert.Equal(t, 2, count(t, a))
	_, err = a.Call(t.Context(), "faults", nil)
	assert.ErrorIs(t, err, ErrFault)
	require.NoError(t, p.Put(a), "one that is poisoned is reset")
	require.NoError(t, p.Put(b), "and one that is too many closed")
	assert.Equal(t, PoolStats{Idle: 1, Started: 2, Gets: 2, Resets: 2}, p.Stats())
	assert.ErrorContains(t, p.Put(b), "a sandbox that the pool has not given, or got back already")

	again, err := p.Get(t.Context())
	require.NoError(t, err)
	assert.Same(t, a, again)
	assert.Equal(t, 2, count(t, again))
	h.failing = true
	err = p.Put(again)
	assert.ErrorIs(t, err, ErrReset)
	assert.ErrorContains(t, err, "no memory for a fork")
	assert.Equal(t, PoolStats{Started: 2, Gets: 3, Resets: 2, Lost: 1}, p.Stats())
	_, err = p.Get(t.Context())
	assert.EqualError(t, err, "sandbox: no memory for a fork")
	h.failing = false

	last, err := p.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	_, err = last.Call(t.Context(), "echo", nil)
	assert.ErrorIs(t, err, ErrClosed, "those in use are closed, too")
	assert.NoError(t, p.Put(last))
	_, err = p.Get(t.Context())
	assert.ErrorIs(t, err, ErrPoolClosed)
}

// TestServicesOf: each sandbox of a pool has services of its own beside those that all have.
func TestServicesOf(t *testing.T) {
	known := map[*Sandbox]string{}
	answer := func(text string) Handler {
		return func(_ context.Context, reply, _ []byte) ([]byte, error) { return append(reply, text...), nil }
	}
	ofEach := Services{}
	s, h := newTest(t, func(c *Config) {
		c.Services = Services{"all": answer("all")}
		c.ServicesOf = func(s *Sandbox) Services {
			known[s] = fmt.Sprint(len(known))
			ofEach["own"] = answer(known[s])
			return ofEach
		}
	})
	snap, err := s.Snapshot()
	require.NoError(t, err)
	p, err := NewPool(snap, PoolConfig{Max: 2})
	require.NoError(t, err)
	defer p.Close()
	a, err := p.Get(t.Context())
	require.NoError(t, err)
	b, err := p.Get(t.Context())
	require.NoError(t, err)
	for s, own := range map[*Sandbox]string{s: "0", a: "1", b: "2"} {
		assert.Equal(t, own, known[s])
		for name, want := range map[string]string{"own": own, "all": "all"} {
			reply, err := s.Call(t.Context(), "asks", []byte(name))
			require.NoError(t, err)
			assert.Equal(t, want, string(reply))
		}
	}
	h.failing = true
	_, err = snap.Start(t.Context())
	assert.EqualError(t, err, "sandbox: no memory for a fork")
	h.failing = false
	ofEach["all"] = answer("one's own")
	_, err = snap.Start(t.Context())
	assert.EqualError(t, err, `sandbox: the service "all" of the host's is in Config.Services and in what Config.ServicesOf returned: leave it out of one`)
	delete(ofEach, "all")
	ofEach[""] = answer("nameless")
	_, err = snap.Start(t.Context())
	assert.EqualError(t, err, `sandbox: a service of the host's with the name "": want 1 to 63 bytes`)

	assert.Len(t, known, 6)
	for kept, own := range known {
		if own < "3" {
			continue
		}
		_, err = kept.Call(t.Context(), "asks", nil)
		assert.ErrorIs(t, err, ErrClosed, "of %s there is no machine", own)
		assert.NoError(t, kept.Close())
		assert.Zero(t, kept.Stats())
	}
}

// TestPoolReplaces: a warm sandbox that cannot be reset is closed, and another started in its place.
func TestPoolReplaces(t *testing.T) {
	s, _ := newTest(t)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	p, err := NewPool(snap, PoolConfig{Warm: 1, Max: 1})
	require.NoError(t, err)
	defer p.Close()
	a, err := p.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, a.Close())
	assert.ErrorIs(t, p.Put(a), ErrClosed)
	assert.Equal(t, PoolStats{Idle: 1, Started: 2, Gets: 1, Lost: 1}, p.Stats())
}

// TestPoolOfMany: goroutines that take turns never meet in a sandbox, and each finds it as the snapshot has it.
func TestPoolOfMany(t *testing.T) {
	s, _ := newTest(t)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	p, err := NewPool(snap, PoolConfig{Warm: 2, Max: 4})
	require.NoError(t, err)
	var users sync.WaitGroup
	for range 16 {
		users.Go(func() {
			for range 20 {
				s, err := p.Get(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				reply, err := s.Call(t.Context(), "counter", nil)
				assert.NoError(t, err)
				assert.Equal(t, []byte{1}, reply)
				assert.NoError(t, p.Put(s))
			}
		})
	}
	users.Wait()
	stats := p.Stats()
	assert.EqualValues(t, 320, stats.Gets)
	assert.EqualValues(t, 320, stats.Resets)
	assert.LessOrEqual(t, stats.Idle, 2)
	assert.Zero(t, stats.Busy)
	assert.NoError(t, p.Close())
}

// TestPoolConfig: what cannot be, and a pool that cannot be filled.
func TestPoolConfig(t *testing.T) {
	for _, c := range []PoolConfig{{}, {Warm: 2, Max: 1}, {Warm: -1, Max: 1}} {
		_, err := NewPool(nil, c)
		assert.ErrorContains(t, err, "want at least one, and no more warm ones")
	}
	s, h := newTest(t)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	h.failing = true
	_, err = NewPool(snap, PoolConfig{Warm: 1, Max: 1})
	assert.EqualError(t, err, "sandbox: no memory for a fork")
}

type sum struct{ A, B, Sum int }

// TestTyped: functions of Go on both sides, and what cannot be read.
func TestTyped(t *testing.T) {
	s, _ := newTest(t, func(c *Config) {
		c.Services = Services{"relay": HandlerOf(JSON, func(_ context.Context, in sum) (sum, error) {
			if in.A == 0 {
				return in, abi.INVAL
			}
			in.Sum = in.A + in.B
			return in, nil
		})}
	})
	add := Func[sum, sum](s, "relays", JSON)
	got, err := add(t.Context(), sum{A: 2, B: 3})
	require.NoError(t, err)
	assert.Equal(t, sum{2, 3, 5}, got)
	_, err = add(t.Context(), sum{})
	assert.ErrorIs(t, err, abi.INVAL)
	_, err = Func[string, sum](s, "relays", JSON)(t.Context(), "no sum")
	assert.ErrorIs(t, err, abi.INVAL)
	_, err = Func[chan int, sum](s, "relays", JSON)(t.Context(), nil)
	assert.ErrorContains(t, err, `sandbox: the request to "relays": json: unsupported type`)
	out, err := Func[sum, string](s, "echo", JSON)(t.Context(), sum{A: 1})
	assert.ErrorContains(t, err, `sandbox: the reply of "echo": json: cannot unmarshal object`)
	assert.Empty(t, out)
}

// FuzzHostileGuest has the guest's kernel send anything within a call, while handlers call it: nothing panics, the call ends, memory stays within the limits, and
// a reset makes the sandbox whole.
func FuzzHostileGuest(f *testing.F) {
	call := wire.Append(nil, wire.Frame{Kind: abi.ServiceCall, Number: 1, Most: 100, Name: []byte("relay"), Payload: []byte("x")})
	for _, frame := range []wire.Frame{
		{Kind: abi.ServiceCall, Number: 1, Most: 100, Name: []byte("time")},
		{Kind: abi.ServiceAnswer, Number: 1, Payload: []byte("an answer")},
		{Kind: abi.ServiceAnswer, Number: 1, Status: abi.FAIL, Reason: abi.ServiceFaulted},
		{Kind: abi.ServiceSettle}, {Kind: abi.ServiceHello},
		{Kind: abi.ServicePart, Number: 2, Payload: []byte("part")},
	} {
		b := wire.Append(nil, frame)
		f.Add(b)
		f.Add(append(bytes.Clone(call), b...))
		f.Add(bytes.Repeat(call, 40))
	}
	var s *Sandbox
	h := newFakeHost(f)
	h.tasks["hostile"] = func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
		g.sendBytes(request)
		return nil, abi.OK
	}
	limit := 2000
	s, err := newSandbox(context.Background(), h.host(), Config{Payload: limit, Calls: 50, CallTime: 10 * time.Second, Services: Services{
		"time": func(context.Context, []byte, []byte) ([]byte, error) { return []byte("noon"), nil },
		"relay": func(ctx context.Context, reply, _ []byte) ([]byte, error) {
			return s.AppendCall(ctx, reply, "echo", []byte("y"))
		},
	}})
	require.NoError(f, err)
	f.Cleanup(func() { assert.NoError(f, s.Close()) })
	snap, err := s.Snapshot()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, frames []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond) // a frame that never ends is no answer
		defer cancel()
		_, err := s.Call(ctx, "hostile", frames[:min(len(frames), limit)])
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("an error of another type: %v", err)
		}
		for i := range s.levels {
			if l := &s.levels[i]; cap(l.request) > 4*limit || cap(l.memory) > 4*limit || cap(l.reply) > 4*limit {
				t.Fatalf("%d, %d and %d bytes are kept of level %d", cap(l.request), cap(l.memory), cap(l.reply), i)
			}
		}
		if err := s.Reset(snap); err != nil {
			t.Fatal(err)
		}
		if reply, err := s.Call(context.Background(), "echo", []byte("whole")); err != nil || string(reply) != "whole" {
			t.Fatal(reply, err)
		}
	})
}

// TestArguments: tasks of a sandbox have those of its configuration.
func TestArguments(t *testing.T) {
	s := &Sandbox{config: Config{Arguments: []string{"a"}, Environment: []string{"A=b"}}}
	c := s.machineConfig()
	assert.Equal(t, []string{"a"}, c.Arguments)
	assert.Equal(t, []string{"A=b"}, c.Environment)
}
