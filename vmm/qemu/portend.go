package qemu

import (
	"errors"
	"io"
	"sync"

	"kapsel/vmm/virtio"
)

// endStream makes an input and an output of a port's own end (vmm.Port.End), whose calls come one at a time, as from a device.
type endStream struct {
	end    virtio.End
	calls  sync.Mutex
	filled chan struct{} // has one if there may be something to fetch
	room   chan struct{} // has one if there may be room
	last   chan struct{} // closed: the guest has ended, and nobody waits for room any more
	closed chan struct{}
	ending sync.Once
}

func newEndStream(end virtio.End) *endStream {
	s := &endStream{end: end, filled: make(chan struct{}, 1), room: make(chan struct{}, 1), last: make(chan struct{}), closed: make(chan struct{})}
	end.Attach(s.wake)
	return s
}

// wake has both sides look again.
func (s *endStream) wake() {
	for _, c := range []chan struct{}{s.filled, s.room} {
		select {
		case c <- struct{}{}:
		default: // it has one
		}
	}
}

var errNotTaken = errors.New("the guest has ended, and the port's end takes nothing more")

// Write implements io.Writer: it offers p until all of it is taken.
func (s *endStream) Write(p []byte) (n int, err error) {
	for last := false; ; {
		taken := s.offer(p[n:])
		n += taken
		switch {
		case n == len(p):
			return n, nil
		case taken == 0 && last:
			return n, errNotTaken
		}
		select {
		case <-s.room:
		case <-s.last:
			last = true
		}
	}
}

func (s *endStream) offer(p []byte) int {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.end.Offer(p)
}

// Read implements io.Reader: it waits for something to fetch.
func (s *endStream) Read(p []byte) (int, error) {
	for {
		n, ended := s.fetch(p)
		switch {
		case n > 0:
			return n, nil
		case ended:
			return 0, io.EOF
		}
		select {
		case <-s.filled:
		case <-s.closed:
			return 0, io.EOF
		}
	}
}

func (s *endStream) fetch(p []byte) (n int, ended bool) {
	s.calls.Lock()
	defer s.calls.Unlock()
	n = s.end.Fetch(p)
	return n, n == 0 && s.end.Ended()
}

// finish says that the guest has ended.
func (s *endStream) finish() { s.ending.Do(func() { close(s.last) }) }

// close ends both sides. It is called once.
func (s *endStream) close() {
	s.finish()
	close(s.closed)
	s.calls.Lock()
	defer s.calls.Unlock()
	s.end.Attach(nil)
}
