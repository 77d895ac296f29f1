//go:build kapsel_task

// Command greeter serves the host as "greeter": what a request asks for is its first word.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:heap 2097152
//kapsel:stack 32768

const most = 64 << 10 // bytes of a request, and of an answer

func main() {
	task.Print("greeter: ready\n")
	if err := task.Serve(most, most, handle); err != nil {
		task.Print("greeter: " + err.Error() + "\n")
		task.Exit(1)
	}
}

// handle answers a request.
func handle(request, reply []byte) (int, error) {
	word, rest := cut(request)
	switch string(word) {
	case "":
		return 0, nil
	case "greet":
		n := copy(reply, "Hello, ")
		n += copy(reply[n:], rest)
		return n + copy(reply[n:], "!"), nil
	case "echo": // the request as it is
		return copy(reply, request), nil
	case "refuse":
		return 0, abi.NOACK
	case "much": // more than anybody takes
		return most + 1, nil
	case "ask": // the host's service of that name, with what is behind it
		name, more := cut(rest)
		return task.CallHost(string(name), more, reply)
	case "nest": // as deep as the host's service "nest" calls back
		return task.CallHost("nest", rest, reply)
	case "spin":
		for {
		}
	case "fault":
		*nowhere = 1
	case "panic":
		panic("greeter was told to")
	case "exhaust":
		for {
			kept = append(kept, make([]byte, 1<<16))
		}
	case "exit":
		task.Exit(0)
	case "restart":
		task.Restart(0)
	case "flood":
		for {
			task.Print("greeter floods the console, line by line, as fast as it can\n")
		}
	}
	return 0, abi.NOSUPPORT
}

var (
	nowhere *byte
	kept    [][]byte // what exhausts the heap
)

// cut is what is before the first space, and behind it.
func cut(b []byte) (word, rest []byte) {
	for i, c := range b {
		if c == ' ' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}
