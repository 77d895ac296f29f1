//go:build kapsel_task

// Command benchpeer is the other task where bench64 measures two: a service that does what the
// page that bench64 lends to it asks for (package measure), again and again.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

// notifyClient is a command of the IPC driver (docs/abi.md, section 6).
const notifyClient = 3

func main() {
	own, err := task.Discover("benchpeer")
	if err != nil {
		task.Print("benchpeer: not found by itself: " + err.Error() + "\n")
		task.Exit(1)
	}
	wait := measure.WaitFor(abi.DriverIPC, uint64(own))
	measure.Once(&wait)
	woken, client, length, addr := wait.End, wait.Results[0], wait.Results[1], wait.Results[2]
	for {
		if length != 0 {
			serve(uint32(client), measure.SharedAt(addr), woken)
		}
		answer := measure.Command(abi.DriverIPC, notifyClient, client, 0)
		answer.Yield = [3]uint64{abi.YieldWaitFor, abi.DriverIPC, uint64(own)}
		measure.Echo(&answer)
		woken, client, length, addr = answer.End, answer.Results[0], answer.Results[1], answer.Results[2]
	}
}

// serve does what the page asks for. woken is when this task was.
func serve(client uint32, page *measure.Shared, woken uint64) {
	switch page.Role {
	case measure.RoleAnswer:
		for i := range page.Data {
			page.Data[i]++
		}
	case measure.RoleStamp:
		page.Stamp = woken
	case measure.RoleFault:
		task.NotifyClient(client)
		measure.StampAndFault(&page.Stamp)
	case measure.RoleEnd:
		task.NotifyClient(client)
		task.Exit(0)
	}
}
