package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
)

// patience is how long a client may take to ask something, or to take an answer: then the next client's turn has come.
const patience = 10 * time.Second

// Server listens at a socket, and passes on what one client after another asks of the machine. Its other side is a port of the machine:
// it is read, and written to, as that is.
type Server struct {
	listener *net.UnixListener
	log      func(format string, args ...any)
	patience time.Duration

	input   *io.PipeReader // of the machine
	toGuest *io.PipeWriter
	answers *io.PipeReader
	answer  *io.PipeWriter // the machine's
	heard   chan frame     // answers, closed behind the last
	done    chan struct{}

	mu     sync.Mutex // holds the rest
	client net.Conn
	asking bool  // an answer is awaited
	why    error // the conversation with the machine has ended; nil: it has not
	closed bool
}

// Listen makes the socket, which the user alone may connect to. Nothing may be at that path yet. log takes what goes on, for people.
func Listen(ctx context.Context, path string, log func(format string, args ...any)) (*Server, error) {
	return listen(ctx, path, log, patience)
}

func listen(ctx context.Context, path string, log func(format string, args ...any), patience time.Duration) (*Server, error) {
	listener, err := Socket(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, log: log, patience: patience, heard: make(chan frame, 1), done: make(chan struct{})}
	s.input, s.toGuest = io.Pipe()
	s.answers, s.answer = io.Pipe()
	go s.hear()
	go s.serve()
	return s, nil
}

// Read is what the machine's port reads.
func (s *Server) Read(p []byte) (int, error) { return s.input.Read(p) }

// Write is what the machine's port writes to.
func (s *Server) Write(p []byte) (int, error) { return s.answer.Write(p) }

// hear hands on the answers of the machine as they come, asked for or not, so that no write waits for somebody who asks. What nobody asked
// for ends the conversation, as what is no frame does.
func (s *Server) hear() {
	defer close(s.heard)
	for {
		f, err := readFrame(s.answers)
		if err == nil && !s.awaited(f) {
			if f.isAnew() { // and nothing is lost
				continue
			}
			err = errors.New("the kernel answers, and nobody has asked")
		}
		if err != nil {
			s.end(err)
			return
		}
		s.heard <- f
	}
}

// awaited reports whether an answer is awaited, and notes if this is the last frame of it.
func (s *Server) awaited(f frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.asking
	s.asking = was && !f.last()
	return was
}

// end ends the conversation with the machine.
func (s *Server) end(why error) {
	s.mu.Lock()
	if s.why == nil {
		s.why = why
	}
	s.mu.Unlock()
	s.listener.Close()
	s.toGuest.Close()
	s.answers.CloseWithError(why)
}

// Close ends it, and takes the socket away.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.client != nil {
		s.client.Close()
	}
	s.mu.Unlock()
	s.end(net.ErrClosed)
	<-s.done
	return nil
}

// serve serves clients until it is closed, or the kernel answers what cannot be.
func (s *Server) serve() {
	defer close(s.done)
	s.end(s.accept())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.log("control socket: no more of it: %v", s.why)
	}
}

// accept serves clients, and returns why there are no more.
func (s *Server) accept() error {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return err
		}
		if err = s.begin(conn); err == nil {
			err = s.converse(conn)
		}
		conn.Close()
		if err != nil {
			return err
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

// converse passes on what a client asks, and what is answered, until the client goes or takes too long. Whatever it had begun is given
// up then. The error is the kernel's side.
func (s *Server) converse(conn net.Conn) error {
	for {
		f, err := s.question(conn)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log("control socket: a client: %v", err)
			}
			return s.ask(frame{kind: abi.LoadHello}, func(frame) error { return nil })
		}
		if err := s.ask(f, func(f frame) error {
			conn.SetWriteDeadline(time.Now().Add(s.patience))
			if err := f.write(conn); err != nil {
				s.log("control socket: a client takes no answers: %v", err)
				conn.Close() // which is found out when it is read
			}
			return nil
		}); err != nil {
			return err
		}
	}
}

// question reads what a client asks next.
func (s *Server) question(conn net.Conn) (frame, error) {
	conn.SetReadDeadline(time.Now().Add(s.patience))
	f, err := readFrame(conn)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return f, errors.New("it asked nothing for too long")
	case err == nil && (f.kind < abi.LoadHello || f.kind > abi.LoadKinds):
		return f, errFrame // the kernel would refuse it, and the next client's questions with it
	}
	return f, err
}

// ask asks the kernel, and passes its answer on.
func (s *Server) ask(f frame, pass func(frame) error) error {
	s.mu.Lock()
	s.asking = true
	s.mu.Unlock()
	if err := f.write(s.toGuest); err != nil {
		return err
	}
	err := answered(s.next, f.kind, pass)
	if errors.Is(err, errAnew) {
		return pass(anew)
	}
	return err
}

// next is the next frame of the machine's.
func (s *Server) next() (frame, error) {
	f, ok := <-s.heard
	if !ok {
		return f, io.ErrUnexpectedEOF
	}
	return f, nil
}

// Socket listens at a unix socket that it makes at path, for the user alone. Closing it removes the file. Where one listens already the error is
// syscall.EADDRINUSE, and so it is where one that was killed has left its file.
func Socket(ctx context.Context, path string) (*net.UnixListener, error) {
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
	return listener.(*net.UnixListener), nil
}
