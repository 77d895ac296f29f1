//go:build kapsel_task

// Command spinner never makes a system call after its first words: only a time slice stops it.
package main

import "kapsel/guest/task"

func main() {
	task.Print("spinner: spinning\n")
	for {
	}
}
