//go:build kapsel_task

// Command samples samples the first channel of the ADC, which always has the same voltage.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(20, func(int) error {
		if _, err := task.ADCResolution(0); err != nil {
			return err
		}
		if millivolts, err := task.ADCReference(0); err != nil || millivolts == 0 {
			return err
		}
		v, err := task.ADCSample(0)
		if err == nil && v != labour.Sample<<4 { // 12 bits of 16
			return labour.ErrWrong
		}
		return err
	})
}
