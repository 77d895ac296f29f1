//go:build kapsel_task

// Command lingers is there when the tasks end that were asked to, so that not its end is the machine's. It ends where that does not come.
package main

import "kapsel/guest/task"

func main() {
	task.Sleep(10_000)
	task.Exit(0)
}
