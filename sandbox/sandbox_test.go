package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
	"kapsel/vmm/image"
)

func TestCall(t *testing.T) {
	s, _ := newTest(t)
	reply, err := s.Call(t.Context(), "greeter", []byte("world"))
	require.NoError(t, err)
	assert.Equal(t, "hello, world", string(reply))
	reply, err = s.AppendCall(t.Context(), []byte("said: "), "greeter", nil)
	require.NoError(t, err)
	assert.Equal(t, "said: hello, ", string(reply))
	assert.EqualValues(t, 2, s.Stats().Calls)
}

// TestThousandCalls: of all sizes that are allowed.
func TestThousandCalls(t *testing.T) {
	s, _ := newTest(t, func(c *Config) { c.Payload = 5000 })
	request := bytes.Repeat([]byte("0123456789"), 500)
	for i := range 1000 {
		reply, err := s.Call(t.Context(), "echo", request[:5*i])
		require.NoError(t, err)
		require.Equal(t, string(request[:5*i]), string(reply))
	}
}

// TestHandlers: what tasks learn of a handler's answer, or of that there is none.
func TestHandlers(t *testing.T) {
	ctx := context.WithValue(t.Context(), ctxKey{}, "the call's")
	var log strings.Builder
	s, _ := newTest(t, func(c *Config) {
		c.Payload = 2000
		c.Log = func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) }
		c.Services = Services{
			"appends": func(ctx context.Context, reply, request []byte) ([]byte, error) {
				return fmt.Appendf(reply, "in %v context", ctx.Value(ctxKey{})), nil
			},
			"returns": func(context.Context, []byte, []byte) ([]byte, error) { return []byte("its own"), nil },
			"nothing": func(context.Context, []byte, []byte) ([]byte, error) { return nil, nil },
			"refuses": func(context.Context, []byte, []byte) ([]byte, error) { return nil, abi.NOACK },
			"wraps":   func(context.Context, []byte, []byte) ([]byte, error) { return nil, fmt.Errorf("a: %w", abi.OFF) },
			"fails":   func(context.Context, []byte, []byte) ([]byte, error) { return nil, fs.ErrNotExist },
			"long":    func(context.Context, []byte, []byte) ([]byte, error) { return make([]byte, 1001), nil },
			"fits":    func(context.Context, []byte, []byte) ([]byte, error) { return make([]byte, 1000), nil },
		}
	})
	for name, want := range map[string]string{"appends": "in the call's context", "returns": "its own", "nothing": "", "fits": string(make([]byte, 1000))} {
		reply, err := s.Call(ctx, "asks", []byte(name))
		require.NoError(t, err, name)
		assert.Equal(t, want, string(reply), name)
	}
	for name, want := range map[string]abi.ErrorCode{"refuses": abi.NOACK, "wraps": abi.OFF, "fails": abi.FAIL, "long": abi.SIZE, "nobody": abi.NODEVICE} {
		_, err := s.Call(ctx, "asks", []byte(name))
		assert.ErrorIs(t, err, want, name)
		assert.False(t, poisoned(t, err), name)
	}
	assert.Equal(t, 2, strings.Count(log.String(), "\n"), "the two that the task cannot know the reason of: %s", log.String())
	assert.Contains(t, log.String(), `service "fails": file does not exist`)
	assert.Contains(t, log.String(), `service "long": an answer of 1001 bytes, where the task has room for 1000`)
}

type ctxKey struct{}

// TestHandlersOwnSlice: a slice that a handler returns stays as it is.
func TestHandlersOwnSlice(t *testing.T) {
	own := []byte("this is the handler's own")
	s, _ := newTest(t, func(c *Config) {
		c.Services = Services{
			"own":    func(context.Context, []byte, []byte) ([]byte, error) { return own, nil },
			"append": func(_ context.Context, reply, _ []byte) ([]byte, error) { return append(reply, "overwritten?"...), nil },
		}
	})
	for range 3 {
		for _, name := range []string{"own", "append"} {
			_, err := s.Call(t.Context(), "asks", []byte(name))
			require.NoError(t, err)
		}
	}
	assert.Equal(t, "this is the handler's own", string(own))
}

