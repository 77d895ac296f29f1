package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// What Ctrl-A h shows; the second with buttons.
const (
	keyHelpText    = "\nkapsel: Ctrl-A x leaves, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this\n"
	buttonHelpText = "kapsel: Ctrl-A 1 to Ctrl-A 4 press a button, from button 0 on, or release it\n"
)

// A console is the user's side of the guest's serial line.
type console struct {
	in      io.Reader // what the guest receives
	restore func()    // puts the terminal back as it was
}

// openConsole makes in the guest's input. A terminal goes to raw mode, and its keys are
// filtered: leave is called for Ctrl-A x, press, unless it is nil, for those of buttons, help goes to out. A pipe or a file is
// held back until the guest has printed.
func openConsole(in *os.File, out *guestOutput, leave func(), press func(button int)) (*console, error) {
	saved, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil { // no terminal
		return &console{in: heldInput{in, out.printed}, restore: func() {}}, nil
	}
	if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, rawMode(*saved)); err != nil {
		return nil, fmt.Errorf("terminal to raw mode: %w", err)
	}
	restore := func() { unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, saved) }
	help := keyHelpText
	if press != nil {
		help += buttonHelpText
		press = unawaited(press)
	}
	return &console{in: newKeyReader(in, leave, helper(out, help), press), restore: restore}, nil
}

// followSize tells a machine with a console device how large the terminal is, now and whenever that changes, until stop is
// called.
func followSize(m machine, terminal *os.File) (stop func()) {
	sized, ok := m.(interface{ Resize(columns, rows uint16) })
	if !ok {
		return func() {}
	}
	tell := func() {
		if size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ); err == nil { // else it is no terminal
			sized.Resize(size.Col, size.Row)
		}
	}
	tell()
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	go func() {
		for range changes {
			tell()
		}
	}()
	return func() {
		signal.Stop(changes)
		close(changes)
	}
}

// A guestOutput is where the guest prints to.
type guestOutput struct {
	w       io.Writer
	first   sync.Once
	printed chan struct{} // closed when the guest has printed
	unread  func()        // called when nobody reads any more, unless it is nil

	mu  sync.Mutex
	err error // why the first write failed that did
}

func newGuestOutput(w io.Writer) *guestOutput {
	return &guestOutput{w: w, printed: make(chan struct{})}
}

func (o *guestOutput) Write(p []byte) (int, error) {
	o.begin()
	n, err := o.w.Write(p)
	if o.unread != nil && errors.Is(err, unix.EPIPE) && !signal.Ignored(unix.SIGPIPE) {
		o.unread()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// begin has what waits until the guest has printed go on.
func (o *guestOutput) begin() { o.first.Do(func() { close(o.printed) }) }

// failure is why the first write failed that did; nil if none did.
func (o *guestOutput) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// helper returns what shows a text on out, without waiting for it.
func helper(out io.Writer, text string) (help func()) {
	asked := make(chan struct{}, 1)
	go func() {
		for range asked {
			io.WriteString(out, text)
		}
	}()
	return func() {
		select {
		case asked <- struct{}{}:
		default: // it has not been shown since
		}
	}
}

// unawaited returns what presses a button without waiting for what that does: who watches may be slow. Of many presses that wait more are lost.
func unawaited(press func(button int)) func(button int) {
	pressed := make(chan int, readSize)
	go func() {
		for button := range pressed {
			press(button)
		}
	}()
	return func(button int) {
		select {
		case pressed <- button:
		default:
		}
	}
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

// A keyReader reads what the user types, without kapsel's own keys. After Ctrl-A x it is at
// its end. Keys are read as they come, for those that are kapsel's must not wait for a guest
// that does not read: of what is for the guest much is kept, and more is lost.
type keyReader struct {
	typed chan []byte // for the guest; closed at the end
	err   error       // why it is the end; behind the closing
	rest  []byte
}

// The most that is kept for the guest: reads of a terminal, and the bytes in each.
const (
	keptReads = 256
	readSize  = 1024
)

func newKeyReader(in io.Reader, leave, help func(), press func(button int)) *keyReader {
	r := &keyReader{typed: make(chan []byte, keptReads)}
	go r.follow(in, leave, help, press)
	return r
}

// follow reads what is typed, and does what kapsel's keys ask for.
func (r *keyReader) follow(in io.Reader, leave, help func(), press func(button int)) {
	defer close(r.typed)
	var keys keys
	left := false
	do := func(c keyCommand) {
		switch {
		case c == keyHelp:
			help()
		case c == keyLeave:
			left = true
		case press != nil:
			press(int(c - keyButton))
		}
	}
	buffer := make([]byte, readSize)
	for {
		n, err := in.Read(buffer)
		guest := keys.filter(buffer[:n], do)
		if len(guest) > 0 {
			select {
			case r.typed <- bytes.Clone(guest):
			default:
			}
		}
		if left {
			r.err = io.EOF
			leave()
			return
		}
		if err != nil {
			r.err = err
			return
		}
	}
}

// Read waits for at least one byte that is for the guest.
func (r *keyReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		var ok bool
		if r.rest, ok = <-r.typed; !ok {
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
