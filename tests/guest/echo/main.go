//go:build kapsel_task

// Command echo reads bytes from the console and writes each back in brackets, until a 'q'.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the console's read command, upcall and buffer.
const (
	read     = 2
	readDone = 2
	buffer   = 1
)

var b [1]byte

func main() {
	task.Print("echo: ready\n")
	for b[0] != 'q' {
		task.Allow(abi.DriverConsole, buffer, b[:])
		if err := task.Command(abi.DriverConsole, read, 1, 0).Err(); err != nil {
			task.Print("echo: read failed: " + err.Error() + "\n")
			task.Exit(1)
		}
		task.WaitFor(abi.DriverConsole, readDone)
		task.Print("[" + string(b[:]) + "]\n")
	}
	task.Exit(0)
}
