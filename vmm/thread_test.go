package vmm

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// TestThreadOutlivesAGoroutine: a function that ends its goroutine does not take the thread with it, and its caller goes on.
func TestThreadOutlivesAGoroutine(t *testing.T) {
	thread := newThread()
	var first, later int
	assert.True(t, thread.do(func() { first = unix.Gettid() }))
	for range 3 {
		assert.True(t, thread.do(runtime.Goexit))
		assert.True(t, thread.do(func() { later = unix.Gettid() }))
		assert.Equal(t, first, later)
	}
	thread.close()
	assert.False(t, thread.do(func() { t.Error("executed behind the thread's end") }))
}
