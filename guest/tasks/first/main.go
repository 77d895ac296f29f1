//go:build kapsel_task

// Command first tells when the first task ran, for kapsel bench: its first instruction reads the
// time-stamp counter, low-level debug prints the two halves, the upper one first, and the task ends.
package main

import "kapsel/guest/task"

//kapsel:entry first

// main is not reached: first does all (first_amd64.s).
func main() { task.Exit(1) }
