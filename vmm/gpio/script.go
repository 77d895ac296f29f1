package gpio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Script is what a board does by itself, step by step.
type Script struct{ steps []step }

// step is one step: a level that a line is given, or that a line is waited to have, or a time.
type step struct {
	text string // the step in words, with its line's number
	rest time.Duration
	wait bool
	line Line
	high bool
}

// orders are what a script says to give a line a level, low first. An LED is not given any.
var orders = [kinds][2]string{
	Button: {"release", "press"},
	Pin:    {"low", "high"},
}

// MaxScript is how many bytes a script can have.
const MaxScript = 1 << 20

// Parse reads a script for the board. Each line of it is a step, or empty, or a comment behind "#":
//
//	wait led 0 on        goes on when the guest has LED 0 on, at once if it is: on or off
//	wait pin 3 high      likewise a pin that the guest gives a level: high or low
//	after 100ms          goes on when a time has passed
//	button 0 press       press or release
//	pin 3 high           high or low, from outside
//
// The error says which line is wrong, and what is wanted.
func (b *Board) Parse(text string) (*Script, error) {
	if len(text) > MaxScript {
		return nil, fmt.Errorf("%d bytes are more than the %d that a script can have", len(text), MaxScript)
	}
	s := new(Script)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		next, err := b.parseStep(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		next.text = fmt.Sprintf("line %d, %q", number, strings.Join(fields, " "))
		s.steps = append(s.steps, next)
	}
	return s, nil
}

// excerpt is text as an error tells it: of a long one the beginning.
func excerpt(text string) string { return text[:min(len(text), 100)] }

// parseStep reads the words of a step.
func (b *Board) parseStep(fields []string) (s step, err error) {
	switch fields[0] {
	case "after":
		if len(fields) == 2 {
			s.rest, err = time.ParseDuration(fields[1])
		}
		if len(fields) != 2 || err != nil || s.rest <= 0 {
			return s, fmt.Errorf("want a time as in %q, found %q", "after 100ms", excerpt(strings.Join(fields, " ")))
		}
		return s, nil
	case "wait":
		s.wait = true
		fields = fields[1:]
	}
	if len(fields) != 3 {
		return s, fmt.Errorf("want %q, %q, %q or %q", "wait led 0 on", "button 0 press", "pin 0 high", "after 100ms")
	}
	if s.line, err = b.parseLine(fields[0], fields[1]); err != nil {
		return s, err
	}
	s.high, err = parseLevel(s.line, s.wait, fields[2])
	return s, err
}

// parseLine reads which line is meant.
func (b *Board) parseLine(kind, index string) (Line, error) {
	for k, n := range b.counts {
		if words[k].name != kind {
			continue
		}
		i, err := strconv.Atoi(index)
		if line := (Line{Kind(k), i}); err == nil && b.has(line) {
			return line, nil
		}
		return Line{}, fmt.Errorf("there is no %s %q: want %[1]s 0 to %[1]s %[3]d", kind, excerpt(index), n-1)
	}
	return Line{}, fmt.Errorf("want led, button or pin, found %q", excerpt(kind))
}

// parseLevel reads the level that a line is given, or waited to have.
func parseLevel(line Line, wait bool, word string) (high bool, err error) {
	levels := orders[line.Kind]
	switch {
	case wait && line.Kind == Button:
		return false, fmt.Errorf("the guest does not press buttons: want to wait for an LED or a pin")
	case wait:
		levels = words[line.Kind].levels
	case line.Kind == LED:
		return false, fmt.Errorf("only the guest turns LEDs on and off: want %q", "wait "+line.String()+" on")
	}
	i := slices.Index(levels[:], word)
	if i < 0 {
		return false, fmt.Errorf("want %s %s or %s, found %q", line, levels[1], levels[0], excerpt(word))
	}
	return i == 1, nil
}
