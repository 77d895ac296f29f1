package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
	"kapsel/vmm/snapshot"
	"kapsel/vmm/virtio"
)

// fakeHost makes machines with a guest that is Go: a model of the kernel's driver of services, and tasks.
type fakeHost struct {
	t     testing.TB
	tasks map[string]fakeTask
	boot  func(g *fakeGuest) // what the guest does before it serves; nil: it settles

	mu       sync.Mutex
	machines []*fakeMachine
	states   map[*snapshot.Snapshot]fakeState
	failing  bool // Fork and Reset fail
}

// fakeTask answers a request, and may do anything with the guest meanwhile.
type fakeTask func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode)

// fakeState is what of a guest a snapshot keeps.
type fakeState struct{ counter int }

// answered is what a task returns that has sent its answer itself.
const answered abi.ErrorCode = 0xffff

// lost is a task's end within a call, of which the kernel tells the host.
type lost uint32

func newFakeHost(t testing.TB) *fakeHost {
	h := &fakeHost{t: t, states: map[*snapshot.Snapshot]fakeState{}}
	h.tasks = fakeTasks()
	t.Cleanup(func() {
		for _, m := range h.machines {
			assert.True(t, m.isClosed(), "each machine is closed in the end")
		}
	})
	return h
}

func (h *fakeHost) host() host {
	return host{
		boot: func(ctx context.Context, c vmm.Config) (machine, error) { return h.start(c, fakeState{}, false), nil },
		fork: func(ctx context.Context, s *snapshot.Snapshot, c vmm.Config, _ vmm.Time) (machine, error) {
			h.mu.Lock()
			state, failing := h.states[s], h.failing
			h.mu.Unlock()
			if failing {
				return nil, errors.New("no memory for a fork")
			}
			return h.start(c, state, true), nil
		},
	}
}

func (h *fakeHost) start(c vmm.Config, state fakeState, forked bool) *fakeMachine {
	ports := c.Devices[0].(vmm.Ports)
	require.Equal(h.t, abi.PortService, ports[0].Name)
	require.True(h.t, c.InStep && c.ConsoleInStep)
	m := &fakeMachine{
		host: h, end: ports[0].End, console: c.Console, state: state,
		calls: make(chan func()), done: make(chan struct{}), ended: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	m.end.Attach(func() {})
	m.guest = m.newGuest(forked)
	go m.serve()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.machines = append(h.machines, m)
	return m
}

// fakeMachine is a vmm.Machine's stand-in: a thread, and a guest that runs while Resume does.
type fakeMachine struct {
	host    *fakeHost
	end     virtio.End
	console io.Writer
	state   fakeState
	guest   *fakeGuest

	turn   sync.Mutex
	calls  chan func()
	done   chan struct{}
	ended  chan struct{}
	closes sync.Once
	kick   chan struct{} // holds one: a pause is wanted
	resets atomic.Int32
	closed atomic.Bool
}

func (m *fakeMachine) isClosed() bool { return m.closed.Load() }

func (m *fakeMachine) serve() {
	runtime.LockOSThread()
	inCall := false
	defer func() {
		if inCall {
			if v := recover(); v != nil {
				panic(v)
			}
			m.done <- struct{}{}
			m.serve()
		}
	}()
	for {
		select {
		case f := <-m.calls:
			inCall = true
			f()
			inCall = false
			m.done <- struct{}{}
		case <-m.ended:
			return
		}
	}
}

func (m *fakeMachine) Do(f func()) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	select {
	case m.calls <- f:
		<-m.done
		return nil
	case <-m.ended:
		return errors.New("closed")
	}
}

func (m *fakeMachine) Resume() (vmm.Exit, error) {
	if m.closed.Load() {
		return vmm.Exit{Reason: vmm.Cancelled}, nil
	}
	select {
	case <-m.kick:
		return vmm.Exit{Reason: vmm.Paused}, nil
	default:
	}
	m.guest.resume <- struct{}{}
	exit := <-m.guest.paused
	if m.closed.Load() {
		exit = vmm.Exit{Reason: vmm.Cancelled}
	}
	return exit, nil
}

func (m *fakeMachine) Pause() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

