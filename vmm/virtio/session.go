package virtio

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"kapsel/guest/abi/virtio"
)

// session is what lies between DRIVER_OK and the reset that follows. A goroutine serves the device's queues; of a device in step
// whoever notifies it, or calls MMIO.Serve.
type session struct {
	transport *MMIO
	queues    []*Queue

	phase   atomic.Uint32
	pending atomic.Uint64  // queues to serve, by bit
	bell    chan struct{}  // holds one, once there is something pending or the phase is another
	running sync.WaitGroup // the goroutine

	service sync.Mutex  // of a device in step: held while queues are served, and for ever once the session has ended
	serving atomic.Bool // likewise: who holds service looks at pending before it lets go, so no bell is needed
}

// Phases of a session.
const (
	phaseServing   = iota
	phasePaused    // no request is taken, and what was taken stays
	phaseFinishing // what was filled is served, but long work is in vain
	phaseEnding    // nothing is: who ends the session waits
)

// stepRounds is how many turns a device in step gives its queues before the processor's thread looks after other things: twice
// as many as the longest queue needs. Only a driver that has the device fill the rings itself needs more.
const stepRounds = 8

func newSession(m *MMIO, queues []*Queue) *session {
	s := &session{transport: m, queues: queues, bell: make(chan struct{}, 1)}
	for _, q := range queues {
		q.session = s
	}
	return s
}

// begin has all queues served: notifications may have come too early. Of a device in step somebody else does that.
func (s *session) begin() {
	s.phase.Store(phaseServing)
	for i := range s.queues {
		s.pending.Or(1 << i)
	}
	s.ring()
	if !s.inStep() {
		s.running.Go(s.run)
	}
}

func (s *session) inStep() bool { return s.transport.bell != nil }

func (s *session) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// wake has a queue served.
func (s *session) wake(queue int) {
	s.pending.Or(1 << queue)
	s.call()
}

// call tells whoever serves the session that something is pending.
func (s *session) call() {
	s.ring()
	if s.inStep() && !s.serving.Load() {
		s.transport.bell()
	}
}

// notify has a queue served for its driver: in step at once.
func (s *session) notify(queue int) {
	if !s.inStep() {
		s.wake(queue)
		return
	}
	s.pending.Or(1 << queue)
	s.step()
}

// run serves queues until the session ends or is paused.
func (s *session) run() {
	for {
		<-s.bell
		if s.phase.Load() != phaseServing {
			return
		}
		s.serve()
		runtime.Gosched()
	}
}

// step serves what is pending, on the caller's goroutine. Within a service, which a device or an end outside may do
// something for that leads here, it leaves all to that one.
func (s *session) step() {
	if !s.service.TryLock() {
		return
	}
	s.serving.Store(true)
	for range stepRounds {
		if s.pending.Load() == 0 || s.phase.Load() != phaseServing {
			break
		}
		s.serve()
	}
	s.serving.Store(false)
	s.service.Unlock()
	if s.pending.Load() != 0 && s.phase.Load() == phaseServing {
		s.call()
	}
}

// await waits for a signal of a service's, as c.Wait does. In step it serves what becomes pending.
func (s *session) await(c *sync.Cond) {
	if !s.inStep() || s.phase.Load() > phasePaused { // the device's Reset signals
		c.Wait()
		return
	}
	c.L.Unlock()
	defer c.L.Lock()
	<-s.bell
	s.step()
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
		q.turn, q.moved, q.more = requestsPerTurn, 0, false
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

// leave has the session served no more, and returns when it is not.
func (s *session) leave(phase uint32) {
	s.phase.Store(phase)
	s.ring()
	s.running.Wait()
	s.service.Lock()
	if phase == phasePaused {
		s.service.Unlock()
		return
	}
	s.serving.Store(true)
	if phase == phaseFinishing {
		s.finishQueues()
	}
}

// finishQueues serves what the driver filled. It fills no more; if it did, this would end all the same.
func (s *session) finishQueues() {
	for i, q := range s.queues {
		for turns := 1 + int(q.size)/requestsPerTurn; turns > 0 && s.serveQueue(i); turns-- {
		}
	}
}

// ending reports whether the session is to end, so that long work is in vain.
func (s *session) ending() bool { return s.phase.Load() > phasePaused }

// abandoned reports whether the session is to end without what the driver filled: whoever ends it waits.
func (s *session) abandoned() bool { return s.phase.Load() == phaseEnding }

func (s *session) paused() bool { return s.phase.Load() == phasePaused }

func (s *session) broken() bool { return s.transport.broken.Load() }

func (s *session) breakDevice(err error) { s.transport.breakDevice(err, true) }

func (s *session) interrupt() { s.transport.interrupt(virtio.InterruptUsed) }
