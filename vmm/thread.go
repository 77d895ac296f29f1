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

// serve executes functions until the thread is closed. One that ends its goroutine, as runtime.Goexit and testing.T.FailNow do, does not end the
// thread: the rest is executed while the goroutine ends.
func (t *thread) serve() {
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	executing := false
	defer func() {
		if !executing {
			return
		}
		if v := recover(); v != nil {
			panic(v)
		}
		t.done <- struct{}{}
		t.serve()
	}()
	for {
		select {
		case call := <-t.calls:
			executing = true
			call()
			executing = false
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
