//go:build kapsel_task

package labour

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Follows waits until a level is as wanted, and looks at it each time that an upcall comes, or some time has passed. It returns abi.FAIL if it
// does not become so.
func Follows(want bool, level func() (bool, error)) error {
	for range 1000 {
		is, err := level()
		if err != nil || is == want {
			return err
		}
		task.YieldUntil(task.Now() + 5000)
	}
	return abi.FAIL
}
