//go:build kapsel_task

// Command finds finds another task by its name.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(20, func(int) error {
		_, err := task.Discover("sums")
		return err
	})
}
