package virtio

import (
	"math/bits"
	"runtime"
	"sync/atomic"

	"kapsel/guest/abi/virtio"
)

// session is what lies between DRIVER_OK and the reset that follows: a goroutine that serves the device's queues.
type session struct {
	transport *MMIO
	queues    []*Queue

	pending atomic.Uint64 // queues to serve, by bit
	bell    chan struct{} // holds one, once there is something pending
	stop    chan struct{} // closed: the goroutine is to end
	ended   chan struct{} // closed: it has
	finish  bool          // serve what was filled before the end; written before stop is closed
}

func newSession(m *MMIO, queues []*Queue) *session {
	s := &session{transport: m, queues: queues,
		bell: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	for i, q := range queues {
		q.session = s
		s.wake(i) // notifications may have come too early
	}
	return s
}

// wake has a queue served.
func (s *session) wake(queue int) {
	s.pending.Or(1 << queue)
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// run serves queues until the session ends.
func (s *session) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.stop:
			if s.finish {
				s.finishQueues()
			}
			return
		case <-s.bell:
			s.serve()
			runtime.Gosched()
		}
	}
}

// serve gives each pending queue a turn.
func (s *session) serve() {
	for pending := s.pending.Swap(0); pending != 0; pending &= pending - 1 {
		s.serveQueue(bits.TrailingZeros64(pending))
	}
}

// serveQueue gives a queue a turn, and reports whether there is more to do than fits into one.
func (s *session) serveQueue(queue int) (more bool) {
	if s.broken() {
		return false
	}
	for _, q := range s.queues {
		q.turn, q.more = requestsPerTurn, false
	}
	s.transport.device.Notify(queue)
	for i, q := range s.queues {
		q.interrupt()
		if q.more {
			more = true
			s.wake(i)
		}
	}
	return more
}

// finishQueues serves what the driver filled. It fills no more; if it did, this would end all the same.
func (s *session) finishQueues() {
	for i, q := range s.queues {
		for turns := 1 + int(q.size)/requestsPerTurn; turns > 0 && s.serveQueue(i); turns-- {
		}
	}
}

// end ends the goroutine and waits for that.
func (s *session) end(finish bool) {
	s.finish = finish
	close(s.stop)
	<-s.ended
}

// ending reports whether the session is to end, so that long work is in vain.
func (s *session) ending() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// abandoned reports whether the session is to end without what the driver filled: whoever ends it waits.
func (s *session) abandoned() bool { return s.ending() && !s.finish }

func (s *session) broken() bool { return s.transport.broken.Load() }

func (s *session) breakDevice(err error) { s.transport.breakDevice(err, true) }

func (s *session) interrupt() { s.transport.interrupt(virtio.InterruptUsed) }
