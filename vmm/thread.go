package vmm

import "runtime"

// thread is an operating-system thread that executes functions one after another. KVM
// wants a processor's calls to come from the thread that created it.
type thread struct {
	calls chan func()
	ended chan struct{}
}

func newThread() *thread {
	t := &thread{make(chan func()), make(chan struct{})}
	go t.serve()
	return t
}

func (t *thread) serve() {
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	for {
		select {
		case call := <-t.calls:
			call()
		case <-t.ended:
			return
		}
	}
}

// do executes f on the thread and waits for its end. It reports false, without executing
// f, if the thread has ended.
func (t *thread) do(f func()) bool {
	done := make(chan struct{})
	call := func() {
		defer close(done)
		f()
	}
	select {
	case t.calls <- call:
		<-done
		return true
	case <-t.ended:
		return false
	}
}

// close ends the thread, after the function that it executes. Call it once.
func (t *thread) close() { close(t.ended) }
