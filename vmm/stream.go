package vmm

import (
	"bytes"
	"io"
	"sync"
)

// streamSize is how many bytes a stream holds in each direction.
const streamSize = 64 << 10

// stream is the outer end of a port: bounded buffers between the device and what reads and writes on the host, each of which has
// a goroutine from the first Attach on. It implements virtio.End.
type stream struct {
	port Port
	log  func(format string, args ...any)

	mu       sync.Mutex // holds the rest
	change   sync.Cond
	in, out  bytes.Buffer // to the guest, from the guest
	wake     func()       // or nil
	started  bool
	ended    bool // the input is at its end
	lost     bool // the output has failed: what comes is dropped
	writing  bool
	finished bool // the guest has ended: nothing more goes in, and what is in out is all
	closed   bool // nothing is done any more
}

func newStream(p Port, log func(format string, args ...any)) *stream {
	s := &stream{port: p, log: log}
	s.change.L = &s.mu
	return s
}

// Attach implements virtio.End.
func (s *stream) Attach(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
	if s.started || wake == nil {
		return
	}
	s.started = true
	if s.port.Input != nil {
		go s.read()
	}
	if s.port.Output != nil {
		go s.write()
	}
}

// changed tells whoever waits.
func (s *stream) changed() {
	s.change.Broadcast()
	if s.wake != nil {
		s.wake()
	}
}

// Offer implements virtio.End.
func (s *stream) Offer(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port.Output == nil || s.lost || s.closed {
		return len(p)
	}
	n, _ := s.out.Write(p[:min(len(p), streamSize-s.out.Len())])
	s.change.Broadcast()
	return n
}

// Fetch implements virtio.End.
func (s *stream) Fetch(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, _ := s.in.Read(p)
	s.change.Broadcast()
	return n
}

// Ended implements virtio.End.
func (s *stream) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && s.in.Len() == 0
}

// read feeds the stream from the input until that or the machine ends.
func (s *stream) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := s.port.Input.Read(buffer)
		if !s.feed(buffer[:n], err) {
			return
		}
	}
}

// feed adds p, as there is room, and reports whether there may be more.
func (s *stream) feed(p []byte, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 && !s.finished && !s.closed {
		n := min(len(p), streamSize-s.in.Len())
		if n == 0 {
			s.change.Wait()
			continue
		}
		s.in.Write(p[:n])
		p = p[n:]
		s.changed()
	}
	if err != nil {
		if err != io.EOF {
			s.log("its input is lost: %v", err)
		}
		s.ended = true
		s.changed()
	}
	return err == nil && !s.closed
}

// write empties the stream into the output until the machine ends.
func (s *stream) write() {
	buffer := make([]byte, streamSize)
	for n := s.take(buffer); n > 0; n = s.take(buffer) {
		if _, err := s.port.Output.Write(buffer[:n]); err != nil {
			s.lose(err)
			return
		}
	}
}

// take waits for bytes and returns how many it moved to p: 0 once there are none and none come.
func (s *stream) take(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	for s.out.Len() == 0 && !s.finished && !s.closed {
		s.change.Broadcast()
		s.change.Wait()
	}
	n := 0
	if !s.closed {
		n, _ = s.out.Read(p)
	}
	s.writing = n > 0
	s.changed()
	return n
}

// lose drops what the output does not take from now on.
func (s *stream) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.log("its output is lost: %v", err)
	}
	s.lost, s.writing = true, false
	s.out.Reset()
	s.changed()
}

// finish says that the guest has ended. It returns when the output has taken all that the guest had sent, or at close.
func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.changed()
	for (s.out.Len() > 0 || s.writing) && s.started && !s.closed && s.port.Output != nil {
		s.change.Wait()
	}
}

// close ends the stream, whoever waits. A call of the input or the output that goes on is abandoned.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.out.Reset()
	s.changed()
}
