//go:build kapsel_task

// Command stays lets more than a second pass, in which drivers look whether their devices answer.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(1, func(int) error {
		begun := task.Now()
		if task.Sleep(labour.Second); task.Now()-begun < labour.Second*1000 {
			return abi.FAIL
		}
		return nil
	})
}
