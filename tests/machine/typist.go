package machine

import (
	"io"
	"strings"
)

// A Typist types at the machine's serial line what its steps say: the next one's keys as
// soon as the console has shown the next one's text, behind the one before. As a Guest's
// Console it reads, and its Keys are the Guest's Input.
type Typist struct {
	Keys     io.Reader
	keyboard *io.PipeWriter
	steps    []Step
	unread   string
	typing   chan string
}

// A Step is what to wait for, and what to type then.
type Step struct{ On, Keys string }

// NewTypist makes a Typist, for one machine.
func NewTypist(steps ...Step) *Typist {
	keys, keyboard := io.Pipe()
	y := &Typist{Keys: keys, keyboard: keyboard, steps: steps, typing: make(chan string, len(steps))}
	go func() {
		for keys := range y.typing {
			io.WriteString(y.keyboard, keys)
		}
		y.keyboard.Close()
	}()
	return y
}

// Write takes what the guest prints.
func (y *Typist) Write(b []byte) (int, error) {
	y.unread += strings.ReplaceAll(string(b), "\r", "")
	for len(y.steps) > 0 {
		_, behind, found := strings.Cut(y.unread, y.steps[0].On)
		if !found {
			break
		}
		y.unread = behind
		y.typing <- y.steps[0].Keys
		if y.steps = y.steps[1:]; len(y.steps) == 0 {
			close(y.typing)
		}
	}
	return len(b), nil
}
