// Package serve has the services of sandboxes over HTTP: POST /call/NAME calls one, in a sandbox that is as a snapshot has it and is reset behind the call,
// GET /metrics counts in Prometheus' text format, and GET /healthz says whether it serves. It is a package of its own as it links net/http: who
// imports kapsel/sandbox does not.
//
// Who calls is not trusted, nor is the guest. Whatever is held for a caller is bounded: connections, calls that wait, bytes of a request, and the time of each
// step. There is no authentication and no TLS: who reaches the listener may call.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"kapsel/sandbox"
)

// Defaults of a Config.
const (
	DefaultQueue       = 64
	DefaultConnections = 256
	DefaultWait        = 5 * time.Second
	DefaultReadTime    = 10 * time.Second
)

// Config says what a Server bounds. 0 means the default.
type Config struct {
	Concurrent  int           // calls that are at work at a time, as many as the pool has sandboxes: required
	Queue       int           // calls that wait for that beside; DefaultQueue. -1: none
	Connections int           // at a time; others wait to be accepted; DefaultConnections
	Body        int           // bytes of a request; sandbox.DefaultPayload. What the sandboxes' Config.Payload is
	Wait        time.Duration // for a sandbox; DefaultWait
	CallTime    time.Duration // of a call; sandbox.DefaultCallTime
	ReadTime    time.Duration // until all of a request has come, and until all of an answer is taken; DefaultReadTime

	// Log takes a line at a time, from several goroutines: what went wrong with whom, the guest's last words in it. Nil discards it.
	Log func(format string, args ...any)
}

// withDefaults checks c, and fills in what it leaves open.
func (c Config) withDefaults() (Config, error) {
	if c.Concurrent < 1 {
		return c, fmt.Errorf("serve: %d calls at a time: want at least one", c.Concurrent)
	}
	if c.Queue < 0 {
		c.Queue = 0
	} else {
		c.Queue = or(c.Queue, DefaultQueue)
	}
	c.Connections, c.Body = or(c.Connections, DefaultConnections), or(c.Body, sandbox.DefaultPayload)
	c.Wait, c.CallTime, c.ReadTime = or(c.Wait, DefaultWait), or(c.CallTime, sandbox.DefaultCallTime), or(c.ReadTime, DefaultReadTime)
	if min(c.Connections, c.Body) < 0 || min(c.Wait, c.CallTime, c.ReadTime) < 0 {
		return c, errors.New("serve: a limit below 0: want a positive one, or 0 for the default")
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return c, nil
}

func or[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// callee is a sandbox, and backend a pool of them. Tests have some without KVM.
type (
	callee interface {
		Call(ctx context.Context, service string, request []byte) ([]byte, error)
	}
	backend interface {
		get(ctx context.Context) (callee, error)
		put(callee) error
		Stats() sandbox.PoolStats
	}
)

// pool is a sandbox.Pool as a backend.
type pool struct{ *sandbox.Pool }

func (p pool) get(ctx context.Context) (callee, error) {
	s, err := p.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p pool) put(c callee) error { return p.Put(c.(*sandbox.Sandbox)) }

// Server is an http.Handler with the services of a pool's sandboxes.
type Server struct {
	config  Config
	backend backend
	handler http.Handler
	places  chan struct{} // holds one for each call that is at work, or waits
	leaving atomic.Bool
	metrics *metrics
}

// New returns a server of a pool, which stays the caller's, to be closed when Serve has returned.
func New(p *sandbox.Pool, c Config) (*Server, error) { return newServer(pool{p}, c) }

func newServer(b backend, c Config) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, backend: b, places: make(chan struct{}, c.Concurrent+c.Queue), metrics: newMetrics()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /call/{name...}", s.call)
	mux.HandleFunc("GET /metrics", s.showMetrics)
	mux.HandleFunc("GET /healthz", s.health)
	s.handler = http.NewCrossOriginProtection().Handler(mux) // a page that a browser shows is not to call
	return s, nil
}

// ServeHTTP implements http.Handler. All of a request is to come within Config.ReadTime.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.config.ReadTime))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.handler.ServeHTTP(w, r)
}

// Limits of HTTP itself.
const (
	maxHeader  = 16 << 10 // bytes
	headerTime = 10 * time.Second
	idleTime   = time.Minute
)

// Serve answers what comes to the listener, which it closes, until ctx ends. Then it takes nothing new, and calls that are open have grace to end: what is left behind that is cut off, which
// is the error.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	c := &s.config
	h := &http.Server{
		Handler:           s,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: min(headerTime, c.ReadTime),
		IdleTimeout:       idleTime,
		WriteTimeout:      2*c.ReadTime + c.Wait + c.CallTime, // from the end of the header on
		ErrorLog:          log.New(lines{c.Log}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(netutil.LimitListener(l, c.Connections)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.leaving.Store(true)
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if h.Shutdown(within) == nil {
		return nil
	}
	open := len(s.places)
	h.Close()
	return fmt.Errorf("serve: connections had not ended after %v, with %d calls: they were cut off", grace, open)
}

// lines are what package net/http has to say, a line each.
type lines struct {
	log func(format string, args ...any)
}

func (l lines) Write(p []byte) (int, error) {
	l.log("%q", p[:max(0, len(p)-1)])
	return len(p), nil
}

// health says whether calls are taken.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if s.leaving.Load() {
		http.Error(w, "ending", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

// call serves POST /call/NAME.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	request, reply, err := s.answer(w, r)
	o := outcomeOf(r.Context(), err)
	s.metrics.count(o, time.Since(began), len(request), len(reply))
	if err != nil {
		if of, ok := errors.AsType[*sandbox.Error](err); ok {
			err = of.Plain()
		}
		s.config.Log("%.100q: %s: %v", r.PathValue("name"), o.word, err)
		o.write(w)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
	w.Write(reply) // who has gone does not get it
}

// answer reads the request, and has a sandbox answer it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (request, reply []byte, err error) {
	if request, err = s.read(w, r); err != nil {
		return nil, nil, err
	}
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		return request, nil, errQueue
	}
	if s.leaving.Load() {
		return request, nil, sandbox.ErrPoolClosed
	}
	callee, err := s.wait(r.Context())
	if err != nil {
		return request, nil, err
	}
	defer func() {
		if lost := s.backend.put(callee); lost != nil {
			s.config.Log("a sandbox was lost: %v", lost)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.config.CallTime, fmt.Errorf("its limit is %v", s.config.CallTime))
	defer cancel()
	reply, err = callee.Call(ctx, r.PathValue("name"), request)
	return request, reply, err
}

// read reads the request. When it is there the connection is watched for its end for as long as the call takes.
func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(s.config.Body) { // before a client is told to go on
		w.Header().Set("Connection", "close")
		return nil, &http.MaxBytesError{Limit: int64(s.config.Body)}
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.config.Body)))
	if err != nil {
		return nil, &readError{err}
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return request, nil
}

// wait gets a sandbox.
func (s *Server) wait(ctx context.Context) (callee, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.Wait, errWait)
	defer cancel()
	return s.backend.get(ctx)
}
