//go:build kapsel_task

// Command babbler writes 4 MiB to the console in one command, after the time that the task
// gauge takes to measure what it can do alone.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/gauge/phases"
)

const size = 4 << 20

var text [size]byte

func main() {
	n := copy(text[:], phases.Line)
	for n < size {
		n += copy(text[n:], text[:n])
	}
	task.Sleep(phases.Babble)
	task.Write(text[:])
	task.Exit(0)
}
