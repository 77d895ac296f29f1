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
		task.Command(abi.DriverBuzzer, stop, 0, 0) // refused while another task's tone goes on, or behind the end of this
		if status, _, _ := task.WaitFor(abi.DriverBuzzer, done); status != 0 {
			return abi.ErrorCode(status)
		}
		return nil
	})
}
