package sandbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
)

// hostileGuest is a kernel that keeps to the protocol most of the time: so what it sends gets far.
type hostileGuest struct {
	*fakeGuest
	r      *rand.Rand
	open   []uint32 // numbers of the host's calls that it has not answered
	stream []byte
	bytes  [3000]byte // of payloads
}

// hostilePayload is Config.Payload of a hostile guest's sandbox.
const hostilePayload = 2000

// live goes on for ever.
func (g *hostileGuest) live() {
	for {
		g.stream = wire.Append(g.stream[:0], g.next())
		if g.r.IntN(300) == 0 {
			g.stream[g.r.IntN(abi.ServiceHeader)] = byte(g.r.Uint32())
		}
		g.sendBytes(g.stream)
		for g.r.IntN(3) > 0 {
			f, ok := g.fetch()
			if ok && f.Kind == abi.ServiceCall {
				g.open = append(g.open, f.Number)
			}
		}
	}
}

// next is a frame, sound or nearly.
func (g *hostileGuest) next() wire.Frame {
	names := []string{"time", "relay", "large", "refuses", "fails", "nobody", "Time", string(g.bytes[:abi.ServiceName])}
	name := names[g.r.IntN(len(names))]
	payload := g.bytes[:g.r.IntN(1<<g.r.IntN(12))]
	switch n := g.r.IntN(1000); {
	case n < 700:
		return wire.Frame{Kind: abi.ServiceCall, Number: g.r.Uint32N(5), Most: g.r.Uint32N(100), Name: []byte(name), Payload: payload}
	case n < 800:
		return wire.Frame{Kind: abi.ServicePart, Number: g.r.Uint32N(5), Payload: payload}
	case n < 850:
		return wire.Frame{Kind: abi.ServiceSettle}
	case n < 851:
		return wire.Frame{Kind: abi.ServiceHello}
	case n < 852:
		return wire.Frame{Kind: abi.ServiceAnswer, Number: g.r.Uint32(), Payload: payload}
	case n < 853:
		return wire.Frame{Kind: abi.ServiceCall, Number: 1, Name: []byte("panics")}
	case n < 870:
		return g.answer(wire.Frame{Status: abi.FAIL, Reason: g.r.Uint32N(5)})
	case n < 890:
		return g.answer(wire.Frame{Status: abi.ErrorCode(g.r.Uint32N(16))})
	}
	return g.answer(wire.Frame{Payload: payload})
}

// answer makes f the answer of a call that is open: the innermost one, or another.
func (g *hostileGuest) answer(f wire.Frame) wire.Frame {
	if len(g.open) == 0 {
		return wire.Frame{Kind: abi.ServiceSettle}
	}
	last := len(g.open) - 1
	i := last
	if g.r.IntN(4) == 0 {
		i = g.r.IntN(len(g.open))
	}
	f.Kind, f.Number = abi.ServiceAnswer, g.open[i]
	g.open = append(g.open[:i], g.open[i+1:]...)
	return f
}

// TestMillionHostCalls: a million calls of services of the host's (of which the ladder has a part), by a guest whose kernel is hostile, with whatever else it may
// send between them: nothing panics, each call from outside ends, and what the host keeps does not grow.
func TestMillionHostCalls(t *testing.T) {
	most := uint64(50_000)
	if os.Getenv("KAPSEL_NIGHTLY") != "" {
		most = 1_000_000
	}
	r := rand.New(rand.NewPCG(3, 4))
	h := newFakeHost(t)
	h.tasks["hostile"] = func(g *fakeGuest, _ []byte) ([]byte, abi.ErrorCode) {
		(&hostileGuest{fakeGuest: g, r: r, open: []uint32{g.working}}).live()
		return nil, answered
	}
	var s *Sandbox
	s, err := newSandbox(t.Context(), h.host(), Config{Payload: hostilePayload, Calls: 40, CallTime: time.Minute, Services: Services{
		"time":    func(_ context.Context, reply, _ []byte) ([]byte, error) { return append(reply, "noon"...), nil },
		"large":   func(_ context.Context, reply, request []byte) ([]byte, error) { return append(reply, request...), nil },
		"refuses": func(context.Context, []byte, []byte) ([]byte, error) { return nil, abi.NOACK },
		"fails":   func(context.Context, []byte, []byte) ([]byte, error) { return nil, errors.New("no") },
		"panics":  func(context.Context, []byte, []byte) ([]byte, error) { panic("of a handler") },
		"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
			return s.AppendCall(ctx, reply, "anything", request)
		},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	snap, err := s.Snapshot()
	require.NoError(t, err)

	ends := map[error]int{}
	reply := make([]byte, 0, 2*hostilePayload)
	run := func(calls uint64) {
		for end := s.Stats().HostCalls + calls; s.Stats().HostCalls < end; {
			_, err := s.AppendCall(t.Context(), reply, "hostile", []byte("begin"))
			var e *Error
			if err == nil {
				ends[nil]++
				continue
			}
			require.ErrorAs(t, err, &e)
			ends[e.Kind]++
			if e.Poisoned {
				require.NoError(t, s.Reset(snap))
			}
		}
	}
	run(most / 5)
	before, goroutines := heap(), runtime.NumGoroutine()
	run(most - most/5)
	stats := s.Stats()
	t.Logf("%d calls of the host's services within %d of the guest's, which ended by %v; %d resets; %d bytes on the heap before, %d behind",
		stats.HostCalls, stats.Calls, ends, stats.Resets, before, heap())
	assert.Less(t, heap(), before+256<<10)
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+2)
	for i := range s.levels {
		l := &s.levels[i]
		assert.LessOrEqual(t, max(cap(l.request), cap(l.memory), cap(l.reply)), 4*hostilePayload, "level %d", i)
	}
	for _, kind := range []error{nil, ErrProtocol, ErrCalls, ErrFault, ErrMemory, ErrEnded, ErrHandler, ErrAnswer, ErrTooLarge, ErrNoService} {
		assert.Positive(t, ends[kind], "%v", kind)
	}
	assert.Zero(t, ends[ErrPoisoned], "the error of the call before said so")
}

// heap is how many bytes are in use on the heap.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAnswerBeforeAFaultWithin: a guest answers a call, with an error that does not poison, in the middle of a call within it, which then faults. That is told.
func TestAnswerBeforeAFaultWithin(t *testing.T) {
	var s *Sandbox
	s, h := newTest(t, func(c *Config) {
		c.Services = Services{"relay": func(ctx context.Context, reply, request []byte) ([]byte, error) {
			return s.AppendCall(ctx, reply, "inner", request)
		}}
	})
	var outer uint32
	h.tasks["outer"] = func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
		outer = g.working
		return g.call("relay", request)
	}
	h.tasks["inner"] = func(g *fakeGuest, _ []byte) ([]byte, abi.ErrorCode) {
		g.send(wire.Frame{Kind: abi.ServiceAnswer, Number: outer, Status: abi.NOACK})
		panic(lost(abi.ServiceFaulted))
	}
	_, err := s.Call(t.Context(), "outer", nil)
	require.ErrorIs(t, err, ErrFault)
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.True(t, e.Poisoned)
}
