package sandbox

import (
	"context"
	"time"
)

// watcher pauses the guest when a context ends, or the time of a call. It costs no allocation for a call: the timer is used again, and a goroutine
// watches whatever context is the present one.
type watcher struct {
	pause func()
	timer *time.Timer

	started bool
	done    <-chan struct{}        // of the context that is watched, or was last
	watched chan (<-chan struct{}) // the same, on its way to the goroutine
	closed  <-chan struct{}        // ends the goroutine
}

func newWatcher(pause func(), closed <-chan struct{}) watcher {
	timer := time.AfterFunc(time.Hour, pause)
	timer.Stop()
	return watcher{pause: pause, timer: timer, watched: make(chan (<-chan struct{}), 1), closed: closed}
}

// set has the guest paused at the end of ctx, and at the deadline unless that is zero. A pause may come late, of a call before: then the guest is
// resumed, as whoever is told of one looks at context and clock.
func (w *watcher) set(ctx context.Context, deadline time.Time) {
	if deadline.IsZero() {
		w.timer.Stop()
	} else {
		w.timer.Reset(time.Until(deadline))
	}
	done := ctx.Done()
	if done == nil || done == w.done { // one that is still watched from an earlier call does no harm
		return
	}
	if !w.started {
		w.started = true
		go w.watch()
	}
	w.done = done
	select {
	case <-w.watched: // an older one, which the goroutine has not taken yet
	default:
	}
	w.watched <- done
}

// watch is the goroutine.
func (w *watcher) watch() {
	var done <-chan struct{}
	for {
		select {
		case done = <-w.watched:
		case <-done:
			done = nil
			w.pause()
		case <-w.closed:
			return
		}
	}
}
