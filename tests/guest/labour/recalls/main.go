//go:build kapsel_task

// Command recalls reads the arguments again and again, and asks each time to be told when it is to end.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(6, func(int) error {
		if err := task.OnTerminate(func() {}); err != nil {
			return err
		}
		args := task.Args()
		if args == nil {
			return abi.FAIL
		}
		if len(args) != 2 || args[0] != labour.Argument || args[1] != "" {
			return labour.ErrWrong
		}
		return nil
	})
}
