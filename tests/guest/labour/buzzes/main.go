//go:build kapsel_task

// Command buzzes has the buzzer sound, to the tone's end and for less.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the buzzer driver.
const (
	buzz = 1 // command
	stop = 3 // command
	done = 0 // subscribe
)

func main() {
	labour.Do(10, func(int) error {
		if err := task.Buzz(440, 2); err != nil {
			return err
		}
		if err := task.Command(abi.DriverBuzzer, buzz, 440, 50).Err(); err != nil {
			return err
		}
		switch err := task.Command(abi.DriverBuzzer, stop, 0, 0).Err(); err {
		case nil, abi.OFF, abi.RESERVE: // the tone goes on, is over, or waits for its turn
		default:
			return err // and that the tone has ended
		}
		if status, _, _ := task.WaitFor(abi.DriverBuzzer, done); status != 0 {
			return abi.ErrorCode(status)
		}
		return nil
	})
}
