// Package led is driver 0x2: tasks turn LEDs on and off. Numbers are Tock's (capsules/core/src/led.rs).
package led

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Commands. The argument is an LED.
const (
	count  = 0
	on     = 1
	off    = 2
	toggle = 3
)

// LED is the driver.
type LED struct{ pins hil.GPIO }

// Init ties the driver to the LEDs' pins, which nobody else uses. A pin that is high has its LED on; at first all are off.
func (l *LED) Init(pins hil.GPIO) {
	l.pins = pins
	for i := range pins.Pins() {
		pins.Give(i, false)
		pins.MakeOutput(i)
	}
}

// Slots implements kernel.Driver: nothing is kept for a task.
func (l *LED) Slots() *kernel.Slots { return nil }

// Command implements kernel.Driver.
func (l *LED) Command(_ kernel.TaskID, command, led, _ uint32) kernel.Result {
	switch command {
	case count:
		return kernel.Value(uint32(l.pins.Pins()))
	case on, off:
		return kernel.Outcome(l.pins.Give(int(led), command == on))
	case toggle:
		return kernel.Outcome(l.pins.Give(int(led), !l.pins.Level(int(led))))
	}
	return kernel.Failed(abi.NOSUPPORT)
}
