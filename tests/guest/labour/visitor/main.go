//go:build kapsel_task

// Command visitor is loaded by the host while other tasks work, stays for a while and ends.
package main

import "kapsel/guest/task"

func main() {
	task.Sleep(100)
	task.Exit(0)
}