func (m *fakeMachine) Snapshot() (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{}
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.closed.Load() {
		return nil, errors.New("closed")
	}
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	m.host.states[s] = m.state
	return s, nil
}

func (m *fakeMachine) Reset(s *snapshot.Snapshot, _ vmm.Time) (vmm.ResetStats, error) {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.closed.Load() {
		return vmm.ResetStats{}, errors.New("closed")
	}
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	if m.host.failing {
		return vmm.ResetStats{}, errors.New("pages are lost")
	}
	m.guest.kill()
	m.state = m.host.states[s]
	m.guest = m.newGuest(true)
	m.resets.Add(1)
	return vmm.ResetStats{Pages: 16}, nil
}

func (m *fakeMachine) Stats() vmm.Stats { return vmm.Stats{} }

func (m *fakeMachine) Close() error {
	m.closed.Store(true)
	m.Pause()
	m.Do(func() {})
	m.closes.Do(func() { close(m.ended) })
	m.turn.Lock()
	defer m.turn.Unlock()
	m.guest.kill()
	return nil
}

// fakeGuest is a goroutine that runs only between a resume and the pause behind it.
type fakeGuest struct {
	m      *fakeMachine
	resume chan struct{}
	paused chan vmm.Exit
	killed chan struct{}

	frame   []byte     // of the host's, as far as it came
	memory  [20][]byte // of frames, for each depth; so nothing is allocated for a call
	depth   int        // tasks that are at work
	buffer  []byte
	piece   [512]byte
	working uint32 // number of the host's call that a task works on
	asked   uint32 // and of the last call to the host
	answers map[uint32]wire.Frame
}

func (m *fakeMachine) newGuest(forked bool) *fakeGuest {
	g := &fakeGuest{m: m, resume: make(chan struct{}), paused: make(chan vmm.Exit), killed: make(chan struct{}), answers: map[uint32]wire.Frame{}}
	go func() {
		g.await()
		if m.host.boot != nil && !forked {
			m.host.boot(g)
		}
		for {
			g.step()
		}
	}()
	return g
}

func (g *fakeGuest) kill() { close(g.killed) }

// await waits until the guest is to run.
func (g *fakeGuest) await() {
	select {
	case <-g.resume:
	case <-g.killed:
		runtime.Goexit()
	}
}

// breathe pauses the guest if it is to be.
func (g *fakeGuest) breathe() {
	select {
	case <-g.m.kick:
		g.stop(vmm.Exit{Reason: vmm.Paused})
	default:
	}
}

// halt sleeps until the guest is to be paused.
func (g *fakeGuest) halt() {
	<-g.m.kick
	g.stop(vmm.Exit{Reason: vmm.Paused})
}

func (g *fakeGuest) stop(exit vmm.Exit) {
	g.paused <- exit
	g.await()
}

// step does what the host's next frame wants.
func (g *fakeGuest) step() {
	f, ok := g.fetch()
	if !ok {
		g.halt()
		return
	}
	switch f.Kind {
	case abi.ServiceHello, abi.ServiceSettle:
		g.send(wire.Frame{Kind: f.Kind})
	case abi.ServiceAnswer:
		g.answers[f.Number] = f
	case abi.ServiceCall:
		g.serve(f)
	}
}

// serve has a task answer.
func (g *fakeGuest) serve(f wire.Frame) {
	answer := wire.Frame{Kind: abi.ServiceAnswer, Number: f.Number}
	task := g.m.host.tasks[string(f.Name)]
	if task == nil {
		answer.Status = abi.NODEVICE
		g.send(answer)
		return
	}
	outer := g.working
	g.working = f.Number
	g.depth++
	func() {
		defer func() {
			g.working = outer
			g.depth--
			if v := recover(); v != nil {
				answer.Status, answer.Reason = abi.FAIL, uint32(v.(lost))
			}
		}()
		answer.Payload, answer.Status = task(g, f.Payload)
	}()
	if answer.Status == answered {
		return
	}
	if uint32(len(answer.Payload)) > f.Most {
		answer.Status = abi.SIZE
	}
	if answer.Status != abi.OK {
		answer.Payload = nil
	}
	g.send(answer)
}

