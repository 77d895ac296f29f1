package main

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"kapsel/vmm"
)

// A lastWords passes what is written on, and waits for whoever reads it. After hurry its writes wait
// no longer than vmm.FlushTime in all, for a command that was told to end must, even if nobody reads
// its standard error. A write that is given up goes on by itself; none follows it.
type lastWords struct {
	w        io.Writer
	turn     chan struct{} // holds a value during a write
	hurried  chan struct{} // closed by hurry
	start    sync.Once
	patience time.Duration // that is left, whoever has the turn
	over     chan struct{} // closed when a write was given up
}

func newLastWords(w io.Writer) *lastWords {
	return &lastWords{w: w, turn: make(chan struct{}, 1), hurried: make(chan struct{}), patience: vmm.FlushTime, over: make(chan struct{})}
}

func (l *lastWords) hurry() { l.start.Do(func() { close(l.hurried) }) }

var errNobodyReads = errors.New("nobody reads it")

// Write implements io.Writer, for any number of goroutines.
func (l *lastWords) Write(p []byte) (n int, err error) {
	select {
	case l.turn <- struct{}{}:
	case <-l.over:
		return 0, errNobodyReads
	}
	p = bytes.Clone(p) // the write may outlive this call
	written := make(chan struct{})
	var m int
	var failure error
	go func() {
		m, failure = l.w.Write(p)
		close(written)
	}()
	if !l.wait(written) {
		close(l.over)
		return 0, errNobodyReads
	}
	<-l.turn
	return m, failure
}

// wait waits until something was written, and reports false if there is no patience left for that.
func (l *lastWords) wait(written <-chan struct{}) bool {
	select {
	case <-written:
		return true
	case <-l.hurried:
	}
	began := time.Now()
	select {
	case <-written:
		l.patience -= time.Since(began)
		return true
	case <-time.After(l.patience):
		return false
	}
}
