//go:build kapsel_task

// Command clumsy indexes a slice out of range.
package main

import "kapsel/guest/task"

var items = make([]int, 3)

func main() {
	for i := range 10 {
		items[i]++ // panics at 3
	}
	task.Print("clumsy: got away with it\n")
}
