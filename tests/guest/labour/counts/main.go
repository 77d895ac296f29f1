//go:build kapsel_task

// Command counts counts the tasks that there are, and the frames that came and that it sent, which are none.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Commands of the process info driver.
const (
	count    = 1
	shortIDs = 3
)

func main() {
	labour.Do(20, func(int) error {
		for _, command := range [...]uint32{count, shortIDs} {
			r := task.Command(abi.DriverProcessInfo, command, 0, 0)
			if err := r.Err(); err != nil {
				return err
			}
			if r.Words[0] < 2 {
				return labour.ErrWrong
			}
		}
		for _, command := range [...]uint32{abi.TapReceiveCounts, abi.TapLink} {
			if err := task.Command(abi.DriverEthernetTap, command, 0, 0).Err(); err != nil {
				return err
			}
		}
		sent := task.Command(abi.DriverEthernetTap, abi.TapSendCounts, 0, 0)
		if err := sent.Err(); err != nil {
			return err
		}
		if sent.Words[0] != 0 {
			return labour.ErrWrong
		}
		task.Sleep(5)
		return nil
	})
}