// poisoned is Error.Poisoned.
func poisoned(t *testing.T, err error) bool {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Poisoned
}

// TestErrors: each kind, what it says, and whether it leaves the sandbox whole; a call behind it, and a reset.
func TestErrors(t *testing.T) {
	frame := wire.Append(nil, wire.Frame{Kind: abi.ServiceAnswer, Number: 4711})
	for name, c := range map[string]struct {
		service, request string
		kind             error
		also             error
		poisons          bool
		says             string
	}{
		"time":            {service: "spins", kind: ErrTime, poisons: true, says: `sandbox: call of "spins": out of time: its limit is 50ms; Reset the sandbox before the next call`},
		"time, asleep":    {service: "sleeps", kind: ErrTime, poisons: true},
		"time, asking":    {service: "asks for ever", kind: ErrTime, poisons: true},
		"fault":           {service: "faults", kind: ErrFault, poisons: true, says: `sandbox: call of "faults": the task faulted; Reset the sandbox before the next call; the console ends with "kapsel: task faults: page fault at 0x10"`},
		"memory":          {service: "glutton", kind: ErrMemory, poisons: true, says: `call of "glutton": the task is out of memory; Reset`},
		"ended":           {service: "ends", kind: ErrEnded, poisons: true},
		"machine ended":   {service: "exits", kind: ErrEnded, poisons: true, says: `the task ended: the guest ended with status 3; Reset the sandbox before the next call; the console ends with "the last task has ended"`},
		"output":          {service: "floods", kind: ErrOutput, poisons: true, says: `call of "floods": too much output; Reset`},
		"calls":           {service: "asks for ever", kind: ErrCalls, poisons: true},
		"panic":           {service: "asks", request: "panics", kind: ErrHandler, poisons: true, says: `a handler of the host's failed: the handler of "panics" panicked: oh dear; Reset`},
		"panic, error":    {service: "asks", request: "panics with an error", kind: ErrHandler, also: fs.ErrClosed, poisons: true},
		"goroutine ended": {service: "asks", request: "exits", kind: ErrHandler, poisons: true, says: `the handler of "exits" ended its goroutine`},
		"protocol":        {service: "breaks", request: strings.Repeat("x", 16), kind: ErrProtocol, poisons: true, says: `the guest broke the protocol: a frame of version 120`},
		"wrong answer":    {service: "breaks", request: string(frame), kind: ErrProtocol, poisons: true, says: "an answer to call 4711, which is not open"},
		"second hello":    {service: "breaks", request: string(wire.Append(nil, wire.Frame{Kind: abi.ServiceHello})), kind: ErrProtocol, poisons: true},

		"answer":          {service: "refuses", kind: ErrAnswer, also: abi.RESERVE, says: `sandbox: call of "refuses": the task answered with an error (RESERVE)`},
		"busy":            {service: "busy", kind: ErrAnswer, also: abi.BUSY},
		"no service":      {service: "nobody", kind: ErrNoService, also: abi.NODEVICE, says: `sandbox: call of "nobody": no task serves under this name (NODEVICE)`},
		"no name":         {service: "", kind: ErrNoService},
		"long name":       {service: strings.Repeat("n", abi.ServiceName+1), kind: ErrNoService, says: "a name of 64 bytes: want 1 to 63"},
		"large request":   {service: "echo", request: strings.Repeat("x", 1001), kind: ErrTooLarge, says: "a request of 1001 bytes: Config.Payload allows 1000"},
		"large answer":    {service: "huge", kind: ErrTooLarge, also: abi.SIZE},
		"settle, unasked": {service: "breaks", request: string(wire.Append(nil, wire.Frame{Kind: abi.ServiceSettle}))},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newTest(t, func(o *Config) {
				o.Payload, o.OutputLimit, o.Calls = 1000, 10_000, 1000
				if c.kind == ErrTime {
					o.CallTime, o.Calls = 50*time.Millisecond, NoLimit
				}
				o.Services = Services{
					"time":                 func(context.Context, []byte, []byte) ([]byte, error) { return nil, nil },
					"panics":               func(context.Context, []byte, []byte) ([]byte, error) { panic("oh dear") },
					"panics with an error": func(context.Context, []byte, []byte) ([]byte, error) { panic(fs.ErrClosed) },
					"exits":                func(context.Context, []byte, []byte) ([]byte, error) { runtime.Goexit(); return nil, nil },
				}
			})
			before, err := s.Snapshot()
			require.NoError(t, err)
			for range 2 {
				_, err = s.Call(t.Context(), c.service, []byte(c.request))
				if c.kind == nil {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, c.kind)
				if c.also != nil {
					assert.ErrorIs(t, err, c.also)
				}
				assert.Contains(t, err.Error(), c.says)
				assert.Equal(t, c.poisons, poisoned(t, err))
				_, next := s.Call(t.Context(), "echo", nil)
				if !c.poisons {
					assert.NoError(t, next)
					continue
				}
				assert.ErrorIs(t, next, ErrPoisoned)
				assert.ErrorIs(t, next, c.kind, "why it is poisoned")
				assert.Contains(t, next.Error(), `sandbox: call of "echo": an earlier call was cut off: Reset the sandbox, or close it: sandbox: call of`)
				_, next = s.Snapshot()
				assert.ErrorIs(t, next, ErrPoisoned)
				require.NoError(t, s.Reset(before))
				reply, err := s.Call(t.Context(), "echo", []byte("whole"))
				require.NoError(t, err)
				assert.Equal(t, "whole", string(reply))
			}
		})
	}
}

