//go:build kapsel_task

// Command passenger is what container engines carry (tests/fleet). Its first argument says what it does.
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

// unknown is the exit status for an argument that means nothing.
const unknown = 64

func main() {
	args := task.Args()
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "tell":
		tell(args[1:])
	case "exit":
		task.Exit(number(args[1]))
	case "copy":
		copyLines()
	case "wait":
		wait()
	case "stay":
		task.Print("staying\n")
		for {
			task.Yield()
		}
	default:
		task.Print("passenger: no such thing: " + verb + "\n")
		task.Exit(unknown)
	}
	task.Exit(0)
}

// tell prints arguments, and a variable of the environment.
func tell(args []string) {
	task.Print("arguments:")
	for _, a := range args {
		task.Print(" " + a)
	}
	cargo, _ := task.Getenv("CARGO")
	task.Print("\nCARGO is " + cargo + "\n")
}

// number reads a decimal number.
func number(text string) uint32 {
	n := uint32(0)
	for i := range len(text) {
		n = n*10 + uint32(text[i]-'0')
	}
	return n
}

// copyLines prints each line of the console in brackets, until one is "end". A line ends with what a terminal's key sends, too.
func copyLines() {
	task.Print("copying\n")
	for {
		line := readLine()
		if line == "end" {
			return
		}
		task.Print("[" + line + "]\n")
	}
}

// readLine reads a line of the console.
func readLine() string {
	var b [1]byte
	var line [64]byte
	for n := 0; ; {
		task.Allow(abi.DriverConsole, buffer, b[:])
		if err := task.Command(abi.DriverConsole, read, 1, 0).Err(); err != nil {
			task.Print("passenger: read failed: " + err.Error() + "\n")
			task.Exit(1)
		}
		task.WaitFor(abi.DriverConsole, readDone)
		switch {
		case b[0] == '\n' || b[0] == '\r':
			return string(line[:n])
		case n < len(line):
			line[n] = b[0]
			n++
		}
	}
}

// wait waits until the host asks for an end, and ends with a status of its own.
func wait() {
	err := task.OnTerminate(func() {
		task.Print("asked to end\n")
		task.Exit(7)
	})
	if err != nil {
		task.Print("passenger: " + err.Error() + "\n")
		task.Exit(1)
	}
	task.Print("waiting\n")
	for {
		task.Yield()
	}
}
