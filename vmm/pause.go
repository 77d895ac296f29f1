package vmm

import (
	"errors"
	"sync/atomic"
)

// What somebody may want of the processor's thread, by bit. Whoever wants something sets its bit, and then kicks the processor if it
// is in the guest; the thread says that it is about to enter the guest, and then looks for bits. So none of the two misses the other.
const (
	wantCancel uint32 = 1 << iota // for good
	wantPause
	wantServe // of a device in step, which wants more than a write of the guest's to its registers
	wantWatch // of the watchdog, which wants to know where the processor is
)

// wants is what is wanted of the processor's thread.
type wants struct {
	bits    atomic.Uint32
	inGuest atomic.Bool
}

// enter reports whether the thread may enter the guest: nothing is wanted. leave is to follow.
func (w *wants) enter() bool {
	w.inGuest.Store(true)
	return w.bits.Load() == 0
}

func (w *wants) leave() { w.inGuest.Store(false) }

// take reports whether something is wanted, which it is not any more then.
func (w *wants) take(bit uint32) bool {
	return w.bits.Load()&bit != 0 && w.bits.And(^bit)&bit != 0
}

// want has the thread leave the guest, if it is there, for what bit says. It allocates nothing.
func (m *Machine) want(bit uint32) error {
	m.wants.bits.Or(bit)
	if !m.wants.inGuest.Load() {
		return nil
	}
	return m.kickCPU()
}

// kickCPU interrupts the processor, if there is one.
func (m *Machine) kickCPU() error {
	m.kick.Lock()
	defer m.kick.Unlock()
	if m.cpu == nil {
		return nil
	}
	return m.cpu.Kick()
}

// Pause makes Run or Resume return with Paused as soon as the processor is between two instructions. It may be called at any
// time, from any goroutine, and by a device in step within its call; before Run or Resume it counts for that. Run and Resume may be called
// again then.
func (m *Machine) Pause() {
	if err := m.want(wantPause); err != nil {
		m.config.Log("the machine does not pause: %v", err)
	}
}

// Do executes f on the processor's thread, behind what that does already, and waits for its end. Within it Resume may be called, and
// no method that says that it waits for the machine. The error says that the machine is closed: then f is not executed. Do allocates
// nothing.
func (m *Machine) Do(f func()) error {
	if !m.thread.do(f) {
		return errClosed
	}
	return nil
}

// Why Resume cannot run the guest.
var (
	errEnded  = errors.New("this machine has run already, to its end: make another with New")
	errNested = errors.New("the guest is to go on from within a device's call: it can go on when that has returned")
)

// Resume runs the guest within Do until it ends or somebody calls Pause, and says which. The machine is to be one with Config.InStep.
// After Paused the caller may do as it likes and call Resume again, from wherever in its own code, but not from within the call of a
// device's. There is no watchdog meanwhile. Resume allocates nothing.
func (m *Machine) Resume() (Exit, error) {
	switch {
	case m.cpu == nil:
		return Exit{Reason: Failed}, errClosed
	case m.inLoop:
		return Exit{Reason: Failed}, errNested
	case m.ended.Load():
		return Exit{Reason: Failed}, m.whyEnded()
	}
	m.inLoop = true
	exit, err := m.loop()
	m.inLoop = false
	if exit.Reason != Paused {
		m.ended.Store(true)
	}
	return exit, err
}

// whyEnded says why the guest cannot go on.
func (m *Machine) whyEnded() error {
	if m.poison != nil {
		return m.poison
	}
	return errEnded
}

// attend does what is wanted of the thread, one thing at a time, outside of the guest. The exit that it returns has a reason if the guest is not to
// go on. Devices come last: a driver can have one that wants to be served for ever.
func (m *Machine) attend() (Exit, error) {
	switch w := &m.wants; {
	case w.bits.Load()&wantCancel != 0:
		return Exit{Reason: Cancelled}, nil
	case w.take(wantWatch):
		return m.answerWatch()
	case w.bits.Load()&wantPause != 0 && m.half:
		return m.finishAccess()
	case w.take(wantPause):
		return Exit{Reason: Paused}, nil
	case w.take(wantServe):
		for _, p := range m.places {
			p.transport.Serve()
		}
	}
	return Exit{}, nil
}

// finishAccess finishes the access of the last exit without running the guest any further. That may be an exit again: of an access in
// several pieces.
func (m *Machine) finishAccess() (Exit, error) {
	more, err := m.cpu.Complete()
	m.half = more
	if err != nil || !more {
		return Exit{}, err
	}
	return m.serve(m.cpu.Reason())
}
