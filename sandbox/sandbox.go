package sandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
	"kapsel/vmm/snapshot"
)

// machine is what a sandbox needs of a vmm.Machine.
type machine interface {
	Do(f func()) error
	Resume() (vmm.Exit, error)
	Pause()
	Snapshot() (*snapshot.Snapshot, error)
	Reset(*snapshot.Snapshot, vmm.Time) (vmm.ResetStats, error)
	Stats() vmm.Stats
	Close() error
}

// host makes machines. Tests have one without KVM.
type host struct {
	boot func(context.Context, vmm.Config) (machine, error)
	fork func(context.Context, *snapshot.Snapshot, vmm.Config, vmm.Time) (machine, error)
}

var kvm = host{
	boot: func(ctx context.Context, c vmm.Config) (machine, error) { return orNil(vmm.New(ctx, c)) },
	fork: func(ctx context.Context, s *snapshot.Snapshot, c vmm.Config, t vmm.Time) (machine, error) {
		return orNil(vmm.Fork(ctx, s, c, t))
	},
}

// orNil keeps a nil machine from becoming an interface that is not nil.
func orNil(m *vmm.Machine, err error) (machine, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Sandbox is a machine whose tasks serve the host, and have services of it. Its methods may be called from any goroutine; they take turns.
type Sandbox struct {
	config   Config
	services Services // of the configuration, and its own
	host     host
	machine  machine
	link     *wire.Link
	console  console
	thread   int // of the processor: its number at the host's kernel

	turn     chan struct{} // holds one while somebody uses what is below, and the machine
	handling atomic.Int32  // handlers that have not returned
	closed   chan struct{}
	gone     chan struct{} // closed: the machine is
	closing  sync.Once
	closeErr error // of the machine

	watcher watcher
	job     job    // of AppendCall, for the thread
	run     func() // does it
	number  uint32 // of the last call to the guest
	levels  [abi.ServiceDepth + 2]level
	depth   int // levels in use
	open    int // calls that are open, in both directions
	calls   int // of the guest's, since the outermost call began
	broken  *Error
	resting bool // handlers are not called: what comes is dropped
	up      bool // the kernel has said hello

	counting sync.Mutex // holds stats
	stats    Stats
}

// Stats count what happened in a sandbox.
type Stats struct {
	Calls     uint64 // of the guest's services, by handlers too
	HostCalls uint64 // of the host's services, by the guest
	Resets    uint64
	Reset     vmm.ResetStats // of the last one
	Machine   vmm.Stats
}

// New boots a machine and returns it when the kernel is up and no task is ready to run. It needs KVM. Without, the error says what to do:
//
//	sandbox: cannot open /dev/kvm: no such file or directory: load the kvm_intel or kvm_amd module, or enable virtualization (nested, in a virtual machine)
//
// and errors.Is finds fs.ErrNotExist in it, or fs.ErrPermission. If tasks do not settle within Config.StartTime or ctx ends the error is ErrTime.
// Close the sandbox after use.
func New(ctx context.Context, c Config) (*Sandbox, error) { return newSandbox(ctx, kvm, c) }

// Open is New of files: one with the image, which becomes Config.Image, and those of further tasks, which come behind Config.Tasks.
func Open(ctx context.Context, c Config, kernel string, tasks ...string) (*Sandbox, error) {
	if err := c.read(ctx, kernel, tasks); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return New(ctx, c)
}

func newSandbox(ctx context.Context, h host, c Config) (*Sandbox, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s := prepare(c, h)
	if err := s.start(ctx, func(c vmm.Config) (machine, error) { return h.boot(ctx, c) }, (*Sandbox).hello); err != nil {
		return nil, err
	}
	return s, nil
}

// prepare makes a sandbox without a machine.
func prepare(c Config, h host) *Sandbox {
	s := &Sandbox{config: c, host: h, turn: make(chan struct{}, 1), closed: make(chan struct{}), gone: make(chan struct{})}
	s.link = wire.New(c.Payload, s.pause)
	s.console = console{out: c.Output, log: c.Log, over: s.pause}
	s.watcher = newWatcher(s.pause, s.closed)
	s.run = func() { s.job.reply, s.job.err = s.call(s.job.ctx, s.job.reply, s.job.name, s.job.request) }
	return s
}

// findServices finds what its tasks can call.
func (s *Sandbox) findServices() (err error) {
	s.services = s.config.Services
	if s.config.ServicesOf != nil {
		s.services, err = s.services.with(s.config.ServicesOf(s))
	}
	return err
}

// pause has the guest stand still, so that somebody looks.
func (s *Sandbox) pause() { s.machine.Pause() }

// start makes the machine, and has begin done on its thread.
func (s *Sandbox) start(ctx context.Context, make func(vmm.Config) (machine, error), begin func(*Sandbox, context.Context) *Error) (err error) {
	if err = s.findServices(); err == nil {
		s.machine, err = make(s.machineConfig())
	}
	if err != nil {
		s.closing.Do(func() { // Config.ServicesOf may have kept it
			close(s.closed)
			close(s.gone)
		})
		return fmt.Errorf("sandbox: %w", err)
	}
	if s.config.Made != nil {
		if err := s.config.Made(); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	var failed *Error
	err = s.machine.Do(func() {
		s.thread = unix.Gettid()
		failed = begin(s, ctx)
	})
	if failed != nil {
		failed.Poisoned = false // there is nothing to reset
		err = failed
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

func (s *Sandbox) machineConfig() vmm.Config {
	c := s.config
	return vmm.Config{
		Image:   c.Image,
		Modules: c.Tasks,
		Memory:  c.Memory,
		Cmdline: c.Cmdline,

		Arguments:   c.Arguments,
		Environment: c.Environment,

		Devices: append([]vmm.Device{vmm.Ports{{Name: abi.PortService, End: s.link}}}, c.Devices...),
		InStep:  true,

		Console:       &s.console,
		ConsoleInStep: true,
		Log:           c.Log,
		KVM:           c.KVM,
	}
}

// hello boots the guest, until it has settled.
func (s *Sandbox) hello(ctx context.Context) *Error {
	output := s.config.OutputLimit
	if output != NoLimit {
		output = max(output, DefaultOutput)
	}
	s.console.begin(output)
	s.calls = 0
	if err := s.link.Send(wire.Frame{Kind: abi.ServiceHello}); err != nil {
		return s.poison("", ErrProtocol, err)
	}
	err := s.settle(ctx, s.config.StartTime)
	if err == nil && !s.up {
		return s.poison("", ErrProtocol, errors.New("it did not say hello"))
	}
	return err
}

// CloseTime is how long Close waits for a handler that does not return.
const CloseTime = 2 * time.Second

// Close stops the guest and gives the machine back. A call that is open ends with ErrClosed. If a handler, or Config.Output, does not return within
// CloseTime, Close returns an error, and the machine is given back when it does. Calling it again returns the same. A handler may call it.
func (s *Sandbox) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		go func() {
			s.closeErr = s.machine.Close()
			close(s.gone)
		}()
	})
	if s.within() {
		return nil
	}
	timer := time.NewTimer(CloseTime)
	defer timer.Stop()
	select {
	case <-s.gone:
		if s.closeErr != nil {
			return fmt.Errorf("sandbox: %w", s.closeErr)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("sandbox: a handler, or the writer of the output, has not returned within %v: the machine is given back when it does", CloseTime)
	}
}

// Stats returns the counters, at any time.
func (s *Sandbox) Stats() Stats {
	s.counting.Lock()
	stats := s.stats
	s.counting.Unlock()
	if s.machine != nil {
		stats.Machine = s.machine.Stats()
	}
	return stats
}

// count changes the counters.
func (s *Sandbox) count(counter *uint64) {
	s.counting.Lock()
	*counter++
	s.counting.Unlock()
}

// within reports whether the caller is a handler, on its own goroutine: that of the processor's thread, which has no other.
func (s *Sandbox) within() bool { return s.handling.Load() > 0 && unix.Gettid() == s.thread }

// enter waits for a turn.
func (s *Sandbox) enter(ctx context.Context, service string) error {
	if err := s.admit(ctx, service); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-s.closed:
	}
	return s.admit(ctx, service)
}

// admit says why nothing can begin.
func (s *Sandbox) admit(ctx context.Context, service string) error {
	switch {
	case s.isClosed():
		return &Error{Service: service, Kind: ErrClosed}
	case ctx.Err() != nil:
		return &Error{Service: service, Kind: ErrTime, Cause: context.Cause(ctx)}
	}
	return nil
}

func (s *Sandbox) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Sandbox) leave() { <-s.turn }

