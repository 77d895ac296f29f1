//go:build kapsel_task

// Command turns is the service of the task asks: it fills the second half of the page that is lent to it with the first, changed. It ends when that has.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// turn answers what the client asks.
var turn = task.Upcall{F: func(client, length, address uint32) {
	if length != 0 {
		labour.Turn(task.Lent(length, address))
		task.NotifyClient(client)
	}
}}

func main() {
	labour.Do(1, func(int) error {
		own, err := task.Discover("turns")
		for n := 0; err != nil && n < 100; n++ {
			task.Sleep(1)
			own, err = task.Discover("turns")
		}
		if err != nil {
			return err
		}
		if err := task.Subscribe(abi.DriverIPC, own, &turn); err != nil {
			return err
		}
		for labour.Alive("asks") {
			task.YieldUntil(task.Now() + 20_000)
		}
		return nil
	})
}
