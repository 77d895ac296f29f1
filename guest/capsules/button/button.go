// Package button is driver 0x3: tasks hear of buttons. Numbers are Tock's (capsules/core/src/button.rs).
package button

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands. The argument is a button.
const (
	count   = 0
	enable  = 1
	disable = 2
	read    = 3
)

// changed is the subscribe number: button, 1 if it is pressed, 0.
const changed = 0

// Button is the driver.
type Button struct {
	pins  hil.GPIO
	grant kernel.Grant[uint32] // the buttons that the task wants to hear of, by bit
}

// Init ties the driver to the buttons' pins, of which the first 32 count, and whose only client it is. A pin that is high has its
// button pressed.
func (b *Button) Init(k *kernel.Kernel, pins hil.GPIO, c capability.MemoryAllocation) {
	b.pins = pins
	b.grant.Init(k, abi.DriverButton, kernel.SlotCounts{Upcalls: changed + 1, Ends: kernel.EndsNothing}, c)
	pins.SetGPIOClient(b)
	for i := range int(b.buttons()) {
		pins.TellOf(i, hil.BothEdges)
		pins.MakeInput(i)
	}
}

// buttons is how many there are.
func (b *Button) buttons() uint32 { return min(uint32(b.pins.Pins()), 32) }

// PinChanged implements hil.GPIOClient: it tells the tasks that want to hear of the button.
func (b *Button) PinChanged(pin int, high bool) {
	b.grant.Each(func(enabled *uint32, task *kernel.TaskData) {
		if *enabled>>pin&1 != 0 {
			task.ScheduleUpcall(changed, uint32(pin), pressed(high), 0)
		}
	})
}

// pressed is 1 for a button that is.
func pressed(high bool) uint32 {
	if high {
		return 1
	}
	return 0
}

// Slots implements kernel.Driver.
func (b *Button) Slots() *kernel.Slots { return b.grant.Slots() }

// Command implements kernel.Driver.
func (b *Button) Command(id kernel.TaskID, command, button, _ uint32) kernel.Result {
	switch {
	case command == count:
		return kernel.Value(b.buttons())
	case command > read:
		return kernel.Failed(abi.NOSUPPORT)
	case button >= b.buttons():
		return kernel.Failed(abi.INVAL)
	case command == read:
		return kernel.Value(pressed(b.pins.Level(int(button))))
	}
	return kernel.Outcome(b.grant.Enter(id, func(enabled *uint32, _ *kernel.TaskData) {
		*enabled &^= 1 << button
		if command == enable {
			*enabled |= 1 << button
		}
	}))
}
