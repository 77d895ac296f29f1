// Package gpio is driver 0x4: tasks use pins as they like. Numbers are Tock's (capsules/core/src/gpio.rs). A pin is all tasks': what one
// makes of it holds for the others, too.
package gpio

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands. The first argument of those but exists and count is a pin.
const (
	exists           = 0
	makeOutput       = 1
	set              = 2
	clear            = 3
	toggle           = 4
	makeInput        = 5 // which resistor pulls it: at most pullDown
	read             = 6
	enableInterrupt  = 7 // for which edges
	disableInterrupt = 8
	deactivate       = 9
	count            = 10
)

// pullDown is the last of the resistors: none, up and down. The outside gives each input a level, so that none has an effect.
const pullDown = 2

// changed is the subscribe number: pin, its level, 0.
const changed = 0

// GPIO is the driver.
type GPIO struct {
	pins  hil.GPIO
	grant kernel.Grant[struct{}]
}

// Init ties the driver to the pins, whose only client it is.
func (g *GPIO) Init(k *kernel.Kernel, pins hil.GPIO, c capability.MemoryAllocation) {
	g.pins = pins
	g.grant.Init(k, abi.DriverGPIO, kernel.SlotCounts{Upcalls: changed + 1, Ends: kernel.EndsNothing}, c)
	pins.SetGPIOClient(g)
}

// PinChanged implements hil.GPIOClient: it tells all tasks that have used the driver.
func (g *GPIO) PinChanged(pin int, high bool) {
	g.grant.Each(func(_ *struct{}, task *kernel.TaskData) {
		task.ScheduleUpcall(changed, uint32(pin), level(high), 0)
	})
}

// level is 1 for high.
func level(high bool) uint32 {
	if high {
		return 1
	}
	return 0
}

// Slots implements kernel.Driver.
func (g *GPIO) Slots() *kernel.Slots { return g.grant.Slots() }

// Command implements kernel.Driver.
func (g *GPIO) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	pin := int(a0)
	switch {
	case command == exists:
		return kernel.Done()
	case command == count:
		return kernel.Value(uint32(g.pins.Pins()))
	case command > count:
		return kernel.Failed(abi.NOSUPPORT)
	case a0 >= uint32(g.pins.Pins()):
		return kernel.Failed(abi.INVAL)
	case command == read:
		return kernel.Value(level(g.pins.Level(pin)))
	}
	return kernel.Outcome(g.change(id, command, pin, a1))
}

// change does what a command asks of a pin that there is.
func (g *GPIO) change(id kernel.TaskID, command uint32, pin int, a1 uint32) abi.ErrorCode {
	switch command {
	case makeOutput:
		return g.pins.MakeOutput(pin)
	case set, clear:
		return g.pins.Give(pin, command == set)
	case toggle:
		return g.pins.Give(pin, !g.pins.Level(pin))
	case makeInput:
		if e := g.pins.MakeInput(pin); e != abi.OK || a1 <= pullDown {
			return e
		}
		return abi.NOSUPPORT
	case enableInterrupt:
		return g.tell(id, pin, edgesOf(a1))
	case disableInterrupt:
		if e := g.pins.TellOf(pin, hil.NoEdge); e != abi.OK {
			return e
		}
	}
	return g.pins.Deactivate(pin)
}

// edgesOf are the edges that an argument of enableInterrupt means, or none.
func edgesOf(a1 uint32) hil.Edges {
	switch a1 {
	case 0:
		return hil.BothEdges
	case 1:
		return hil.RisingEdge
	case 2:
		return hil.FallingEdge
	}
	return hil.NoEdge
}

// tell has a task, and those that have used the driver before, told of changes of a pin.
func (g *GPIO) tell(id kernel.TaskID, pin int, edges hil.Edges) abi.ErrorCode {
	if edges == hil.NoEdge {
		return abi.NOSUPPORT
	}
	if e := g.grant.Enter(id, func(*struct{}, *kernel.TaskData) {}); e != abi.OK {
		return e
	}
	return g.pins.TellOf(pin, edges)
}
