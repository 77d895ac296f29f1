package main

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"kapsel/vmm"
)

// A lastWords passes what is written on, and waits for whoever reads it. After hurry it waits
// no longer than vmm.FlushTime, for a command that was told to end must, even if nobody reads
// its standard error. A write that is given up goes on by itself; none follows it.
type lastWords struct {
	w     io.Writer
	turn  chan struct{} // holds a value during a write
	over  chan struct{} // closed when the wait is over
	start sync.Once
}

func newLastWords(w io.Writer) *lastWords {
	return &lastWords{w: w, turn: make(chan struct{}, 1), over: make(chan struct{})}
}

func (l *lastWords) hurry() {
	l.start.Do(func() { time.AfterFunc(vmm.FlushTime, func() { close(l.over) }) })
}

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
		<-l.turn
		close(written)
	}()
	select {
	case <-written:
		return m, failure
	case <-l.over:
		return 0, errNobodyReads
	}
}
