package peripheral

import (
	"bytes"
	"strings"
)

// The screen's size, which the guest knows.
const (
	screenColumns = 80
	screenRows    = 25
)

// Screen is a text screen, the Output of the port abi.PortScreen. It shows printable ASCII, and knows the control functions of a
// terminal (ECMA-48, and DEC's private modes as an xterm has them) that the kernel sends; others do nothing.
type Screen struct {
	show        func(text []byte) error
	cells       [screenRows][screenColumns]byte
	column, row int
	wrap        bool // the last column was written: the next character begins a row
	off         bool // the alternate screen is shown
	escape      []byte
}

// maxEscape is how long a control sequence is at the most.
const maxEscape = 16

// NewScreen returns a screen that calls show with its rows after each change: lines without spaces at their ends, as many as there are up
// to the last that is not empty, and none while the display is off.
func NewScreen(show func(text []byte) error) *Screen {
	s := &Screen{show: show}
	s.clear()
	return s
}

// Write implements io.Writer.
func (s *Screen) Write(p []byte) (int, error) {
	for _, c := range p {
		s.take(c)
	}
	return len(p), s.show(s.Rows())
}

// Rows are what the screen shows.
func (s *Screen) Rows() []byte {
	var rows []byte
	if s.off {
		return rows
	}
	for i := range s.cells {
		rows = append(append(rows, bytes.TrimRight(s.cells[i][:], " ")...), '\n')
	}
	rows = bytes.TrimRight(rows, "\n")
	if len(rows) > 0 {
		rows = append(rows, '\n')
	}
	return rows
}

// take takes a byte.
func (s *Screen) take(c byte) {
	switch {
	case c == '\x1b':
		s.escape = append(s.escape[:0], c)
	case len(s.escape) > 0:
		s.control(c)
	case c == '\r':
		s.column, s.wrap = 0, false
	case c == '\n':
		s.down()
	case c >= ' ' && c <= '~' && !s.off:
		s.print(c)
	}
}

// print writes a character where the cursor is.
func (s *Screen) print(c byte) {
	if s.wrap {
		s.column, s.wrap = 0, false
		s.down()
	}
	s.cells[s.row][s.column] = c
	if s.column == screenColumns-1 {
		s.wrap = true
		return
	}
	s.column++
}

// down moves the cursor to the next row: behind the last all move up.
func (s *Screen) down() {
	if s.off {
		return
	}
	s.wrap = false
	if s.row < screenRows-1 {
		s.row++
		return
	}
	copy(s.cells[:], s.cells[1:])
	s.blank(screenRows - 1)
}

// blank empties a row.
func (s *Screen) blank(row int) {
	for i := range s.cells[row] {
		s.cells[row][i] = ' '
	}
}

// clear empties all rows.
func (s *Screen) clear() {
	for row := range s.cells {
		s.blank(row)
	}
}

// control takes a byte of a control sequence, ESC [ ... final (ECMA-48, 5.4), and does what a whole one says.
func (s *Screen) control(c byte) {
	s.escape = append(s.escape, c)
	switch {
	case len(s.escape) == 2 && c == '[':
		return
	case len(s.escape) > 2 && c >= 0x40 && c <= 0x7e:
		s.obey(string(s.escape[2:len(s.escape)-1]), c)
	case len(s.escape) > 2 && c >= 0x20 && c < 0x40 && len(s.escape) < maxEscape:
		return
	}
	s.escape = s.escape[:0]
}

// obey does what a control sequence says, by its parameters and its final byte.
func (s *Screen) obey(parameters string, final byte) {
	switch string(final) + parameters {
	case "h?1049":
		s.off = true
	case "l?1049":
		s.off = false
	}
	switch {
	case s.off:
	case final == 'J' && parameters == "2":
		s.clear()
	case final == 'H':
		row, column, _ := strings.Cut(parameters, ";")
		s.row, s.column, s.wrap = position(row, screenRows), position(column, screenColumns), false
	}
}

// position is a parameter of a cursor's position, from 1 on, as an index below n.
func position(parameter string, n int) int {
	v := 0
	for _, c := range []byte(parameter) {
		if c < '0' || c > '9' {
			return 0
		}
		v = min(v*10+int(c-'0'), n)
	}
	return max(v, 1) - 1
}
