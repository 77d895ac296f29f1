package task

import "kapsel/guest/abi"

// Numbers of the GPIO driver.
const (
	pinOutput     = 1
	pinSet        = 2
	pinClear      = 3
	pinToggle     = 4
	pinInput      = 5
	pinRead       = 6
	pinListen     = 7
	pinIgnore     = 8
	pinDeactivate = 9
	pinCount      = 10
	pinChanged    = 0 // subscribe
)

// Edge says which changes of a pin the tasks are told of.
type Edge uint32

// The changes.
const (
	EitherEdge  Edge = 0
	RisingEdge  Edge = 1
	FallingEdge Edge = 2
)

// Pins returns how many pins for any use the machine has. The error is abi.NODEVICE if it has none. The functions below return
// abi.INVAL for a pin, numbered from 0 on, that there is not. A pin is all tasks'.
func Pins() (n uint32, err error) { return number(abi.DriverGPIO, pinCount, 0) }

// MakeOutput makes a pin an output, with the level that SetPin gave it last.
func MakeOutput(pin uint32) error { return Command(abi.DriverGPIO, pinOutput, pin, 0).Err() }

// SetPin gives a pin the level that it has as an output.
func SetPin(pin uint32, high bool) error {
	command := uint32(pinClear)
	if high {
		command = pinSet
	}
	return Command(abi.DriverGPIO, command, pin, 0).Err()
}

// TogglePin gives an output the other level.
func TogglePin(pin uint32) error { return Command(abi.DriverGPIO, pinToggle, pin, 0).Err() }

// MakeInput makes a pin an input.
func MakeInput(pin uint32) error { return Command(abi.DriverGPIO, pinInput, pin, 0).Err() }

// DeactivatePin makes a pin neither an output nor an input.
func DeactivatePin(pin uint32) error { return Command(abi.DriverGPIO, pinDeactivate, pin, 0).Err() }

// PinLevel reports whether a pin is high.
func PinLevel(pin uint32) (high bool, err error) {
	n, err := number(abi.DriverGPIO, pinRead, pin)
	return n != 0, err
}

// ListenToPin has the tasks that use the driver told, by OnPin's function or WaitForPin, of changes of an input. Besides it
// returns abi.NOMEM if this one has no room for what the driver keeps.
func ListenToPin(pin uint32, edge Edge) error {
	return Command(abi.DriverGPIO, pinListen, pin, uint32(edge)).Err()
}

// IgnorePin has nobody told of a pin any more, and deactivates it.
func IgnorePin(pin uint32) error { return Command(abi.DriverGPIO, pinIgnore, pin, 0).Err() }

// OnPin has u called, while the task yields, with a pin that changed and its level, 0 or 1. Nil calls nobody.
func OnPin(u *Upcall) error { return Subscribe(abi.DriverGPIO, pinChanged, u) }

// WaitForPin waits until a pin changes that some task listens to.
func WaitForPin() (pin uint32, high bool) {
	pin, level, _ := WaitFor(abi.DriverGPIO, pinChanged)
	return pin, level != 0
}
