//go:build kapsel_task

// Command porter serves the host as "porter": the answer is the request turned about, of any length. It calls the host's service "mirror" with that first, if the
// request's first byte is 1, and answers what that answers.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:heap 5242880

func main() {
	reply := make([]byte, abi.ServicePayload)
	task.Serve(abi.ServicePayload, abi.ServicePayload, func(request, answer []byte) (int, error) {
		n := len(request)
		for i, b := range request {
			answer[n-1-i] = b
		}
		if n == 0 || request[0] != 1 {
			return n, nil
		}
		n, err := task.CallHost("mirror", answer[:n], reply)
		return copy(answer, reply[:n]), err
	})
}
