// Package dac is driver 0x6: tasks set the output of a converter. Commands and errors are Tock's (capsules/extra/src/dac.rs).
package dac

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists     = 0
	initialize = 1 // there is nothing to do
	setValue   = 2 // a0
)

// DAC is the driver.
type DAC struct{ converter hil.DAC }

// Init ties the driver to its converter.
func (d *DAC) Init(converter hil.DAC) { d.converter = converter }

// Command implements kernel.Driver.
func (d *DAC) Command(_ kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists, initialize:
		return kernel.Done()
	case setValue:
		return kernel.Outcome(d.converter.SetValue(a0))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// Slots implements kernel.Driver: there are neither upcalls nor buffers.
func (d *DAC) Slots() *kernel.Slots { return nil }
