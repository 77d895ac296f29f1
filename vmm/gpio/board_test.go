package gpio

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// driven is a level that a device was told of.
type driven struct {
	line int
	high bool
}

// device is what a board is connected to.
type device struct {
	*Board
	driven []driven
	seen   []string // changes
}

// newDevice makes a board of 2 LEDs, 2 buttons and 3 pins, which plays a script.
func newDevice(t *testing.T, script string) *device {
	d := &device{}
	d.Board = NewBoard(2, 2, 3)
	d.Watch(func(c Change) {
		by := "guest: "
		if c.Outside {
			by = "outside: "
		}
		d.seen = append(d.seen, by+c.String())
	})
	if script != "" {
		s, err := d.Parse(script)
		require.NoError(t, err)
		d.Play(s)
	}
	return d
}

func (d *device) connect() {
	d.Connect(func(line int, high bool) { d.driven = append(d.driven, driven{line, high}) })
}

func TestBoard(t *testing.T) {
	d := newDevice(t, "")
	assert.Equal(t, []string{"led0", "led1", "button0", "button1", "pin0", "pin1", "pin2"}, d.Names())
	d.Drive(Line{Button, 0}, true)
	d.connect()
	assert.Empty(t, d.driven, "there was no machine")
	d.Output(1, true)
	d.Output(6, true)
	d.Output(1, false)
	d.Toggle(Line{Button, 1})
	d.Toggle(Line{Button, 1})
	d.Drive(Line{Pin, 2}, true)
	d.Drive(Line{Pin, 2}, true)
	for _, none := range []Line{{Button, 2}, {Pin, -1}, {kinds, 0}, {LED, 7}} {
		d.Toggle(none)
	}
	assert.Equal(t, []driven{{3, true}, {3, false}, {6, true}}, d.driven)
	assert.Equal(t, []string{"guest: led 1 on", "guest: pin 2 high", "guest: led 1 off",
		"outside: button 1 pressed", "outside: button 1 released", "outside: pin 2 high"}, d.seen)
	assert.Empty(t, d.Left())
}

// TestScript: each step is done when the one before is, and what a step waits for may be so already.
func TestScript(t *testing.T) {
	d := newDevice(t, `
		# a script
		button 0 press
		wait led 0 on   # which it is for
		button 0 release
		pin 1 high
		wait led 0 off
		wait pin 2 high
		wait pin 2 high
		button 1 press
	`)
	d.connect()
	assert.Equal(t, []driven{{2, true}}, d.driven)
	assert.Equal(t, `line 4, "wait led 0 on"`, d.Left())
	d.Output(1, true)
	d.Output(6, true)
	assert.Len(t, d.driven, 1)
	d.Output(0, true)
	assert.Equal(t, []driven{{2, true}, {2, false}, {5, true}}, d.driven)
	d.Output(0, false)
	assert.Equal(t, driven{3, true}, d.driven[3])
	assert.Empty(t, d.Left())
	assert.Equal(t, []string{"outside: button 0 pressed", "guest: led 1 on", "guest: pin 2 high", "guest: led 0 on", "outside: button 0 released",
		"outside: pin 1 high", "guest: led 0 off", "outside: button 1 pressed"}, d.seen)
}

// TestScriptWaitsForATime: no earlier than that, whatever happens meanwhile.
func TestScriptWaitsForATime(t *testing.T) {
	pressed := make(chan time.Time, 1)
	b := NewBoard(1, 1, 0)
	b.Watch(func(c Change) {
		if c.Outside {
			pressed <- time.Now()
		}
	})
	s, err := b.Parse("after 20ms\nbutton 0 press")
	require.NoError(t, err)
	b.Play(s)
	began := time.Now()
	b.Connect(func(int, bool) {})
	b.Output(0, true)
	assert.GreaterOrEqual(t, (<-pressed).Sub(began), 20*time.Millisecond)
}

// TestEnd: behind the machine's end neither a script nor a person changes anything.
func TestEnd(t *testing.T) {
	d := newDevice(t, "after 1h\nbutton 0 press")
	d.connect()
	d.End()
	d.rested()
	d.Toggle(Line{Button, 1})
	d.Drive(Line{Pin, 0}, true)
	d.Output(0, true)
	assert.Empty(t, d.driven)
	assert.Empty(t, d.seen)
	assert.Equal(t, `line 1, "after 1h"`, d.Left())
}

func TestScriptsThatAreNone(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"an unknown line", "\nwire 0 high", `line 2: want led, button or pin, found "wire"`},
		{"too few words", "button 0", `line 1: want "wait led 0 on", "button 0 press", "pin 0 high" or "after 100ms"`},
		{"too many words", "wait led 0 on now", `line 1: want "wait led 0 on", "button 0 press", "pin 0 high" or "after 100ms"`},
		{"a wait alone", "wait", `line 1: want "wait led 0 on", "button 0 press", "pin 0 high" or "after 100ms"`},
		{"a button that is not there", "button 2 press", `line 1: there is no button "2": want button 0 to button 1`},
		{"no number", "pin x high", `line 1: there is no pin "x": want pin 0 to pin 2`},
		{"a number below 0", "pin -1 high", `line 1: there is no pin "-1": want pin 0 to pin 2`},
		{"an LED from outside", "led 0 on", `line 1: only the guest turns LEDs on and off: want "wait led 0 on"`},
		{"a button from inside", "wait button 0 press", `line 1: the guest does not press buttons: want to wait for an LED or a pin`},
		{"another word for a level", "button 0 high", `line 1: want button 0 press or release, found "high"`},
		{"another word to wait for", "wait led 1 high", `line 1: want led 1 on or off, found "high"`},
		{"what a terminal would obey", "pin \x1b[31m high", `line 1: there is no pin "\x1b[31m": want pin 0 to pin 2`},
		{"a long word", strings.Repeat("x", 10_000) + " 0 high", `line 1: want led, button or pin, found "` + strings.Repeat("x", 100) + `"`},
		{"no time", "after", `line 1: want a time as in "after 100ms", found "after"`},
		{"a time without a unit", "after 5", `line 1: want a time as in "after 100ms", found "after 5"`},
		{"a time that has passed", "after -1s", `line 1: want a time as in "after 100ms", found "after -1s"`},
		{"very much", string(make([]byte, MaxScript+1)), `1048577 bytes are more than the 1048576 that a script can have`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewBoard(2, 2, 3).Parse(tt.script)
			assert.EqualError(t, err, tt.want)
		})
	}
}

// FuzzScript has any script played, by any outputs: no panic, no hang.
func FuzzScript(f *testing.F) {
	f.Add("wait led 0 on\nbutton 0 press\npin 1 high\nwait pin 2 low", []byte{0, 1, 6, 7})
	f.Add("after 1h\nafter 1ns # x", []byte{})
	f.Fuzz(func(t *testing.T, script string, outputs []byte) {
		b := NewBoard(2, 2, 3)
		s, err := b.Parse(script)
		if err != nil {
			return
		}
		b.Play(s)
		b.Connect(func(line int, _ bool) {
			require.GreaterOrEqual(t, line, 2)
			require.Less(t, line, 7)
		})
		for _, o := range outputs {
			b.Output(int(o)%7, o >= 128)
		}
		b.Left()
	})
}