// TestPanicErrorHasTheStack: so that a handler's fault is found.
func TestPanicErrorHasTheStack(t *testing.T) {
	s, _ := newTest(t, func(c *Config) {
		c.Services = Services{"panics": panickingHandler}
	})
	_, err := s.Call(t.Context(), "asks", []byte("panics"))
	var p *PanicError
	require.ErrorAs(t, err, &p)
	assert.Equal(t, "oh dear", p.Value)
	assert.Contains(t, string(p.Stack), "panickingHandler")
}

func panickingHandler(context.Context, []byte, []byte) ([]byte, error) { panic("oh dear") }

// TestAnswerOverTheLimit: of a guest that does not care how much the host takes.
func TestAnswerOverTheLimit(t *testing.T) {
	s, _ := newTest(t, func(c *Config) { c.Payload = 1000 })
	_, err := s.Call(t.Context(), "overlong", nil)
	assert.ErrorIs(t, err, ErrTooLarge)
	assert.ErrorContains(t, err, "an answer of 1048576 bytes: Config.Payload allows 1000")
	assert.False(t, poisoned(t, err))
}

// nest returns a service that calls the guest's relay so many times within each other, which call it.
func nest(s **Sandbox, deepest *int) Services {
	return Services{"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
		*deepest = max(*deepest, (*s).open)
		if len(request) == 0 {
			return append(reply, "bottom"...), nil
		}
		return (*s).AppendCall(ctx, reply, "relays", request[1:])
	}}
}

// TestNested: calls within calls, eight deep in each direction.
func TestNested(t *testing.T) {
	var s *Sandbox
	deepest := 0
	s, _ = newTest(t, func(c *Config) { c.Services = nest(&s, &deepest) })
	for range 3 {
		reply, err := s.Call(t.Context(), "relays", make([]byte, 7))
		require.NoError(t, err)
		assert.Equal(t, "bottom", string(reply))
		assert.Equal(t, abi.ServiceDepth, deepest)
	}
}

