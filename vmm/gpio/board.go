// Package gpio is what the GPIO lines of a machine are connected to: a board with LEDs, which the guest lights, buttons, which
// a person or a script presses, and pins, which both use.
package gpio

import (
	"fmt"
	"sync"
	"time"
)

// Kind is what a line is connected to.
type Kind uint8

// The kinds.
const (
	LED Kind = iota
	Button
	Pin
	kinds
)

// words are how each kind is called, its lines in the guest too, and what its levels are called, low first.
var words = [kinds]struct {
	name   string
	levels [2]string
}{
	LED:    {"led", [2]string{"off", "on"}},
	Button: {"button", [2]string{"released", "pressed"}},
	Pin:    {"pin", [2]string{"low", "high"}},
}

// Line is a line of a board.
type Line struct {
	Kind  Kind
	Index int // among those of its kind, from 0 on
}

// String returns the line in words: "led 0".
func (l Line) String() string { return fmt.Sprintf("%s %d", words[l.Kind].name, l.Index) }

// Change is a level of a line that is another now.
type Change struct {
	Line    Line
	High    bool // an LED that is on, a button that is pressed
	Outside bool // it was made from outside, not by the guest
}

// Level returns the level in a word: "on".
func (c Change) Level() string {
	if c.High {
		return words[c.Line.Kind].levels[1]
	}
	return words[c.Line.Kind].levels[0]
}

// String returns the change in words: "led 0 on".
func (c Change) String() string { return c.Line.String() + " " + c.Level() }

// Board is what one machine's lines are connected to. It implements virtio.Outside.
type Board struct {
	counts [kinds]int
	watch  func(Change) // nil: nobody does

	mu    sync.Mutex // holds the rest
	drive func(line int, high bool)
	given [2]map[Line]bool // levels: the guest's, and those of the outside
	run   *run             // of a script, nil if there is none
	ended bool
}

// The two that give lines levels.
const (
	guest = iota
	outside
)

// NewBoard makes a board with so many LEDs, buttons and pins, in this order: together at least one line, and at most virtio.MaxLines.
func NewBoard(leds, buttons, pins int) *Board {
	return &Board{counts: [kinds]int{leds, buttons, pins}, given: [2]map[Line]bool{{}, {}}}
}

// Watch has watch called for each change, one after another. It is called before the machine is made. The function may not call the board.
func (b *Board) Watch(watch func(Change)) { b.watch = watch }

// tell tells who watches.
func (b *Board) tell(c Change) {
	if b.watch != nil && !b.ended {
		b.watch(c)
	}
}

// Names implements virtio.Outside: led0, led1, ..., button0, ..., pin0, ...
func (b *Board) Names() (names []string) {
	for kind, n := range b.counts {
		for i := range n {
			names = append(names, fmt.Sprint(words[kind].name, i))
		}
	}
	return names
}

// Connect implements virtio.Outside. A script begins.
func (b *Board) Connect(drive func(line int, high bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drive = drive
	b.goOn()
}

// Output implements virtio.Outside.
func (b *Board) Output(number int, high bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := b.line(number)
	b.given[guest][line] = high
	b.tell(Change{Line: line, High: high})
	b.goOn()
}

// Drive gives a line a level from outside. It may be called from any goroutine. A line that the board has not is left alone, and so
// are all before the machine is made.
func (b *Board) Drive(line Line, high bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(line, high)
}

// Toggle gives a line the other level than it has from outside, likewise.
func (b *Board) Toggle(line Line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(line, !b.given[outside][line])
}

func (b *Board) set(line Line, high bool) {
	if b.drive == nil || b.ended || !b.has(line) || b.given[outside][line] == high {
		return
	}
	b.given[outside][line] = high
	b.tell(Change{Line: line, High: high, Outside: true})
	b.drive(b.number(line), high)
}

// has reports whether the board has a line.
func (b *Board) has(line Line) bool {
	return line.Kind < kinds && line.Index >= 0 && line.Index < b.counts[line.Kind]
}

// number is a line's number at the device.
func (b *Board) number(line Line) int {
	number := line.Index
	for _, n := range b.counts[:line.Kind] {
		number += n
	}
	return number
}

// line is the line with a number.
func (b *Board) line(number int) (line Line) {
	for number >= b.counts[line.Kind] {
		number -= b.counts[line.Kind]
		line.Kind++
	}
	line.Index = number
	return line
}

// Play has the board play a script, from when the machine is made. It is called before that, once.
func (b *Board) Play(s *Script) { b.run = &run{steps: s.steps} }

// run is a script that is played.
type run struct {
	steps   []step // those that are left
	resting bool   // until a time has passed
}

// goOn does the steps of the script that can be done now.
func (b *Board) goOn() {
	for r := b.run; r != nil && len(r.steps) > 0 && !r.resting; {
		s := r.steps[0]
		switch {
		case s.rest > 0:
			r.resting = true
			time.AfterFunc(s.rest, b.rested)
			return
		case s.wait && b.given[guest][s.line] != s.high:
			return
		case !s.wait:
			b.set(s.line, s.high)
		}
		r.steps = r.steps[1:]
	}
}

// rested goes on behind a step that is a time.
func (b *Board) rested() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.run.resting = false
	b.run.steps = b.run.steps[1:]
	b.goOn()
}

// Left returns the step that the script waits at, in words, or "" if it is done, or there is none.
func (b *Board) Left() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil || len(b.run.steps) == 0 {
		return ""
	}
	return b.run.steps[0].text
}

// End ends what is done from outside. From its return on nothing changes, and who watches is not called.
func (b *Board) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}
