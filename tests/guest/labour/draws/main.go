//go:build kapsel_task

// Command draws draws random bytes.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the driver of random numbers.
const (
	buffer = 0 // read-write allow
	get    = 1 // command
	done   = 0 // subscribe
)

var bytes [48]byte

func main() {
	labour.Do(40, func(int) error {
		bytes = [48]byte{}
		if err := task.Allow(abi.DriverRNG, buffer, bytes[:]); err != nil {
			return err
		}
		if err := task.Command(abi.DriverRNG, get, uint32(len(bytes)), 0).Err(); err != nil {
			return err
		}
		status, n, _ := task.WaitFor(abi.DriverRNG, done)
		switch {
		case status != 0:
			return abi.ErrorCode(status)
		case int(n) != len(bytes) || bytes == [48]byte{}:
			return labour.ErrWrong
		}
		return nil
	})
}