// TestTooDeep: the call that is one too many fails, and those around it go on.
func TestTooDeep(t *testing.T) {
	var s *Sandbox
	deepest := 0
	s, _ = newTest(t, func(c *Config) { c.Services = nest(&s, &deepest) })
	_, err := s.Call(t.Context(), "relays", make([]byte, 8))
	assert.ErrorIs(t, err, abi.FAIL, "of the handler that got ErrDepth")
	assert.False(t, poisoned(t, err))
	_, err = s.Call(t.Context(), "relays", nil)
	assert.NoError(t, err)
}

// TestNestedErrors: a failure within is what the calls around it fail with, whatever the handler makes of it.
func TestNestedErrors(t *testing.T) {
	var s *Sandbox
	var within error
	s, _ = newTest(t, func(c *Config) {
		c.Services = Services{"relay": func(ctx context.Context, _, request []byte) (reply []byte, _ error) {
			reply, within = s.Call(ctx, string(request), nil)
			return reply, nil
		}}
	})
	_, err := s.Call(t.Context(), "relays", []byte("refuses"))
	assert.NoError(t, err)
	assert.ErrorIs(t, within, abi.RESERVE)
	_, err = s.Call(t.Context(), "relays", []byte("faults"))
	assert.ErrorIs(t, err, ErrFault)
	assert.ErrorIs(t, within, ErrFault)
	assert.ErrorContains(t, err, `call of "faults"`)
}

// TestNestedContext: a call within one has a shorter time, and that of the one around it holds for it.
func TestNestedContext(t *testing.T) {
	for name, c := range map[string]struct{ outer, inner time.Duration }{
		"inner": {time.Hour, 20 * time.Millisecond},
		"outer": {20 * time.Millisecond, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var s *Sandbox
			s, _ = newTest(t, func(o *Config) {
				o.CallTime = NoLimit
				o.Services = Services{"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
					ctx, cancel := context.WithTimeout(ctx, c.inner)
					defer cancel()
					return s.AppendCall(ctx, reply, "spins", nil)
				}}
			})
			ctx, cancel := context.WithTimeout(t.Context(), c.outer)
			defer cancel()
			_, err := s.Call(ctx, "relays", nil)
			assert.ErrorIs(t, err, ErrTime)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// TestWithin: what a handler cannot do in the middle of a call.
func TestWithin(t *testing.T) {
	var s *Sandbox
	var snap *Snapshot
	var errs []error
	s, _ = newTest(t, func(c *Config) {
		c.Services = Services{"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
			_, err := s.Snapshot()
			errs = append(errs, err, s.Reset(snap))
			assert.EqualValues(t, 1, s.Stats().HostCalls)
			return nil, nil
		}}
	})
	snap, err := s.Snapshot()
	require.NoError(t, err)
	_, err = s.Call(t.Context(), "relays", nil)
	require.NoError(t, err)
	require.Len(t, errs, 2)
	assert.ErrorIs(t, errs[0], ErrWithin)
	assert.ErrorIs(t, errs[1], ErrWithin)
}

// TestCancel: a context that ends in the middle of a call, before it, and while another has its turn.
func TestCancel(t *testing.T) {
	s, _ := newTest(t, func(c *Config) { c.CallTime = NoLimit })
	snap, err := s.Snapshot()
	require.NoError(t, err)
	because := errors.New("because")
	for _, service := range []string{"spins", "sleeps"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(because) })
		_, err := s.Call(ctx, service, nil)
		assert.ErrorIs(t, err, ErrTime)
		assert.ErrorIs(t, err, because)
		assert.True(t, poisoned(t, err))
		require.NoError(t, s.Reset(snap))

		_, err = s.Call(ctx, "echo", nil)
		assert.ErrorIs(t, err, ErrTime)
		assert.ErrorIs(t, err, because)
		assert.False(t, poisoned(t, err))
	}
	first, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := s.Call(first, "spins", nil)
		assert.ErrorIs(t, err, context.Canceled)
	}()
	for len(s.turn) == 0 {
		runtime.Gosched()
	}
	second, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = s.Call(second, "echo", nil)
	assert.ErrorIs(t, err, ErrTime)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.False(t, poisoned(t, err), "it had not begun")
	end()
	<-ended
}

