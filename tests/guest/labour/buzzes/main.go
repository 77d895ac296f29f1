//go:build kapsel_task

// Command buzzes has the buzzer sound.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(10, func(int) error { return task.Buzz(440, 2) })
}
