package screenport

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

type rig struct {
	Screen
	port  kerneltest.Port
	ends  []abi.ErrorCode
	texts []string
}

func (r *rig) ScreenDone(e abi.ErrorCode) { r.ends = append(r.ends, e) }

func (r *rig) Printed(buf []byte, n int, e abi.ErrorCode) {
	r.texts = append(r.texts, string(buf[:n]))
	r.ends = append(r.ends, e)
}

func newRig() *rig {
	r := &rig{}
	r.Init(&r.port)
	r.SetTextScreenClient(r)
	return r
}

// TestControls: what each request sends.
func TestControls(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		ask        func(s *Screen) abi.ErrorCode
	}{
		{"clear", "\x1b[2J\x1b[H", (*Screen).Clear},
		{"move", "\x1b[25;80H", func(s *Screen) abi.ErrorCode { return s.SetCursor(79, 24) }},
		{"move home", "\x1b[1;1H", func(s *Screen) abi.ErrorCode { return s.SetCursor(0, 0) }},
		{"show", "\x1b[?25h", func(s *Screen) abi.ErrorCode { return s.ShowCursor(true) }},
		{"hide", "\x1b[?25l", func(s *Screen) abi.ErrorCode { return s.ShowCursor(false) }},
		{"blink", "\x1b[?12h", func(s *Screen) abi.ErrorCode { return s.BlinkCursor(true) }},
		{"do not blink", "\x1b[?12l", func(s *Screen) abi.ErrorCode { return s.BlinkCursor(false) }},
		{"on", "\x1b[?1049l", func(s *Screen) abi.ErrorCode { return s.Display(true) }},
		{"off", "\x1b[?1049h\x1b[2J", func(s *Screen) abi.ErrorCode { return s.Display(false) }},
	} {
		r := newRig()
		assert.Equal(t, abi.OK, tt.ask(&r.Screen), tt.name)
		assert.Equal(t, abi.BUSY, tt.ask(&r.Screen), tt.name)
		assert.Equal(t, abi.BUSY, r.Print([]byte("x"), 1), tt.name)
		assert.Empty(t, r.ends, "no callback from within the call")
		assert.Equal(t, tt.want, r.port.Take(), tt.name)
		assert.Equal(t, []abi.ErrorCode{abi.OK}, r.ends, tt.name)
		r.Sent(nil, 0, abi.OK)
		assert.Len(t, r.ends, 1, "a late callback")
	}
	r := newRig()
	assert.Equal(t, abi.INVAL, r.SetCursor(80, 0))
	assert.Equal(t, abi.INVAL, r.SetCursor(0, 25))
	assert.Equal(t, abi.INVAL, r.SetCursor(1<<32-1, 1<<32-1))
}

func TestPrint(t *testing.T) {
	r := newRig()
	assert.Equal(t, abi.SIZE, r.Print(nil, 0))
	assert.Equal(t, abi.SIZE, r.Print([]byte("x"), 2))
	assert.Equal(t, abi.OK, r.Print([]byte("a\nb\x1b[2J\r\x7f\x80"), 6))
	assert.Equal(t, "a\r\nb?[2", r.port.Take(), "no control function of a task's")
	text := strings.Repeat("\n", chunk) + "end"
	r.Print([]byte(text), len(text))
	got := ""
	for len(r.texts) == 1 {
		piece := r.port.Take()
		assert.LessOrEqual(t, len(piece), chunk)
		got += piece
	}
	assert.Equal(t, strings.ReplaceAll(text, "\n", "\r\n"), got)
	assert.Equal(t, text, r.texts[1])
}

// TestDisplayOff: nothing but turning it on can be asked for.
func TestDisplayOff(t *testing.T) {
	r := newRig()
	r.Display(false)
	r.port.Take()
	assert.Equal(t, abi.OFF, r.Print([]byte("x"), 1))
	assert.Equal(t, abi.OFF, r.Clear())
	assert.Equal(t, abi.OFF, r.SetCursor(0, 0))
	assert.Equal(t, abi.OK, r.Display(false))
	r.port.Take()
	assert.Equal(t, abi.OK, r.Display(true))
	r.port.Take()
	assert.Equal(t, abi.OK, r.Print([]byte("x"), 1))
}

// TestPortCloses: what goes on ends with that, and what follows is refused.
func TestPortCloses(t *testing.T) {
	r := newRig()
	r.Print([]byte("x"), 1)
	r.port.Change(abi.OFF)
	assert.Equal(t, []abi.ErrorCode{abi.OFF}, r.ends)
	assert.Equal(t, abi.OFF, r.Print([]byte("x"), 1))
	assert.Equal(t, abi.OFF, r.Display(false))
	r.port.Change(abi.OK)
	assert.Equal(t, abi.OK, r.Clear(), "the display is on still")
}
