//go:build kapsel_task

// Command hello greets ten times, ten times a second, and ends.
package main

import "kapsel/guest/task"

func main() {
	for i := range uint64(10) {
		task.Print("hello: greeting " + task.Decimal(i+1) + " of 10\n")
		task.Sleep(100)
	}
	task.Exit(0)
}