// call calls a service of the host's, and serves it meanwhile.
func (g *fakeGuest) call(name string, request []byte) ([]byte, abi.ErrorCode) {
	g.asked++
	number := g.asked
	g.send(wire.Frame{Kind: abi.ServiceCall, Number: number, Most: 1000, Name: []byte(name), Payload: request})
	for {
		if f, ok := g.answers[number]; ok {
			delete(g.answers, number)
			return f.Payload, f.Status
		}
		g.step()
	}
}

// fetch returns the next frame of the host's.
func (g *fakeGuest) fetch() (wire.Frame, bool) {
	le := binary.LittleEndian
	for {
		if len(g.frame) >= abi.ServiceHeader {
			name := int(g.frame[3])
			end := abi.ServiceHeader + name + int(le.Uint32(g.frame[8:]))
			if len(g.frame) >= end {
				b := g.frame[:end]
				f := wire.Frame{Kind: b[1], Status: abi.ErrorCode(b[2]), Number: le.Uint32(b[4:]), Most: le.Uint32(b[12:])}
				g.memory[g.depth] = append(g.memory[g.depth][:0], b[abi.ServiceHeader:]...)
				f.Name, f.Payload = g.memory[g.depth][:name], g.memory[g.depth][name:]
				g.frame = g.frame[:copy(g.frame, g.frame[end:])]
				return f, true
			}
		}
		n := g.m.end.Fetch(g.piece[:])
		if n == 0 {
			return wire.Frame{}, false
		}
		g.frame = append(g.frame, g.piece[:n]...)
	}
}

// send sends a frame, or anything else.
func (g *fakeGuest) send(f wire.Frame) {
	g.buffer = wire.Append(g.buffer[:0], f)
	g.sendBytes(g.buffer)
}

func (g *fakeGuest) sendBytes(b []byte) {
	for len(b) > 0 {
		b = b[g.m.end.Offer(b):]
		g.breathe()
	}
}

func (g *fakeGuest) print(text string) {
	for i := range text {
		g.m.console.Write([]byte{text[i]})
	}
	g.breathe()
}

// fakeTasks are the tasks of all tests.
func fakeTasks() map[string]fakeTask {
	return map[string]fakeTask{
		"echo": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return request, abi.OK },
		"greeter": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			return append([]byte("hello, "), request...), abi.OK
		},
		"counter": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.m.state.counter++
			return []byte{byte(g.m.state.counter)}, abi.OK
		},
		"refuses": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return nil, abi.RESERVE },
		"busy":    func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return nil, abi.BUSY },
		"huge":    func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return make([]byte, 1<<20), abi.OK },
		"overlong": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.send(wire.Frame{Kind: abi.ServiceAnswer, Number: g.working, Payload: make([]byte, 1<<20)})
			return nil, answered
		},
		"spins": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			for {
				g.breathe()
				runtime.Gosched()
			}
		},
		"sleeps": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			for {
				g.halt()
			}
		},
		"faults": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.print("kapsel: task faults: page fault at 0x10\n")
			panic(lost(abi.ServiceFaulted))
		},
		"glutton": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { panic(lost(abi.ServiceMemory)) },
		"ends":    func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { panic(lost(abi.ServiceEnded)) },
		"exits": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.print("the last task has ended\n")
			g.stop(vmm.Exit{Reason: vmm.GuestExit, Status: 3})
			return nil, abi.OK
		},
		"floods": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			for {
				g.print("flood\n")
			}
		},
		"prints": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.print(string(request))
			return nil, abi.OK
		},
		"asks": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return g.call(string(request), nil) },
		"asks for ever": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			for {
				g.call("time", nil)
			}
		},
		"relays": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) { return g.call("relay", request) },
		"breaks": func(g *fakeGuest, request []byte) ([]byte, abi.ErrorCode) {
			g.sendBytes(request)
			return nil, abi.OK
		},
	}
}

// newTest returns a sandbox with a fake guest, after change of its Config.
func newTest(t testing.TB, change ...func(*Config)) (*Sandbox, *fakeHost) {
	h := newFakeHost(t)
	c := Config{CallTime: 20 * time.Second}
	for _, f := range change {
		f(&c)
	}
	s, err := newSandbox(t.Context(), h.host(), c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s, h
}
