package control

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
)

// Server listens at a socket, and passes on what one client after another asks of the machine. Its other side is a port of the machine:
// it is read, and written to, as that is.
type Server struct {
	listener *net.UnixListener
	log      func(format string, args ...any)

	toGuest, fromServer *io.PipeWriter
	input               *io.PipeReader // of the machine
	answers             *io.PipeReader
	done                chan struct{}

	mu     sync.Mutex
	client net.Conn
	closed bool
}

// Listen makes the socket, which the user alone may connect to. Nothing may be at that path yet. log takes what goes on, for people.
func Listen(ctx context.Context, path string, log func(format string, args ...any)) (*Server, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil { // a socket's mode becomes its file's
			return e
		}
		return err
	}}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener.(*net.UnixListener), log: log, done: make(chan struct{})}
	s.input, s.toGuest = io.Pipe()
	s.answers, s.fromServer = io.Pipe()
	go s.serve()
	return s, nil
}

// Read is what the machine's port reads.
func (s *Server) Read(p []byte) (int, error) { return s.input.Read(p) }

// Write is what the machine's port writes to.
func (s *Server) Write(p []byte) (int, error) { return s.fromServer.Write(p) }

// Close ends it, and takes the socket away.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.client != nil {
		s.client.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.toGuest.Close()
	s.answers.CloseWithError(io.ErrClosedPipe)
	<-s.done
	return err
}

// serve serves clients until it is closed, or the kernel answers what cannot be.
func (s *Server) serve() {
	defer close(s.done)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if err = s.begin(conn); err == nil {
			err = s.converse(conn)
		}
		conn.Close()
		if err != nil {
			if !s.ended() {
				s.log("control socket: no more of it: %v", err)
			}
			s.listener.Close()
			return
		}
	}
}

// begin makes a client the one that is served, unless the server is closed.
func (s *Server) begin(conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.client = conn
	return nil
}

func (s *Server) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// converse passes on what a client asks, and what is answered, until the client goes. Whatever it had begun is given up then. The
// error is the kernel's side.
func (s *Server) converse(conn net.Conn) error {
	for {
		f, err := readFrame(conn)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.log("control socket: a client: %v", err)
			}
			return s.ask(frame{kind: abi.LoadHello}, func(frame) error { return nil })
		}
		if err := s.ask(f, func(f frame) error {
			f.write(conn) // a client that is gone is found out when it is read
			return nil
		}); err != nil {
			return err
		}
	}
}

// ask asks the kernel, and passes its answer on.
func (s *Server) ask(f frame, pass func(frame) error) error {
	if err := f.write(s.toGuest); err != nil {
		return err
	}
	return answered(s.answers, f.kind, pass)
}
