package main

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
)

// TestAsker: which signals are taken over by asking, and when the machine is left for all that.
func TestAsker(t *testing.T) {
	terminated := signalError{syscall.SIGTERM}
	for _, tt := range []struct {
		name   string
		answer []byte // nil: none comes
		left   bool
		after  time.Duration
	}{
		{"tasks are told", []byte{abi.EndTold}, false, 0},
		{"nobody listens", []byte{abi.EndNobody}, true, 0},
		{"an answer that is none", []byte{0xff}, true, 0},
		{"more than one answer", []byte{abi.EndTold, abi.EndNobody}, false, 0},
		{"a kernel that does not answer", nil, true, askTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var left error
				leave := func(cause error) { left = cause }
				a := newAsker()
				defer a.Close()
				assert.False(t, a.takes(terminated, leave), "before there is a machine")
				a.connected.Store(true)
				for _, other := range []error{signalError{syscall.SIGINT}, errLeft, errTimeout} {
					assert.False(t, a.takes(other, leave), other)
				}
				assert.True(t, a.takes(terminated, leave))
				assert.False(t, a.takes(terminated, leave), "the second time")
				var asked [4]byte
				n, err := a.Read(asked[:])
				assert.NoError(t, err)
				assert.Equal(t, []byte{abi.EndAsk}, asked[:n])
				began := time.Now()
				if tt.answer != nil {
					n, err := a.Write(tt.answer)
					assert.NoError(t, err)
					assert.Equal(t, len(tt.answer), n)
				} else {
					time.Sleep(askTime)
				}
				synctest.Wait()
				assert.Equal(t, tt.after, time.Since(began))
				if tt.left {
					assert.Equal(t, error(terminated), left)
				} else {
					assert.NoError(t, left)
				}
			})
		})
	}
}

// TestAskerEnds: when the machine has ended nothing waits, and nobody leaves.
func TestAskerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		a.connected.Store(true)
		left := errors.New("not left")
		assert.True(t, a.takes(signalError{syscall.SIGTERM}, func(cause error) { left = cause }))
		a.Read(make([]byte, 1))
		read := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			read <- err
		}()
		a.Close()
		assert.Equal(t, io.EOF, <-read)
		time.Sleep(2 * askTime)
		assert.EqualError(t, left, "not left")
	})
}

// TestNoAsker: without --ask every signal ends the machine at once.
func TestNoAsker(t *testing.T) {
	var none *asker
	var leave context.CancelCauseFunc = func(error) {}
	assert.False(t, none.takes(signalError{syscall.SIGTERM}, leave))
}
