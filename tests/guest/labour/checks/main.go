//go:build kapsel_task

// Command checks has checksums of memory computed.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

var text = []byte("ABCDEFG")

func main() {
	labour.Do(30, func(int) error {
		sum, err := task.CRC32C(text)
		if err == nil && sum != 0x2c775665 { // as libtock-c's tests have it
			return labour.ErrWrong
		}
		return err
	})
}
