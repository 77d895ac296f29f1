//go:build kapsel_task

// Command mixer fills every register with a pattern and watches it through preemptions,
// while another mixer, started from the same object, does so with another pattern. A
// register that changes is one that leaked or was lost.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// watch fills the general, vector, x87 and MXCSR registers from the pattern and compares
// them until the time-stamp counter has gone on by ticks. It returns the number of the
// first register group that changed (1 general, 2 vector, 3 MXCSR, 4 x87 control), or 0.
func watch(pattern, ticks uint64) (changed uint64)

// segments returns the words at FS:0 and GS:0.
func segments() (fs, gs uint64)

var fsWord, gsWord uint64

func main() {
	now, _ := task.Ticks()
	pattern := uint64(now)*0x9e3779b97f4a7c15 | 1
	fsWord, gsWord = pattern, ^pattern
	task.Memop(abi.MemopSetFSBase, address(&fsWord))
	task.Memop(abi.MemopSetGSBase, address(&gsWord))
	for range 8 {
		if changed := watch(pattern, 1<<27); changed != 0 {
			task.Print("mixer: register group " + task.Decimal(changed) + " changed\n")
			task.Exit(1)
		}
		if fs, gs := segments(); fs != pattern || gs != ^pattern {
			task.Print("mixer: FS or GS base changed\n")
			task.Exit(2)
		}
		task.Sleep(1)
	}
	task.Print("mixer: unchanged\n")
	task.Exit(0)
}
