// Package endings hears the signals by which a process is told to end.
package endings

import (
	"os"
	"os/signal"
	"syscall"
)

// signals mean an end. SIGXCPU comes when the processor time of RLIMIT_CPU is over, for which Go's runtime would print a trace.
var signals = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGXCPU}

// Notify calls told at each signal that means an end, until stop is called. What the caller has made this process ignore, as nohup(1) does SIGHUP, stays ignored.
func Notify(told func(syscall.Signal)) (stop func()) {
	heard := make(chan os.Signal, 1)
	for _, s := range signals { // one by one: none of them would be all that there are
		if !signal.Ignored(s) {
			signal.Notify(heard, s)
		}
	}
	go func() {
		for s := range heard {
			told(s.(syscall.Signal))
		}
	}()
	return func() { signal.Stop(heard) }
}
