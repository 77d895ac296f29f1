package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/confine"
)

// askTime is how long a kernel has to say whether a task wants to be told that it is to end. It says so at once, unless it hangs.
const askTime = 5 * time.Second

// An asker asks the guest's tasks to end (abi.PortEnd), at the first SIGTERM. It is both ends of the port. A nil one asks nobody.
type asker struct {
	asks, answers chan byte // to the guest, and from it
	ended         chan struct{}
	connected     atomic.Bool // there is a machine, or is about to be
	asked         atomic.Bool
}

func newAsker() *asker {
	return &asker{asks: make(chan byte, 1), answers: make(chan byte, 1), ended: make(chan struct{})}
}

// Read has the guest receive what is asked.
func (a *asker) Read(b []byte) (int, error) {
	select {
	case b[0] = <-a.asks:
		return 1, nil
	case <-a.ended:
		return 0, io.EOF
	}
}

// Write takes the guest's answer. Of what nobody asked for, nobody hears.
func (a *asker) Write(b []byte) (int, error) {
	for _, answer := range b {
		select {
		case a.answers <- answer:
		default:
		}
	}
	return len(b), nil
}

// Close ends what waits for the guest, when the machine has ended.
func (a *asker) Close() error {
	close(a.ended)
	return nil
}

// takes asks the guest to end, if that is to be asked for this cause, and reports whether it was. Then leave is called if the guest does not end for it.
func (a *asker) takes(cause error, leave context.CancelCauseFunc) bool {
	if a == nil || cause != error(signalError{syscall.SIGTERM}) || !a.connected.Load() || a.asked.Swap(true) {
		return false
	}
	a.asks <- abi.EndAsk
	go func() {
		select {
		case answer := <-a.answers:
			if answer != abi.EndTold {
				leave(cause)
			}
		case <-time.After(askTime):
			leave(cause)
		case <-a.ended:
		}
	}()
	return true
}

// askFlag is a flag without a value: tasks are asked to end at SIGTERM.
type askFlag struct {
	ports *namedPorts
	ask   **asker
}

func (f askFlag) String() string { return "" }

// IsBoolFlag says that the flag stands alone.
func (f askFlag) IsBoolFlag() bool { return true }

// Set takes true, which the flag alone means, and adds the port.
func (f askFlag) Set(text string) error {
	if text != "true" {
		return errors.New("want --ask alone")
	}
	a := newAsker()
	*f.ask = a
	return f.ports.add(abi.PortEnd, confine.Options{}, func(context.Context, stdio) (vmm.Port, io.Closer, error) {
		a.connected.Store(true)
		return vmm.Port{Input: a, Output: a}, a, nil
	})
}
