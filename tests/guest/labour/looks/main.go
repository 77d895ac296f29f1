//go:build kapsel_task

// Command looks looks at the tasks that there are, and at the time that the kernel writes into its memory.
package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

const (
	version = 1       // command of the driver of that time
	nobody  = 1 << 30 // a PID
)

var (
	pids  [24]uint32
	state [2]uint64 // docs/abi.md, section 6
)

func main() {
	labour.Do(20, func(int) error {
		n, err := task.Tasks(pids[:])
		if err != nil {
			return err
		}
		if n < 2 {
			return labour.ErrWrong
		}
		name, err := task.TaskName(pids[0])
		if err != nil {
			return err
		}
		if name == "" {
			return labour.ErrWrong
		}
		if _, err := task.Status(pids[0]); err != nil {
			return err
		}
		if err := task.Control(nobody, task.StopTask); err == nil {
			return labour.ErrWrong
		}
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(&state)), len(state)*8)
		if err := task.AllowUserspaceReadable(abi.DriverReadOnlyState, 0, bytes); err != nil {
			return err
		}
		task.Sleep(1) // the next turn begins behind it
		return task.Command(abi.DriverReadOnlyState, version, 0, 0).Err()
	})
}
