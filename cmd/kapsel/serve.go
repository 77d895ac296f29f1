package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"kapsel/sandbox"
	"kapsel/sandbox/serve"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/control"
)

// serveOptions are those of "kapsel serve" alone.
type serveOptions struct {
	listen    string        // unix:PATH, or HOST:PORT
	sandboxes int           // at a time
	queue     int           // calls that wait beside
	grace     time.Duration // for calls that are open at the end
}

var defaultServe = serveOptions{sandboxes: 4, queue: serve.DefaultQueue, grace: 10 * time.Second}

// What there can be, within the open files that a confined process can have.
const (
	maxSandboxes = 200
	maxQueue     = 1000
)

// define defines the flags.
func (o *serveOptions) define(f *flag.FlagSet) {
	f.Func("listen", "", func(text string) (err error) {
		o.listen = text
		if strings.HasPrefix(text, "unix:") {
			_, err = controlPath(text)
			return err
		}
		if _, _, err = net.SplitHostPort(text); err != nil {
			return errors.New("want unix:PATH, or HOST:PORT as 127.0.0.1:8080")
		}
		return nil
	})
	f.Func("sandboxes", "", inRange(&o.sandboxes, 1, maxSandboxes))
	f.Func("queue", "", inRange(&o.queue, 0, maxQueue))
	f.DurationVar(&o.grace, "grace", o.grace, "")
}

// inRange reads a whole number.
func inRange(n *int, least, most int) func(string) error {
	return func(text string) error {
		found, err := strconv.Atoi(text)
		if err != nil || found < least || found > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		*n = found
		return nil
	}
}

// serveCommand is "kapsel serve": the services of sandboxes over HTTP, until a signal ends it.
func serveCommand(args []string, std stdio) (int, error) {
	o, err := parseSandbox("serve", args)
	if err != nil {
		return statusUsage, usageError{err}
	}
	return untilTold(0, nil, std, func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
		if err := o.serve(ctx, std); err != nil {
			return callStatus(err), plainly(err)
		}
		return 0, nil
	})
}

// serve listens first, as later nothing may be opened, and answers when the sandboxes are ready.
func (o *sandboxOptions) serve(ctx context.Context, std stdio) error {
	say := func(format string, args ...any) { fmt.Fprintf(std.err, "kapsel: "+format+"\n", args...) }
	l, needs, err := o.open(ctx, say)
	if err != nil {
		return usageError{fmt.Errorf("--listen %s: %w", o.listen, err)}
	}
	defer l.Close()
	for _, d := range o.devices {
		if d, ok := d.(vmm.Disk); ok {
			needs.Add(confine.Options{Read: []string{d.Path}, Files: d.ReadOnly}) // of each machine
		}
	}
	var once sync.Once
	m, err := o.prepare(ctx, std, func(c vmm.Config) (err error) {
		once.Do(func() { err = o.confineTo(needs, c) })
		return err
	})
	if err != nil {
		return err
	}
	if o.verbose {
		m.config.Output = quoted{say}
	}
	pool, end, err := o.pool(ctx, m)
	if err != nil {
		return err
	}
	defer end()
	queue := o.queue
	if queue == 0 {
		queue = -1
	}
	s, err := serve.New(pool, serve.Config{Concurrent: o.sandboxes, Queue: queue, Connections: o.sandboxes + o.queue + serve.DefaultConnections,
		Body: int(o.payload), CallTime: o.timeout, Log: say})
	if err != nil {
		return err
	}
	say("serving at %s", where(l))
	return s.Serve(ctx, l, o.grace)
}

// open opens the listener, and returns what the process needs to serve: it makes sandboxes in the place of those that are lost.
func (o *serveOptions) open(ctx context.Context, say func(format string, args ...any)) (net.Listener, confine.Options, error) {
	needs := confine.Options{Sockets: true, Machines: true, Snapshots: true}
	if strings.HasPrefix(o.listen, "unix:") {
		path, _ := controlPath(o.listen) // it was looked at
		needs.Remove = []string{path}
		l, err := control.Socket(ctx, path)
		if err != nil {
			return nil, needs, socketError(path, err)
		}
		return l, needs, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err == nil && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		say("warning: whoever reaches %s may call: there is no authentication, and no encryption", l.Addr())
	}
	return l, needs, err
}

// where is a listener's address as clients write it.
func where(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// pool returns sandboxes from the snapshot, or from one of a sandbox that has just settled, and what gives them back.
func (o *sandboxOptions) pool(ctx context.Context, m *maker) (pool *sandbox.Pool, end func(), err error) {
	snap, err := m.warm(ctx)
	if err != nil {
		return nil, nil, err
	}
	pool, err = sandbox.NewPool(snap, sandbox.PoolConfig{Warm: o.sandboxes, Max: o.sandboxes})
	if err != nil {
		snap.Close()
		return nil, nil, err
	}
	return pool, func() {
		pool.Close()
		snap.Close()
	}, nil
}

// warm returns a snapshot.
func (m *maker) warm(ctx context.Context) (*sandbox.Snapshot, error) {
	if m.taken != nil {
		return m.snapshot()
	}
	s, err := m.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Snapshot()
}

// quoted tells what guests print, such that it takes no line of its own, and is not taken for the command's.
type quoted struct {
	say func(format string, args ...any)
}

// Write implements io.Writer.
func (q quoted) Write(p []byte) (int, error) {
	q.say("guest: %q", p)
	return len(p), nil
}