// TestTurns: calls of several goroutines do not meet.
func TestTurns(t *testing.T) {
	s, _ := newTest(t)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				text := fmt.Sprint(i, n)
				reply, err := s.Call(ctx, "echo", []byte(text))
				cancel()
				assert.NoError(t, err)
				assert.Equal(t, text, string(reply))
			}
		})
	}
	callers.Wait()
}

// TestClose: in the middle of calls of several goroutines, by a handler, twice, and of a sandbox that was never used.
func TestClose(t *testing.T) {
	t.Run("in a call", func(t *testing.T) {
		s, _ := newTest(t, func(c *Config) { c.CallTime = NoLimit })
		errs := make(chan error, 3)
		for range cap(errs) {
			go func() {
				_, err := s.Call(context.Background(), "spins", nil)
				errs <- err
			}()
		}
		for len(s.turn) == 0 {
			runtime.Gosched()
		}
		require.NoError(t, s.Close())
		for range cap(errs) {
			assert.ErrorIs(t, <-errs, ErrClosed)
		}
		_, err := s.Call(t.Context(), "echo", nil)
		assert.EqualError(t, err, `sandbox: call of "echo": the sandbox is closed`)
		_, err = s.Snapshot()
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, s.Reset(&Snapshot{}), ErrClosed)
	})
	t.Run("by a handler", func(t *testing.T) {
		var s *Sandbox
		s, _ = newTest(t, func(c *Config) {
			c.Services = Services{"relay": func(context.Context, []byte, []byte) ([]byte, error) { return nil, s.Close() }}
		})
		_, err := s.Call(t.Context(), "relays", nil)
		assert.ErrorIs(t, err, ErrClosed)
		assert.NoError(t, s.Close())
	})
	t.Run("behind each failure", func(t *testing.T) {
		for _, service := range []string{"faults", "exits", "floods", "breaks"} {
			s, _ := newTest(t)
			_, err := s.Call(t.Context(), service, []byte("nonsense of 16 B"))
			assert.Error(t, err, service)
		}
	})
	t.Run("beside a handler that does not return", func(t *testing.T) {
		hang, hanging := make(chan struct{}), make(chan struct{})
		h := newFakeHost(t)
		s, err := newSandbox(t.Context(), h.host(), Config{Services: Services{"hang": func(context.Context, []byte, []byte) ([]byte, error) {
			close(hanging)
			<-hang
			return nil, nil
		}}})
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, err := s.Call(context.Background(), "asks", []byte("hang"))
			assert.ErrorIs(t, err, ErrClosed)
		}()
		<-hanging
		assert.ErrorContains(t, s.Close(), "has not returned within 2s: the machine is given back when it does")
		close(hang)
		<-ended
		assert.NoError(t, s.Close())
	})
}

