//go:build kapsel_task

// Command clock checks the task library's clock and alarm. It ends with the number of the first check that failed, or 0.
package main

import "kapsel/guest/task"

const millisecond = 1000

func main() {
	last := task.Now()
	for range 1000 {
		now := task.Now()
		check(1, now >= last)
		last = now
	}

	check(2, task.SetAlarm(task.Now()+3_600_000*millisecond) == nil) // it does not wait
	at := task.Now() + 5*millisecond
	check(3, task.SetAlarm(at) == nil)
	task.Yield()
	check(4, task.Now() >= at)
	check(5, !task.YieldNoWait()) // once

	at = task.Now() + 20*millisecond
	began := task.Now()
	check(6, task.SetAlarm(at) == nil)
	task.Sleep(5)
	check(7, task.Now() >= began+5*millisecond)
	task.Yield()
	check(8, task.Now() >= at) // Sleep did not take it away

	at = task.Now() + 2*millisecond
	began = task.Now()
	check(9, task.SetAlarm(at) == nil)
	task.Sleep(10) // nor was it cut short by it
	check(10, task.Now() >= began+10*millisecond)
	task.Yield()
	check(11, task.Now() >= at)

	check(12, !task.YieldUntil(task.Now()))
	at = task.Now() + 3*millisecond
	for task.YieldUntil(at) {
	}
	check(13, task.Now() >= at)
	began = task.Now()
	task.Sleep(0)

	check(14, task.SetAlarm(task.Now()+millisecond) == nil)
	check(15, task.SetAlarm(task.Never) == nil)
	for task.YieldUntil(began + 10*millisecond) {
	}
	check(16, task.Now() >= began+10*millisecond)
	task.Print("clock: all is right\n")
	task.Exit(0)
}

func check(number uint32, ok bool) {
	if !ok {
		task.Exit(number)
	}
}
