//go:build kapsel_task

// Command idle waits for ever: tasks that are there and do nothing, to measure what the number
// of tasks costs (scripts/bench).
package main

import "kapsel/guest/task"

func main() {
	for {
		task.Yield()
	}
}
