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

// Ticks that tell what a gap between two reads of the counter was: an interrupt with a call is longer than the first, and a WaitFor that found it there
// is shorter than the second.
const (
	interruptAtLeast = 1000
	foundAtMost      = 5000
)

// soon is how many microseconds a call of the host's is looked out for: many times as long as the host waits with it. One that came before is not seen,
// and costs the counts of all that time.
const soon = 50_000

// services measures calls without a byte, in both directions: the host calls again and again, each time a millisecond behind the answer before, and answers a
// millisecond behind the call. A call of the host's is measured from the task's last instruction before the interrupt to that behind the answer.
func services() {
	const driver = abi.DriverService
	calibrate()
	task.Command(driver, serviceServe, 0, 0)
	came, answer := measure.WaitFor(driver, requestCame), measure.Command(driver, serviceAnswer, 0, 0)
	path{name: "ServiceCall", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		before, after := measure.Spin(new(uint64), interruptAtLeast, measure.Stamp()+soon*ticksPerMicro)
		measure.Once(&came)
		answer.Args[2] = came.Results[0]
		measure.Once(&answer)
		return after-before >= interruptAtLeast && came.Ticks() <= foundAtMost && answer.Succeeded() && record(answer.End-before)
	}}.run()
	// The host's next call is not answered, and it does not call again. It is to be here by then: the answers of calls within which it came would wait for its own.
	task.WaitFor(driver, requestCame)
	task.AllowReadOnly(driver, serviceName, hostName[:])
	task.Raw(abi.Subscribe, driver, answerCame, measure.UpcallAddress(), 0)
	ask := asked(measure.Command(driver, serviceCall, 0, 0))
	path{name: "ServiceCallHost", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		ask.ask()
		return record(ask.ticks)
	}}.run()
}
