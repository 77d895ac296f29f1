//go:build kapsel_task

// Command sets sets the DAC.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(20, func(i int) error {
		err := task.SetDAC(uint32(i))
		for n := 0; err == abi.BUSY && n < 1000; n++ {
			task.Sleep(1)
			err = task.SetDAC(uint32(i))
		}
		return err
	})
}
