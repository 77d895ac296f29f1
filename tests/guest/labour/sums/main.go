//go:build kapsel_task

// Command sums fills memory and watches its checksum. It needs no driver.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

var memory [16 << 10]byte

func main() {
	labour.Fill(memory[:], 77)
	labour.Do(60, func(int) error {
		task.YieldNoWait()
		return labour.Same(memory[:], 77)
	})
}
