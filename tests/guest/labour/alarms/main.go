//go:build kapsel_task

// Command alarms waits for alarms.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the alarm driver.
const (
	now      = 2 // command
	stop     = 3 // command
	relative = 5 // command
	fired    = 0 // subscribe
)

func main() {
	labour.Do(50, func(int) error {
		if err := task.Command(abi.DriverAlarm, relative, 1<<30, 0).Err(); err != nil {
			return err
		}
		if err := task.Command(abi.DriverAlarm, stop, 0, 0).Err(); err != nil {
			return err
		}
		begun := task.Command(abi.DriverAlarm, now, 0, 0)
		if err := begun.Err(); err != nil {
			return err
		}
		if err := task.Command(abi.DriverAlarm, relative, 1000, 0).Err(); err != nil {
			return err
		}
		at, expiry, _ := task.WaitFor(abi.DriverAlarm, fired)
		switch {
		case at == 0 && expiry == 0: // the driver failed
			return abi.FAIL
		case at-uint32(begun.Words[0]) < 1000:
			return labour.ErrWrong
		}
		return nil
	})
}
