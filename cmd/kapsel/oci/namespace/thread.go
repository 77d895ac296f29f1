package namespace

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// threadPatience is how long OnThread waits for a thread's end, and threadPause how long between two looks.
const (
	threadPatience = 10 * time.Second
	threadPause    = 5 * time.Millisecond
)

// OnThread has a thread do something that changes the thread, and returns when the thread has ended: while it has a user's rights, that user may write to the memory of all, once the process
// is dumpable (ptrace(2), "Ptrace access mode checking").
func OnThread(do func() error) error {
	thread, done := 0, make(chan error)
	go func() {
		runtime.LockOSThread()            // for good: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() { // but for the first, which ends with the process: it does nothing meanwhile
			defer runtime.UnlockOSThread()
			done <- OnThread(do)
			return
		}
		thread = unix.Gettid()
		done <- do()
	}()
	err := <-done
	for begun := time.Now(); thread != 0 && unix.Tgkill(os.Getpid(), thread, 0) == nil; time.Sleep(threadPause) {
		if time.Since(begun) > threadPatience {
			return errors.Join(err, fmt.Errorf("thread %d of process %d has not ended for %v: what the host waits for there, /proc/%[2]d/task/%[1]d/stack says", thread, os.Getpid(), threadPatience))
		}
	}
	return err
}
