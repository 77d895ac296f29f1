package processconsole

import (
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// maxLine is the length of a command at most, in bytes; more keys are ignored.
const maxLine = 64

// historySize is how many commands are kept.
const historySize = 10

// text is a line.
type text struct {
	bytes  [maxLine]byte
	length int
}

// editor makes lines of keys, for a terminal that knows the escape sequences of ECMA-48.
type editor struct {
	_      [0]func() // not comparable: no function is made for it
	out    kernel.Writer
	line   text
	cursor int // 0 to line.length

	history [historySize + 1]text // [0] is the new line while an old one is shown, [1] the last command
	kept    int                   // commands in history
	shown   int                   // which of history is being edited; 0: the new line

	escape    escape
	parameter int  // of the escape sequence
	last      byte // the key before, to take CR LF as one end of line
}

// escape is how far an escape sequence has come.
type escape uint8

const (
	noEscape   escape = iota
	escaped           // ESC
	introduced        // ESC [ or ESC O: parameter and final byte follow
)

// Keys, as terminals send them. Those with Ctrl do what they do in most shells.
const (
	keyHome      = 0x01 // Ctrl-A
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x05 // Ctrl-E
	keyBackspace = 0x08
	keyKillRight = 0x0b // Ctrl-K
	keyKillLeft  = 0x15 // Ctrl-U
	keyKillWord  = 0x17 // Ctrl-W
	keyEscape    = 0x1b
	keyDelete    = 0x7f // what most terminals send for Backspace
)

// press edits the line, and reports whether it is complete.
func (e *editor) press(key byte) bool {
	before := e.last
	e.last = key
	switch {
	case e.escape != noEscape:
		e.sequence(key)
	case key == '\n' && before == '\r':
	case key == '\n' || key == '\r':
		e.out.WriteString("\n")
		return true
	case key == keyInterrupt:
		e.line.length = 0
		e.out.WriteString("^C\n")
		return true
	case key == keyEscape:
		e.escape = escaped
	case key >= ' ' && key <= '~':
		e.insert(key)
	default:
		e.control(key)
	}
	return false
}

// control obeys a control key that leaves the line incomplete.
func (e *editor) control(key byte) {
	switch key {
	case keyHome:
		e.moveTo(0)
	case keyEnd:
		e.moveTo(e.line.length)
	case keyBackspace, keyDelete:
		e.removeFrom(e.cursor - 1)
	case keyKillLeft:
		e.removeFrom(0)
	case keyKillRight:
		e.remove(e.line.length - e.cursor)
	case keyKillWord:
		e.removeFrom(e.wordStart())
	}
}

// take returns the complete line, valid until the next press, and begins a new one.
func (e *editor) take() []byte {
	done := &e.history[0]
	*done = e.line
	if n := done.length; n != 0 && string(done.bytes[:n]) != string(e.history[1].bytes[:e.history[1].length]) {
		copy(e.history[1:], e.history[:historySize])
		e.kept = min(e.kept+1, historySize)
	}
	e.line.length, e.cursor, e.shown = 0, 0, 0
	return done.bytes[:done.length]
}

// sequence takes the next byte of an escape sequence.
func (e *editor) sequence(key byte) {
	switch {
	case e.escape == escaped:
		e.escape, e.parameter = noEscape, 0
		if key == '[' || key == 'O' {
			e.escape = introduced
		}
	case key < ' ': // not part of one: both are dropped
		e.escape = noEscape
	case key >= '0' && key <= '9':
		e.parameter = (e.parameter*10 + int(key-'0')) % 100
	case key < '@': // other parameters, and intermediate bytes
	default:
		e.escape = noEscape
		e.function(key)
	}
}

// function obeys a function key: the final byte of its escape sequence.
func (e *editor) function(final byte) {
	switch final {
	case 'A':
		e.show(e.shown + 1)
	case 'B':
		e.show(e.shown - 1)
	case 'C':
		e.moveTo(e.cursor + 1)
	case 'D':
		e.moveTo(e.cursor - 1)
	case 'H':
		e.moveTo(0)
	case 'F':
		e.moveTo(e.line.length)
	case '~':
		switch e.parameter {
		case 1, 7:
			e.moveTo(0)
		case 4, 8:
			e.moveTo(e.line.length)
		case 3:
			e.remove(1)
		}
	}
}

// insert puts a character at the cursor.
func (e *editor) insert(key byte) {
	if e.line.length == maxLine {
		return
	}
	for i := e.line.length; i > e.cursor; i-- {
		e.line.bytes[i] = e.line.bytes[i-1]
	}
	e.line.bytes[e.cursor] = key
	e.line.length++
	e.moveTo(e.cursor + 1)
	if e.cursor < e.line.length {
		e.redraw()
	}
}

// remove takes n characters away, from the cursor on, or as many as there are.
func (e *editor) remove(n int) {
	n = min(n, e.line.length-e.cursor)
	if n == 0 {
		return
	}
	e.line.length -= n
	for i := e.cursor; i < e.line.length; i++ {
		e.line.bytes[i] = e.line.bytes[i+n]
	}
	e.redraw()
}

// removeFrom takes away what stands between a place in the line and the cursor behind it.
func (e *editor) removeFrom(start int) {
	n := e.cursor
	e.moveTo(start)
	e.remove(n - e.cursor)
}

// wordStart is where the word begins that stands before the cursor, with spaces between or not.
func (e *editor) wordStart() int {
	at := e.cursor
	for at > 0 && e.line.bytes[at-1] == ' ' {
		at--
	}
	for at > 0 && e.line.bytes[at-1] != ' ' {
		at--
	}
	return at
}

// show puts the n-th newest command into the line, or for 0 the line that was new.
func (e *editor) show(n int) {
	if n < 0 || n > e.kept {
		return
	}
	if e.shown == 0 {
		e.history[0] = e.line
	}
	e.moveTo(0)
	e.line, e.shown = e.history[n], n
	e.redraw()
	e.moveTo(e.line.length)
}

// redraw shows the line from the cursor on; the cursor stays.
func (e *editor) redraw() {
	cursor := e.cursor
	e.moveTo(e.line.length)
	e.out.WriteString("\x1b[K") // erase to the end of the line
	e.moveTo(cursor)
}

// moveTo moves the cursor to a place in the line, or to the nearer end.
func (e *editor) moveTo(cursor int) {
	cursor = max(0, min(cursor, e.line.length))
	for ; e.cursor > cursor; e.cursor-- {
		e.out.WriteString("\b")
	}
	format.Text(e.out, e.line.bytes[e.cursor:cursor])
	e.cursor = cursor
}
