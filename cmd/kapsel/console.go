package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// keyHelpText is shown by Ctrl-A h.
const keyHelpText = "\nkapsel: Ctrl-A x leaves, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this\n"

// A console is the user's side of the guest's serial line.
type console struct {
	in      io.Reader // what the guest receives
	restore func()    // puts the terminal back as it was
}

// openConsole makes in the guest's input. A terminal goes to raw mode, and its keys are
// filtered: leave is called for Ctrl-A x, help goes to out. A pipe or a file is held back until
// the guest has printed.
func openConsole(in *os.File, out *guestOutput, leave func()) (*console, error) {
	saved, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil { // no terminal
		return &console{in: heldInput{in, out.printed}, restore: func() {}}, nil
	}
	if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, rawMode(*saved)); err != nil {
		return nil, fmt.Errorf("terminal to raw mode: %w", err)
	}
	restore := func() { unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, saved) }
	help := func() { fmt.Fprint(out, keyHelpText) }
	return &console{in: &keyReader{in: in, leave: leave, help: help}, restore: restore}, nil
}

// A guestOutput is where the guest prints to.
type guestOutput struct {
	w       io.Writer
	first   sync.Once
	printed chan struct{} // closed when the guest has printed
	err     error         // why the first write failed that did
}

func newGuestOutput(w io.Writer) *guestOutput {
	return &guestOutput{w: w, printed: make(chan struct{})}
}

func (o *guestOutput) Write(p []byte) (int, error) {
	o.first.Do(func() { close(o.printed) })
	n, err := o.w.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// A heldInput waits until the guest has printed, for by then it has set up its UART. Of bytes
// that come earlier the UART keeps one, and drops others when its FIFO is switched on.
type heldInput struct {
	io.Reader
	until <-chan struct{}
}

func (h heldInput) Read(p []byte) (int, error) {
	<-h.until
	return h.Reader.Read(p)
}

// rawMode is t with every key passed on at once, unseen and uninterpreted. Output stays as
// it was, so that the guest's line feeds begin a line.
func rawMode(t unix.Termios) *unix.Termios {
	t.Iflag &^= unix.BRKINT | unix.ICRNL | unix.IGNBRK | unix.IGNCR | unix.INLCR | unix.INPCK |
		unix.ISTRIP | unix.IXON | unix.PARMRK
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.IEXTEN | unix.ISIG
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return &t
}

// A keyReader reads what the user types, without kapsel's own keys. After Ctrl-A x it is
// at its end.
type keyReader struct {
	in          io.Reader
	leave, help func()
	keys        keys
	left        bool
}

// Read waits for at least one byte that is for the guest.
func (r *keyReader) Read(p []byte) (int, error) {
	for !r.left {
		n, err := r.in.Read(p)
		guest, command := r.keys.filter(p[:n])
		switch command {
		case keyHelp:
			r.help()
		case keyLeave:
			r.left = true
			r.leave()
		}
		if len(guest) > 0 || err != nil {
			return len(guest), err
		}
	}
	return 0, io.EOF
}
