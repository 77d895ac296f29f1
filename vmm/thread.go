package vmm

import (
	"runtime"
	"sync"
)

// thread is an operating-system thread that executes functions one after another. KVM
// wants a processor's calls to come from the thread that created it.
type thread struct {
	turn  sync.Mutex // of a caller, from its call to its end
	calls chan func()
	done  chan struct{}
	ended chan struct{}
}

func newThread() *thread {
	t := &thread{calls: make(chan func()), done: make(chan struct{}), ended: make(chan struct{})}
	go t.serve()
	return t
}

func (t *thread) serve() {
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	for {
		select {
		case call := <-t.calls:
			call()
			t.done <- struct{}{}
		case <-t.ended:
			return
		}
	}
}

// do executes f on the thread and waits for its end. It reports false, without executing
// f, if the thread has ended. It allocates nothing.
func (t *thread) do(f func()) bool {
	t.turn.Lock()
	defer t.turn.Unlock()
	select {
	case t.calls <- f:
		<-t.done
		return true
	case <-t.ended:
		return false
	}
}

// close ends the thread, after the function that it executes. Call it once.
func (t *thread) close() { close(t.ended) }
