package sandbox

import (
	"context"
	"errors"
	"fmt"

	"kapsel/vmm"
	"kapsel/vmm/snapshot"
)

// Snapshot is a sandbox as it was at an instant between two calls, when no task was ready to run. It does not change, and does not need the sandbox
// that it was taken of. Several goroutines may use it.
type Snapshot struct {
	machine *snapshot.Snapshot
	config  Config // of the sandboxes that start from it
	host    host
}

// Snapshot returns the sandbox as it is. Before, it lets the tasks settle; if they do not within Config.CallTime the error is ErrTime, and the sandbox
// is poisoned.
func (s *Sandbox) Snapshot() (*Snapshot, error) {
	if s.within() {
		return nil, &Error{Kind: ErrWithin, Cause: errors.New("a snapshot is taken between calls")}
	}
	if err := s.enter(context.Background(), ""); err != nil {
		return nil, err
	}
	defer s.leave()
	if s.broken != nil {
		return nil, &Error{Kind: ErrPoisoned, Cause: s.broken, Poisoned: true}
	}
	if err := s.rest(); err != nil {
		return nil, err
	}
	taken, err := s.machine.Snapshot()
	switch {
	case err != nil && s.isClosed():
		return nil, &Error{Kind: ErrClosed, Cause: err}
	case err != nil:
		return nil, fmt.Errorf("sandbox: a snapshot: %w", err)
	}
	config := s.config
	config.Image, config.Tasks, config.Arguments, config.Environment = nil, nil, nil, nil // they are in its memory
	return &Snapshot{taken, config, s.host}, nil
}

// rest has the guest settle, with nothing on its way to it or from it.
func (s *Sandbox) rest() error {
	var failed *Error
	s.console.begin(s.config.OutputLimit)
	s.calls = 0
	err := s.machine.Do(func() { failed = s.settle(context.Background(), s.config.CallTime) })
	switch {
	case err != nil:
		return &Error{Kind: ErrClosed}
	case failed != nil:
		return failed
	case !s.link.AtRest():
		return s.poison("", ErrProtocol, errors.New("it has settled in the middle of a frame"))
	}
	return nil
}

// Reset makes the sandbox what it was when the snapshot was taken, also when it is poisoned. The snapshot is one of this sandbox, or of one that started
// from the same. If it fails the error is ErrReset, and the sandbox can only be closed.
func (s *Sandbox) Reset(to *Snapshot) error {
	if s.within() {
		return &Error{Kind: ErrWithin, Cause: errors.New("a sandbox is reset between calls"), Poisoned: s.broken != nil}
	}
	if err := s.enter(context.Background(), ""); err != nil {
		return err
	}
	defer s.leave()
	stats, err := s.machine.Reset(to.machine, s.config.Clock)
	switch {
	case err != nil && s.isClosed():
		return &Error{Kind: ErrClosed, Cause: err}
	case err != nil:
		s.broken = &Error{Kind: ErrReset, Cause: err, Poisoned: true}
		return s.broken
	}
	s.link.Reset()
	s.depth, s.open, s.broken = 0, 0, nil
	s.counting.Lock()
	s.stats.Resets++
	s.stats.Reset = stats
	s.counting.Unlock()
	return nil
}

// Start returns a sandbox that goes on from the snapshot. The machine is another one: it shares the snapshot's memory until it writes to it.
func (n *Snapshot) Start(ctx context.Context) (*Sandbox, error) {
	s := prepare(n.config, n.host)
	s.up = true
	fork := func(c vmm.Config) (machine, error) { return n.host.fork(ctx, n.machine, c, n.config.Clock) }
	if err := s.start(ctx, fork, func(*Sandbox, context.Context) *Error { return nil }); err != nil {
		return nil, err
	}
	return s, nil
}

// Save writes the snapshot to a directory, which it makes, as an OCI image layout. Services and limits are not in it.
func (n *Snapshot) Save(dir string) error {
	if err := n.machine.Save(dir); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// SaveIn is Save to a place that was prepared (snapshot.Prepare), for a program that confines itself before the guest has run.
func (n *Snapshot) SaveIn(p *snapshot.Place) error {
	if err := p.Save(n.machine); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// Load reads a snapshot that Save has written. c is for the sandboxes that start from it: services, devices as those of the sandbox that it was taken of,
// output and limits; it has no Image and no Tasks, nor Arguments and Environment.
func Load(dir string, c Config) (*Snapshot, error) {
	if _, err := forStart(c); err != nil { // before the memory is read
		return nil, err
	}
	loaded, err := snapshot.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return From(loaded, c)
}

// From is Load for a snapshot that snapshot.Load has read, for who looks into its state first. It is the Snapshot's then, which closes it.
func From(loaded *snapshot.Snapshot, c Config) (*Snapshot, error) {
	c, err := forStart(c)
	if err != nil {
		return nil, err
	}
	return &Snapshot{loaded, c, kvm}, nil
}

// forStart is c for sandboxes that start from a snapshot.
func forStart(c Config) (Config, error) {
	c, err := c.withDefaults()
	switch {
	case err != nil:
	case c.Image != nil || c.Tasks != nil:
		err = errors.New("an image or tasks for a snapshot, which has its own: leave Config.Image and Tasks nil")
	case c.Arguments != nil || c.Environment != nil:
		err = errors.New("arguments or an environment for a snapshot, which has its own: leave Config.Arguments and Environment nil")
	}
	if err != nil {
		return c, fmt.Errorf("sandbox: %w", err)
	}
	return c, nil
}

// Close gives the snapshot's memory back, once no sandbox that started from it uses it.
func (n *Snapshot) Close() error { return n.machine.Close() }