// poison marks the sandbox as one that must be reset, and returns why.
func (s *Sandbox) poison(service string, kind, cause error) *Error {
	if s.broken == nil {
		s.broken = &Error{Service: service, Kind: kind, Cause: cause, Console: s.console.last(), Poisoned: kind != ErrClosed}
	}
	return s.broken
}

// job is a call on its way to the thread, and its result on the way back.
type job struct {
	ctx     context.Context
	name    string
	request []byte
	reply   []byte
	err     error
}

// Call calls a service of the guest's: the task of that name gets the request, and what it answers is returned. Errors are of type *Error: of which
// kind says Error.Kind, and Poisoned whether the sandbox must be reset.
//
// If another goroutine's call is open it waits for that. A handler may call the sandbox that it serves; see Handler.
func (s *Sandbox) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	return s.AppendCall(ctx, nil, name, request)
}

// AppendCall is Call with the reply appended to dst. If dst has room for it nothing is allocated.
func (s *Sandbox) AppendCall(ctx context.Context, dst []byte, name string, request []byte) ([]byte, error) {
	if s.within() {
		return s.call(ctx, dst, name, request)
	}
	if err := s.enter(ctx, name); err != nil {
		return dst, err
	}
	defer s.leave()
	s.job = job{ctx: ctx, name: name, request: request, reply: dst}
	err := s.machine.Do(s.run)
	done := s.job
	s.job = job{}
	switch {
	case err != nil:
		return dst, &Error{Service: name, Kind: ErrClosed}
	case done.err == nil && s.broken != nil: // a handler ended the goroutine, so that call did not return
		return dst, s.broken
	}
	return done.reply, done.err
}

// stack is debug.Stack's, of which the beginning suffices.
func stack() []byte {
	b := debug.Stack()
	return b[:min(len(b), 8<<10)]
}
