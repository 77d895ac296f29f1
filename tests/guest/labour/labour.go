//go:build kapsel_task

// Package labour is what the tasks below it have in common, which work while capsules are made to fail: each does with its driver the same
// thing again and again, and says by its exit code how that went.
package labour

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Exit codes.
const (
	Right   = 0  // each time it was done and right
	Failed  = 10 // sometimes an error was told, and the last time it was done and right
	Gone    = 11 // the last time an error was told
	Refused = 12 // an error was told each time
	Wrong   = 20 // it was done and wrong
)

// ErrWrong says that something was told to be done that was not. No driver answers it.
const ErrWrong = abi.ErrorCode(99)

// Do does the work so many times, and ends the task.
func Do(times int, work func(i int) error) {
	failures, last := 0, error(nil)
	for i := range times {
		last = work(i)
		if last == ErrWrong {
			task.Exit(Wrong)
		}
		if last != nil {
			failures++
		}
	}
	switch {
	case failures == 0:
		task.Exit(Right)
	case failures == times:
		task.Exit(Refused)
	case last != nil:
		task.Exit(Gone)
	}
	task.Exit(Failed)
}

// Fill fills b with bytes that depend on i.
func Fill(b []byte, i int) {
	x := uint32(i)*2654435761 + 1
	for j := range b {
		x = x*1664525 + 1013904223
		b[j] = byte(x >> 24)
	}
}

// Same returns ErrWrong unless b is what Fill made of i.
func Same(b []byte, i int) error {
	x := uint32(i)*2654435761 + 1
	for j := range b {
		x = x*1664525 + 1013904223
		if b[j] != byte(x>>24) {
			return ErrWrong
		}
	}
	return nil
}
