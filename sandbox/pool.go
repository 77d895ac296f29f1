package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// PoolConfig says how many sandboxes a Pool has.
type PoolConfig struct {
	// Warm is how many are kept ready, at most Max.
	Warm int
	// Max is how many there can be, with those that are in use; at least 1.
	Max int
}

// PoolStats count what happened in a Pool.
type PoolStats struct {
	Idle, Busy int    // sandboxes that are ready, and in use
	Started    uint64 // from the snapshot
	Gets       uint64 // that got one
	Waited     uint64 // of these, how many found all Max in use
	Resets     uint64 // by Put
	Lost       uint64 // could not be reset
}

// Pool keeps sandboxes ready, each as a snapshot has it. It may be used by several goroutines.
type Pool struct {
	snapshot *Snapshot
	config   PoolConfig
	slots    chan struct{} // holds one for each that is in use, or is to be
	closed   chan struct{}

	mu      sync.Mutex // holds the rest
	idle    []*Sandbox
	busy    map[*Sandbox]bool
	stats   PoolStats
	closing bool
}

// ErrPoolClosed is Get's error for a Pool that is closed.
var ErrPoolClosed = errors.New("sandbox: the pool is closed")

// NewPool returns a pool of sandboxes that start from a snapshot, which stays the caller's and is not to be closed before the pool. Config.Warm
// of them are started; if that fails, so does NewPool.
func NewPool(snapshot *Snapshot, c PoolConfig) (*Pool, error) {
	if c.Max < 1 || c.Warm < 0 || c.Warm > c.Max {
		return nil, fmt.Errorf("sandbox: a pool of %d sandboxes, %d of them warm: want at least one, and no more warm ones", c.Max, c.Warm)
	}
	p := &Pool{snapshot: snapshot, config: c, slots: make(chan struct{}, c.Max), closed: make(chan struct{}), busy: map[*Sandbox]bool{}}
	for range c.Warm {
		s, err := p.start(context.Background())
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.idle = append(p.idle, s)
	}
	return p, nil
}

func (p *Pool) start(ctx context.Context) (*Sandbox, error) {
	s, err := p.snapshot.Start(ctx)
	if err == nil {
		p.count(&p.stats.Started)
	}
	return s, err
}

// Get returns a sandbox as the snapshot has it, for the caller alone until Put. Where Max are in use it waits for one, or for the end of ctx.
func (p *Pool) Get(ctx context.Context) (*Sandbox, error) {
	waited, err := p.takeSlot(ctx)
	if err != nil {
		return nil, err
	}
	s := p.takeIdle()
	if s == nil {
		if s, err = p.start(ctx); err != nil {
			<-p.slots
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		<-p.slots
		return nil, errors.Join(ErrPoolClosed, s.Close())
	}
	p.busy[s] = true
	p.stats.Gets++
	if waited {
		p.stats.Waited++
	}
	return s, nil
}

// takeSlot waits until there may be another sandbox in use, and reports whether it had to wait.
func (p *Pool) takeSlot(ctx context.Context) (waited bool, err error) {
	select {
	case <-p.closed:
		return false, ErrPoolClosed
	case p.slots <- struct{}{}:
		return false, nil
	default:
	}
	select {
	case <-p.closed:
		return true, ErrPoolClosed
	case <-ctx.Done():
		return true, fmt.Errorf("sandbox: all %d sandboxes of the pool are in use: %w", p.config.Max, context.Cause(ctx))
	case p.slots <- struct{}{}:
		return true, nil
	}
}

// takeIdle returns one that is ready, the last that was, or nil.
func (p *Pool) takeIdle() *Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle) - 1
	if n < 0 {
		return nil
	}
	s := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	return s
}

// Put gives back a sandbox that Get has returned; a call that is open ends before. It is reset. One that cannot be is closed, and where too few are warm
// another is started in its place. Put returns why a sandbox was lost, which is for the log: the pool goes on.
func (p *Pool) Put(s *Sandbox) error {
	p.mu.Lock()
	known, closing := p.busy[s], p.closing
	delete(p.busy, s)
	p.mu.Unlock()
	switch {
	case closing:
		return s.Close()
	case !known:
		return errors.New("sandbox: Put of a sandbox that the pool has not given, or got back already")
	}
	defer func() { <-p.slots }()
	err := s.Reset(p.snapshot)
	if err == nil {
		p.count(&p.stats.Resets)
		return p.keep(s)
	}
	p.count(&p.stats.Lost)
	errs := []error{err, s.Close()}
	if p.wants() {
		if s, err = p.start(context.Background()); err == nil {
			err = p.keep(s)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// count changes the counters.
func (p *Pool) count(counter *uint64) {
	p.mu.Lock()
	*counter++
	p.mu.Unlock()
}

// wants reports whether too few sandboxes are warm.
func (p *Pool) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closing && len(p.idle) < p.config.Warm
}

// keep keeps a sandbox for the next Get, or closes it if enough are kept.
func (p *Pool) keep(s *Sandbox) error {
	p.mu.Lock()
	if !p.closing && len(p.idle) < p.config.Warm {
		p.idle = append(p.idle, s)
		s = nil
	}
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// Stats returns the counters.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Idle, stats.Busy = len(p.idle), len(p.busy)
	return stats
}

// Close closes all sandboxes, also those that are in use, whose calls end with ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	all := p.idle
	for s := range p.busy {
		all = append(all, s)
	}
	p.idle = nil
	clear(p.busy)
	if !p.closing {
		p.closing = true
		close(p.closed)
	}
	p.mu.Unlock()
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for i, s := range all {
		closing.Go(func() { errs[i] = s.Close() })
	}
	closing.Wait()
	return errors.Join(errs...)
}
