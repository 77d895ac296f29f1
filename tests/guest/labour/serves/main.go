//go:build kapsel_task

// Command serves serves the host, which calls it again and again.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// Numbers of the service driver (docs/abi.md, section 6).
const (
	serve  = 1
	answer = 2

	requestCame = 0
	answerRead  = 2
)

// looks is how often is looked for a request at most, where no alarm tells when.
const looks = 100_000

var (
	request     [labour.ServiceSize]byte
	subscribed  bool // once: a request that came would be lost by another time
	told        bool
	call, bytes uint32
	onRequest   = task.Upcall{F: func(a, b, _ uint32) { told, call, bytes = true, a, b }}
)

func main() {
	labour.Do(20, func(int) error {
		if err := expect(); err != nil {
			return err
		}
		begun := task.Now()
		for n := 0; !told; n++ {
			if n == looks || task.Now()-begun > labour.HostPatience {
				task.Exit(labour.Gone) // nobody calls any more
			}
			task.YieldUntil(task.Now() + 10_000)
		}
		if told = false; call == 0 {
			return abi.FAIL // the driver was made anew
		}
		return work()
	})
}

// expect has the driver give requests to the task.
func expect() error {
	if err := task.Allow(abi.DriverService, 0, request[:]); err != nil {
		return err
	}
	if !subscribed {
		if err := task.Subscribe(abi.DriverService, requestCame, &onRequest); err != nil {
			return err
		}
		subscribed = true
	}
	if err := task.Command(abi.DriverService, serve, 0, 0).Err(); err != abi.ALREADY {
		return err
	}
	return nil
}

// work answers the request.
func work() error {
	if bytes != labour.ServiceSize {
		return labour.ErrWrong
	}
	for i, b := range request {
		if b != request[0]+byte(i) {
			return labour.ErrWrong
		}
	}
	labour.Served(request[:])
	if err := task.AllowReadOnly(abi.DriverService, 0, request[:]); err != nil {
		return err
	}
	r := task.Command(abi.DriverService, answer, call, bytes)
	if r.Err() != nil || r.Words[0] == 0 {
		return r.Err()
	}
	if status, _, _ := task.WaitFor(abi.DriverService, answerRead); status != 0 {
		return abi.FAIL
	}
	return nil
}
