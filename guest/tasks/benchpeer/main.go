//go:build kapsel_task

// Command benchpeer is the other task where bench64 measures two: a service that does what the
// page that bench64 lends to it asks for (package measure), again and again.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

func main() {
	own, err := task.Discover("benchpeer")
	if err != nil {
		task.Print("benchpeer: not found by itself: " + err.Error() + "\n")
		task.Exit(1)
	}
	notified := measure.WaitFor(abi.DriverIPC, uint64(own))
	for {
		measure.Once(&notified)
		client, length, addr := uint32(notified.Results[0]), notified.Results[1], notified.Results[2]
		if length != 0 {
			serve(client, measure.SharedAt(addr), notified.End)
		}
		task.NotifyClient(client)
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
