// Package screenport is a text screen of 80 columns and 25 rows at the other end of a port: a terminal that knows control functions
// of ECMA-48 and DEC's private modes, as all do that are like an xterm. Text is printable ASCII: '?' is sent for other bytes, but
// for newlines.
package screenport

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// The screen's size.
const (
	columns = 80
	rows    = 25
)

// chunk is how many bytes are sent at once.
const chunk = 256

// Control functions. The display is turned off by showing the terminal's alternate screen, which stays empty.
const (
	clear      = "\x1b[2J\x1b[H"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	steady     = "\x1b[?12l"
	blinking   = "\x1b[?12h"
	displayOff = "\x1b[?1049h\x1b[2J"
	displayOn  = "\x1b[?1049l"
)

// Screen implements hil.TextScreen.
type Screen struct {
	port   hil.Port
	client hil.TextScreenClient
	off    bool // the display is
	busy   bool
	text   []byte // nil unless it is being printed: the first n bytes, of which done are sent
	n      int
	done   int
	out    [chunk]byte // what is being sent
	length int
}

// Init ties the driver to its port, of which it is the only client.
func (s *Screen) Init(port hil.Port) {
	s.port = port
	port.SetPortClient(s)
}

// SetTextScreenClient implements hil.TextScreen.
func (s *Screen) SetTextScreenClient(client hil.TextScreenClient) { s.client = client }

// Size implements hil.TextScreen.
func (s *Screen) Size() (uint32, uint32) { return columns, rows }

// Print implements hil.TextScreen.
func (s *Screen) Print(buf []byte, n int) abi.ErrorCode {
	switch {
	case s.busy:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	case s.off:
		return abi.OFF
	}
	s.text, s.n, s.done = buf, n, 0
	e := s.print()
	if e != abi.OK {
		s.text = nil
	}
	return e
}

// print sends the next of the text.
func (s *Screen) print() abi.ErrorCode {
	s.length = 0
	for s.done < s.n && s.length < chunk-1 {
		c := s.text[s.done]
		switch {
		case c == '\n':
			s.put('\r')
		case c < ' ' || c > '~':
			c = '?'
		}
		s.put(c)
		s.done++
	}
	return s.send()
}

// put adds a byte to what is to be sent. There is room for it.
func (s *Screen) put(c byte) {
	if s.length < chunk {
		s.out[s.length] = c
		s.length++
	}
}

// send sends what was put.
func (s *Screen) send() abi.ErrorCode {
	e := s.port.Send(s.out[:], s.length)
	s.busy = e == abi.OK
	return e
}

// control sends a control function, unless the display is off.
func (s *Screen) control(text string) abi.ErrorCode {
	switch {
	case s.busy:
		return abi.BUSY
	case s.off:
		return abi.OFF
	}
	s.length = 0
	for _, c := range []byte(text) {
		s.put(c)
	}
	return s.send()
}

// SetCursor implements hil.TextScreen.
func (s *Screen) SetCursor(column, row uint32) abi.ErrorCode {
	switch {
	case s.busy:
		return abi.BUSY
	case column >= columns || row >= rows:
		return abi.INVAL
	case s.off:
		return abi.OFF
	}
	s.length = 0
	s.put('\x1b')
	s.put('[')
	s.number(row + 1)
	s.put(';')
	s.number(column + 1)
	s.put('H')
	return s.send()
}

// number puts a number below 100.
func (s *Screen) number(v uint32) {
	if v >= 10 {
		s.put(byte('0' + v/10))
	}
	s.put(byte('0' + v%10))
}

// ShowCursor implements hil.TextScreen.
func (s *Screen) ShowCursor(on bool) abi.ErrorCode {
	if on {
		return s.control(showCursor)
	}
	return s.control(hideCursor)
}

// BlinkCursor implements hil.TextScreen.
func (s *Screen) BlinkCursor(on bool) abi.ErrorCode {
	if on {
		return s.control(blinking)
	}
	return s.control(steady)
}

// Display implements hil.TextScreen. To say again what is so does no harm.
func (s *Screen) Display(on bool) abi.ErrorCode {
	text, was := displayOff, s.off
	if on {
		text = displayOn
	}
	s.off = false
	e := s.control(text)
	if s.off = was; e == abi.OK {
		s.off = !on
	}
	return e
}

// Clear implements hil.TextScreen.
func (s *Screen) Clear() abi.ErrorCode { return s.control(clear) }

// Sent implements hil.PortClient.
func (s *Screen) Sent(_ []byte, _ int, e abi.ErrorCode) {
	if !s.busy {
		return
	}
	s.busy = false
	if s.text == nil {
		s.client.ScreenDone(e)
		return
	}
	if e == abi.OK && s.done < s.n {
		if e = s.print(); e == abi.OK {
			return
		}
	}
	text := s.text
	s.text = nil
	s.client.Printed(text, s.n, e)
}

// Received implements hil.PortClient: nothing is asked for.
func (s *Screen) Received([]byte, int, abi.ErrorCode) {}

// PortChanged implements hil.PortClient.
func (s *Screen) PortChanged() {}
