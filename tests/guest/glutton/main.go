//go:build kapsel_task

// Command glutton allocates until its heap is used up, to the last byte.
package main

import "kapsel/guest/task"

var kept []byte

func main() {
	for {
		kept = make([]byte, 16)
		if kept[0] != 0 {
			task.Print("glutton: memory that is not zero\n")
		}
	}
}
