package oci

import (
	"errors"
	"flag"
	"fmt"

	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/endings"
)

// runVerb is "kapsel oci run ID": create and start, and unless the container is detached, wait for its end and delete it. The status is the container's then.
func (r *call) runVerb(args []string) (int, error) {
	var o createOptions
	var detach, keep, noSubreaper bool
	id, err := o.parse("run", args, func(f *flag.FlagSet) {
		boolFlag(f, &detach, "detach", "d")
		f.BoolVar(&keep, "keep", false, "")
		f.BoolVar(&noSubreaper, "no-subreaper", false, "") // the container's process is a child of this one
	})
	if err != nil {
		return statusFailed, err
	}
	b, foreign, err := r.readBundle(id, o)
	switch {
	case err != nil:
		return statusFailed, err
	case foreign:
		return r.runForeign(id, detach || keep)
	}
	p, err := r.create(id, b, o)
	if err != nil {
		return statusFailed, err
	}
	if !detach {
		defer p.forwardSignals()()
	}
	if err := r.start(id); err != nil {
		return statusFailed, errors.Join(err, r.delete(id, true))
	}
	if detach {
		return statusDone, nil
	}
	status, err := p.wait()
	if !keep {
		err = errors.Join(err, r.delete(id, true))
	}
	return status, err
}

// forwardSignals sends the process those signals that would end this one, until stop is called: it has a session of its own, so that nobody else's Ctrl-C reaches it.
func (p process) forwardSignals() (stop func()) {
	return endings.Notify(func(s unix.Signal) { p.signal(s) }) // it may have ended, which wait says
}

// wait waits for the end of a process that is a child of this one, and returns its status as a shell has it.
func (p process) wait() (int, error) {
	for {
		var s unix.WaitStatus
		_, err := unix.Wait4(p.PID, &s, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return statusFailed, fmt.Errorf("process %d: %w", p.PID, err)
		case s.Signaled():
			return statusSignal + int(s.Signal()), nil
		default:
			return s.ExitStatus(), nil
		}
	}
}
