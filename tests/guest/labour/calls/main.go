//go:build kapsel_task

// Command calls calls a service of the host's.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:heap 16384

var request, reply [labour.ServiceSize]byte

func main() {
	labour.Do(20, func(i int) error {
		labour.Fill(request[:], i)
		n, err := task.CallHost("serve", request[:], reply[:])
		if err != nil {
			return err
		}
		if n != len(reply) {
			return labour.ErrWrong
		}
		labour.Served(reply[:])
		return labour.Same(reply[:], i)
	})
}
