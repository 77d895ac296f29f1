package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kapsel/vmm"
	"kapsel/vmm/gpio"
	"kapsel/vmm/image"
)

// What is on the board of --gpio.
const (
	boardLEDs    = 4
	boardButtons = 4
	boardPins    = 8
)

// gpioOptions are what is done with a board.
type gpioOptions struct {
	board  *gpio.Board // nil: there is none
	json   string      // the file of changes, "-" for standard error; "": they are lines there
	script string      // the script's file, "" for none
}

// gpioFlag is a flag whose value may be left out: a GPIO device.
type gpioFlag struct {
	options *gpioOptions
	devices *devices
}

func (f gpioFlag) String() string { return "" }

// IsBoolFlag says that the flag can stand alone.
func (f gpioFlag) IsBoolFlag() bool { return true }

// Set takes true, which the flag alone means, or words, and makes the device.
func (f gpioFlag) Set(text string) error {
	o := f.options
	if o.board != nil {
		return errors.New("a machine has one GPIO device")
	}
	if text != "true" {
		for word := range strings.SplitSeq(text, ",") {
			name, value, _ := strings.Cut(word, "=")
			option := map[string]*string{"json": &o.json, "script": &o.script}[name]
			if option == nil || value == "" || *option != "" {
				return fmt.Errorf("want json=FILE and script=FILE, each once, found %q", word)
			}
			*option = value
		}
	}
	o.board = gpio.NewBoard(boardLEDs, boardButtons, boardPins)
	*f.devices = append(*f.devices, vmm.GPIO{Board: o.board})
	return nil
}

// checkGPIO finds the words of a --gpio that has a space in the place of its =.
func checkGPIO(o gpioOptions, files []string) error {
	isWord := func(file string) bool {
		return (strings.HasPrefix(file, "json=") || strings.HasPrefix(file, "script=")) && !exists(file)
	}
	if i := slices.IndexFunc(files, isWord); o.board != nil && i >= 0 {
		return fmt.Errorf("--gpio %s: want --gpio=%[1]s", files[i])
	}
	return nil
}

// press returns what presses a button or releases it; nil without a board.
func (o *gpioOptions) press() func(button int) {
	if o.board == nil {
		return nil
	}
	return func(button int) { o.board.Toggle(gpio.Line{Kind: gpio.Button, Index: button}) }
}

// open has the changes of the board written, from standard error's to a file, and its script played. Once the machine has ended close
// says what failed of that.
func (o *gpioOptions) open(ctx context.Context, std stdio) (close func() error, err error) {
	if o.board == nil {
		return func() error { return nil }, nil
	}
	if err := o.play(ctx); err != nil {
		return nil, fmt.Errorf("--gpio script=%s: %w", o.script, err)
	}
	if o.json == "" {
		o.board.Watch(func(c gpio.Change) { fmt.Fprintf(std.err, "gpio: %v\n", c) })
		return o.end, nil
	}
	if o.json == "-" {
		w := newChanges(std.err)
		o.board.Watch(w.write)
		return func() error { return errors.Join(o.end(), w.err) }, nil
	}
	file, err := std.outputs.open(o.json)
	if err != nil {
		return nil, fmt.Errorf("--gpio json=%s: %w", o.json, err)
	}
	words := newLastWords(file) // as for standard error: a terminal that stands still does not hold the command's end
	context.AfterFunc(ctx, words.hurry)
	w := newChanges(words)
	o.board.Watch(w.write)
	return func() error { return errors.Join(o.end(), w.err, file.Close()) }, nil
}

// play reads the script, if there is one, and gives it to the board.
func (o *gpioOptions) play(ctx context.Context) error {
	if o.script == "" {
		return nil
	}
	text, err := image.ReadFile(ctx, o.script)
	if err != nil {
		return err
	}
	script, err := o.board.Parse(string(text))
	if err == nil {
		o.board.Play(script)
	}
	return err
}

// end ends what the board does. It is an error if the script was not played to its end.
func (o *gpioOptions) end() error {
	o.board.End()
	if step := o.board.Left(); step != "" {
		return fmt.Errorf("the machine ended before its script, at %s", step)
	}
	return nil
}

// changes writes changes as JSON, one a line.
type changes struct {
	encoder *json.Encoder
	began   time.Time
	err     error // why the first failed that did
}

func newChanges(w io.Writer) *changes {
	return &changes{encoder: json.NewEncoder(w), began: time.Now()}
}

// write writes a change.
func (w *changes) write(c gpio.Change) {
	by := "guest"
	if c.Outside {
		by = "outside"
	}
	err := w.encoder.Encode(struct {
		Seconds float64 `json:"seconds"` // since the machine was made
		Line    string  `json:"line"`
		Level   string  `json:"level"`
		By      string  `json:"by"`
	}{time.Since(w.began).Seconds(), c.Line.String(), c.Level(), by})
	if w.err == nil {
		w.err = err
	}
}
