// Package badwire is what a bad wire does to frames, for tests of who sends by it.
package badwire

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync/atomic"
)

// A Way of a wire loses, doubles and puts behind the next one so many percent each of the frames that it carries. It is used by one
// goroutine, but for the counters.
type Way struct {
	Percent int
	Random  *rand.Rand
	held    []byte   // a frame that the next one overtakes
	queue   [][]byte // frames that were not read yet

	Frames, Lost, Doubled, Overtaken atomic.Int64
}

// Pass returns what comes of a frame.
func (w *Way) Pass(frame []byte) [][]byte {
	w.Frames.Add(1)
	frame = bytes.Clone(frame)
	var out [][]byte
	chance := w.Random.IntN(100)
	switch {
	case chance < w.Percent:
		w.Lost.Add(1)
	case chance < 2*w.Percent:
		w.Doubled.Add(1)
		out = [][]byte{frame, frame}
	case chance < 3*w.Percent && w.held == nil:
		w.Overtaken.Add(1)
		w.held = frame
		return nil
	default:
		out = [][]byte{frame}
	}
	if w.held != nil {
		out = append(out, w.held)
		w.held = nil
	}
	return out
}

// Next reads the next frame that passes into b, and returns its length. Read returns those that are carried, and nil where there is
// none: then the error is io.EOF.
func (w *Way) Next(b []byte, read func() []byte) (int, error) {
	for len(w.queue) == 0 {
		frame := read()
		if frame == nil {
			return 0, io.EOF
		}
		w.queue = w.Pass(frame)
	}
	n := copy(b, w.queue[0])
	w.queue = w.queue[1:]
	return n, nil
}
