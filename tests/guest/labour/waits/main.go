//go:build kapsel_task

// Command waits samples the first channel of an ADC that does not answer, until its driver gives up.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

func main() {
	labour.Do(1, func(int) error {
		if _, err := task.ADCSample(0); err == nil {
			return labour.ErrWrong
		}
		return nil
	})
}
