//go:build kapsel_task

// Command asks lends a page to the service turns, and looks whether that has done with it what it should.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:heap 65536

var (
	page     []byte
	answered bool
	answer   = task.Upcall{F: func(_, _, _ uint32) { answered = true }}
)

func main() {
	page = task.Pages(1)
	labour.Do(20, func(i int) error {
		service, err := task.Discover("turns")
		if err != nil {
			return err
		}
		if err := task.Lend(service, page); err != nil {
			return err
		}
		if err := task.Subscribe(abi.DriverIPC, service, &answer); err != nil {
			return err
		}
		labour.Ask(page, i)
		answered = false
		if err := task.NotifyService(service); err != nil {
			return err
		}
		for n := 0; n < 100 && !(answered && labour.Answered(page, i)); n++ {
			task.YieldUntil(task.Now() + 10_000)
		}
		switch {
		case !answered || !labour.Answered(page, i):
			return abi.FAIL
		case !labour.Turned(page):
			return labour.ErrWrong
		}
		return task.Lend(service, nil)
	})
}
