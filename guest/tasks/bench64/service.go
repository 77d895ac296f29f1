//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

// Numbers of the service driver (docs/abi.md, section 6).
const (
	serviceServe  = 1 // commands
	serviceAnswer = 2
	serviceCall   = 4

	requestCame = 0 // subscribe
	answerCame  = 1

	serviceName = 1 // read-only allow
)

// hostName is the service of the host's that is called.
var hostName = [...]byte{'h', 'o', 's', 't'}

// called is the call that came, 0 for none.
var called uint32

// services measures calls without a byte, in both directions: the host calls again and again, each time a millisecond behind the answer before, and answers a
// millisecond behind the call.
func services() {
	const driver = abi.DriverService
	calibrate()
	vain := spinning()
	came := task.Upcall{F: func(call, _, _ uint32) { called = call }}
	task.Subscribe(driver, requestCame, &came)
	task.Command(driver, serviceServe, 0, 0)
	path{name: "ServiceCall", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		called = 0
		begin, rounds := measure.Stamp(), uint64(0)
		for called == 0 {
			rounds += spin(patience)
		}
		return task.Command(driver, serviceAnswer, called, 0).Err() == nil && record(measure.Stamp()-begin-rounds*vain)
	}}.run()
	task.Subscribe(driver, requestCame, nil) // the host's next call is not answered, and it does not call again
	task.AllowReadOnly(driver, serviceName, hostName[:])
	task.Raw(abi.Subscribe, driver, answerCame, measure.UpcallAddress(), 0)
	ask := asked(measure.Command(driver, serviceCall, 0, 0))
	path{name: "ServiceCallHost", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		ask.ask()
		return record(ask.ticks)
	}}.run()
}