// TestStart: what becomes of a guest that does not come up.
func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		boot func(*fakeGuest)
		kind error
		says string
	}{
		"never settles": {func(g *fakeGuest) {
			for {
				g.breathe()
			}
		}, ErrTime, "sandbox: out of time: its limit is 50ms"},
		"ends": {func(g *fakeGuest) {
			g.print("Kernel panic\n")
			g.stop(vmm.Exit{Reason: vmm.GuestExit, Status: 101})
		}, ErrEnded, `sandbox: the task ended: the guest ended with status 101; the console ends with "Kernel panic"`},
		"says no hello": {func(g *fakeGuest) {
			g.fetch()
			g.fetch()
			g.send(wire.Frame{Kind: abi.ServiceSettle})
		}, ErrProtocol, "it did not say hello"},
		"floods": {func(g *fakeGuest) {
			for {
				g.print("flood\n")
			}
		}, ErrOutput, "too much output"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHost(t)
			h.boot = c.boot
			_, err := newSandbox(t.Context(), h.host(), Config{StartTime: 50 * time.Millisecond, OutputLimit: 10})
			if c.kind != ErrTime {
				_, err = newSandbox(t.Context(), h.host(), Config{OutputLimit: 10})
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// TestStartCalls: tasks may call the host before they have settled.
func TestStartCalls(t *testing.T) {
	h := newFakeHost(t)
	var got []byte
	h.boot = func(g *fakeGuest) {
		reply, _ := g.call("time", []byte("?"))
		got = bytes.Clone(reply)
	}
	s, err := newSandbox(t.Context(), h.host(), Config{Services: Services{"time": func(_ context.Context, reply, request []byte) ([]byte, error) {
		return append(append(reply, request...), "noon"...), nil
	}}})
	require.NoError(t, err)
	assert.Equal(t, "?noon", string(got))
	assert.NoError(t, s.Close())
}

// TestConfig: what cannot be.
func TestConfig(t *testing.T) {
	some := func(context.Context, []byte, []byte) ([]byte, error) { return nil, nil }
	for says, c := range map[string]Config{
		`sandbox: a service of the host's with the name "": want 1 to 63 bytes`:                                                                                   {Services: Services{"": some}},
		`sandbox: the service "a" of the host's has no handler`:                                                                                                   {Services: Services{"a": nil}},
		`sandbox: a limit of -1 bytes for payloads: want 1 to 1048576, or 0 for 65536`:                                                                            {Payload: -1},
		`sandbox: a limit of 1048577 bytes for payloads: want 1 to 1048576, or 0 for 65536`:                                                                       {Payload: 1<<20 + 1},
		`sandbox: a limit CallTime of -5ns: want a positive one, 0 for 10s, or NoLimit`:                                                                           {CallTime: -5},
		`sandbox: a limit Calls of -2: want a positive one, 0 for 10000, or NoLimit`:                                                                              {Calls: -2},
		"sandbox: a limit StartTime of -2ns: want a positive one, 0 for 30s, or NoLimit\na limit OutputLimit of -2: want a positive one, 0 for 65536, or NoLimit": {StartTime: -2, OutputLimit: -2},
		"sandbox: no image to boot: set Config.Image, or Config.Linux":                                                                                            {},
	} {
		_, err := New(t.Context(), c)
		assert.EqualError(t, err, says)
	}
}

// TestWithoutKVM: what New says.
func TestWithoutKVM(t *testing.T) {
	img, err := image.Parse(image.Flat([]byte{0xf4}, 0))
	require.NoError(t, err)
	_, err = New(t.Context(), Config{Image: img, KVM: "/dev/there-is-no-kvm"})
	assert.EqualError(t, err, "sandbox: cannot open /dev/there-is-no-kvm: no such file or directory: load the kvm_intel or kvm_amd module, or enable virtualization (nested, in a virtual machine)")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// TestOpenRefuses: which file cannot be used, and why; the caller's Config stays as it was.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	kernel, task, none := file("kernel", image.Flat([]byte{0xf4}, 0)), file("task", []byte("task")), filepath.Join(dir, "none")
	img, err := image.Open(t.Context(), kernel)
	require.NoError(t, err)
	tasks := append(make([][]byte, 0, 4), []byte("first"))
	for _, tt := range []struct {
		name   string
		config Config
		files  []string
		want   string
	}{
		{"no image", Config{}, []string{none}, fmt.Sprintf("sandbox: %q: no such file or directory", none)},
		{"an image that is none", Config{}, []string{task}, fmt.Sprintf("sandbox: %q: ", task)},
		{"no task", Config{}, []string{kernel, task, none}, fmt.Sprintf("sandbox: %q: no such file or directory", none)},
		{"two images", Config{Image: img}, []string{kernel}, fmt.Sprintf("sandbox: two images, Config.Image and the file %q: leave Config.Image nil, or use New", kernel)},
		{"no KVM", Config{KVM: none, Tasks: tasks}, []string{kernel, task}, fmt.Sprintf("sandbox: cannot open %s: ", none)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(t.Context(), tt.config, tt.files[0], tt.files[1:]...)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	assert.Nil(t, tasks[:2][1])

	c := Config{Tasks: tasks}
	require.NoError(t, c.read(t.Context(), kernel, []string{task, task}))
	assert.Equal(t, [][]byte{[]byte("first"), []byte("task"), []byte("task")}, c.Tasks)
	assert.NotNil(t, c.Image)
}

// TestOutput: comes by lines, in order, and what is over the limit does not; each call has the limit anew.
func TestOutput(t *testing.T) {
	var out writes
	s, _ := newTest(t, func(c *Config) { c.Output, c.OutputLimit = &out, 300 })
	for _, text := range []string{"one\ntwo", "\n\nthree", strings.Repeat("x", 300), strings.Repeat("y", 301)} {
		_, err := s.Call(t.Context(), "prints", []byte(text))
		if len(text) > 300 {
			assert.ErrorIs(t, err, ErrOutput)
		} else {
			assert.NoError(t, err)
		}
	}
	assert.Equal(t, []string{"one\n", "two", "\n", "\n", "three", strings.Repeat("x", 256), strings.Repeat("x", 44), strings.Repeat("y", 256), strings.Repeat("y", 44)}, out.all)
}

// TestOutputFails: a writer that fails is told of once, and the guest goes on.
func TestOutputFails(t *testing.T) {
	var log []string
	s, _ := newTest(t, func(c *Config) {
		c.Output, c.Log = &writes{err: fs.ErrClosed}, func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	})
	for range 2 {
		_, err := s.Call(t.Context(), "prints", []byte("a\nb\n"))
		assert.NoError(t, err)
	}
	assert.Equal(t, []string{"the output is lost: file already closed"}, log)
}

type writes struct {
	all []string
	err error
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	return len(p), w.err
}

// TestConsoleTail: an error has the last of what was printed since its call began.
func TestConsoleTail(t *testing.T) {
	c := console{out: &writes{}}
	for n := range 3 * consoleTail {
		c.begin(NoLimit)
		fmt.Fprint(&c, strings.Repeat("a", n)+"end")
		assert.Equal(t, min(n+3, consoleTail), len(c.last()))
		assert.True(t, strings.HasSuffix(c.last(), "end"))
	}
}

// TestNoAllocations: of a call that has room for its reply, with and without a context that ends, of one within which the guest calls a handler,
// and of calls within that.
func TestNoAllocations(t *testing.T) {
	var s *Sandbox
	s, _ = newTest(t, func(c *Config) {
		c.Services = Services{"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
			if len(request) > 0 {
				return s.AppendCall(ctx, reply, "relays", request[1:])
			}
			return append(reply, "bottom"...), nil
		}}
	})
	contexts := []context.Context{context.Background()}
	for range 20 { // each call has another
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		contexts = append(contexts, ctx)
	}
	request := []byte("\x00\x00\x00")
	reply := make([]byte, 0, 100)
	for _, service := range []string{"echo", "relays"} {
		next := 0
		call := func() {
			got, err := s.AppendCall(contexts[next%len(contexts)], reply, service, request)
			next++
			if err != nil || len(got) == 0 {
				t.Error(got, err)
			}
		}
		assert.Zero(t, testing.AllocsPerRun(500, call), service)
	}
}

// TestMade: the program is told of each machine before anything has run in it, and may refuse.
func TestMade(t *testing.T) {
	made := 0
	s, _ := newTest(t, func(c *Config) {
		c.Made = func() error {
			made++
			return nil
		}
	})
	assert.Equal(t, 1, made)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	other, err := snap.Start(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, made)
	assert.NoError(t, other.Close())

	h := newFakeHost(t)
	h.boot = func(*fakeGuest) { t.Error("the guest runs") }
	refusal := errors.New("not confined")
	_, err = newSandbox(t.Context(), h.host(), Config{Made: func() error { return refusal }})
	assert.ErrorIs(t, err, refusal)
}
