package vmm

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"kapsel/vmm/kvm"
	"kapsel/vmm/watchdog"
)

// watcher is the watchdog of a machine (docs/decisions/0009-watchdog.md). A goroutine of
// its own reads the heartbeat once in a period, in memory, and asks the processor where it
// is only if that has not changed.
type watcher struct {
	period time.Duration
	beat   *uint64 // in the guest's memory; nil: nobody watches

	mu    sync.Mutex
	watch *watchdog.Watch // guarded by mu

	asked atomic.Int64 // when the processor was asked, since began; 0: it is not
	began time.Time
}

// prepareWatch makes the watcher, if there is a period and the guest has a heartbeat.
func (m *Machine) prepareWatch() {
	period := m.config.Watchdog
	if period == 0 {
		return
	}
	if m.guest.Heartbeat == 0 {
		m.config.Log("no watchdog: the image has no heartbeat")
		return
	}
	word := m.memory.at(m.guest.Heartbeat, 8) // aligned, and within memory
	m.watch.period = period
	m.watch.beat = (*uint64)(unsafe.Pointer(unsafe.SliceData(word)))
}

// startWatch watches until stop is called, which waits for the end.
func (m *Machine) startWatch() (stop func()) {
	w := &m.watch
	if w.beat == nil {
		return func() {}
	}
	w.began = time.Now()
	w.asked.Store(0)
	w.watch = watchdog.New(w.period)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(w.period)
		defer timer.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-timer.C:
				timer.Reset(m.tickWatch())
			}
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

// tickWatch asks the processor where it is, if the heartbeat gives cause, and returns the
// time until the next tick. A question that waits for its answer keeps its time.
func (m *Machine) tickWatch() time.Duration {
	w := &m.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watch.Tick(atomic.LoadUint64(w.beat)) {
		w.asked.CompareAndSwap(0, int64(max(time.Since(w.began), 1)))
		if err := m.want(wantWatch); err != nil {
			m.config.Log("the watchdog cannot look: %v", err)
		}
	}
	return w.watch.Pause()
}

// answerWatch runs on the machine's thread outside of the guest. If the watcher
// asked, it tells where the processor is and does what follows.
func (m *Machine) answerWatch() (Exit, error) {
	w := &m.watch
	asked := w.asked.Swap(0)
	if asked == 0 {
		return Exit{}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.watch.Tick(atomic.LoadUint64(w.beat)) {
		return Exit{}, nil
	}
	found := watchdog.Unknown
	if !w.watch.Late(time.Since(w.began) - time.Duration(asked)) {
		var err error
		if found, err = posture(m.cpu); err != nil {
			return Exit{}, err
		}
	}
	switch verdict := w.watch.Look(found); verdict {
	case watchdog.Warn, watchdog.WarnAgain:
		if verdict == watchdog.Warn {
			m.config.Log("watchdog: the kernel has not returned to its main loop for %v: it gets an NMI", w.period)
		}
		if err := m.cpu.NMI(); err != nil {
			m.config.Log("watchdog: no NMI: %v", err)
			return Exit{Reason: Hung}, nil
		}
	case watchdog.Hung:
		return Exit{Reason: Hung}, nil
	}
	return Exit{}, nil
}

// posture finds out where the processor is.
func posture(cpu *kvm.VCPU) (watchdog.Posture, error) {
	s, err := cpu.Sregs()
	if err != nil {
		return watchdog.Unknown, err
	}
	halted, err := cpu.Halted()
	if err != nil {
		return watchdog.Unknown, err
	}
	if halted || s.SS.DPL != 0 {
		return watchdog.Away, nil
	}
	return watchdog.Kernel, nil
}
