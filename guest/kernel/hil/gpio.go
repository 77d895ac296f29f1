package hil

import "kapsel/guest/abi"

// GPIO is a group of pins, numbered from 0 on: those with LEDs, those with buttons, or those for any use. At first a pin is neither
// an input nor an output. What a pin is made, and the level that it is given, take effect at once for who asks here; the outside
// follows soon, and sees the last of what was set in a row. Each call that has a result returns abi.INVAL if there is no such pin,
// and abi.FAIL if the pin cannot be used any more.
type GPIO interface {
	// SetGPIOClient sets who is called. It is called once, before anything else; not at all by who wants to be told of nothing.
	SetGPIOClient(client GPIOClient)
	// Pins is how many pins there are.
	Pins() int
	// MakeOutput makes a pin an output, with the level that it was given last; at first that is low.
	MakeOutput(pin int) abi.ErrorCode
	// MakeInput makes a pin an input.
	MakeInput(pin int) abi.ErrorCode
	// Deactivate makes a pin neither.
	Deactivate(pin int) abi.ErrorCode
	// Give gives a pin the level that it has as an output.
	Give(pin int, high bool) abi.ErrorCode
	// Level is the level of an output, or what is known of that of an input; of others, and of pins that are none, it is low.
	Level(pin int) (high bool)
	// TellOf sets for which changes of an input the client is called; at first for none.
	TellOf(pin int, edges Edges) abi.ErrorCode
}

// Edges are changes of an input.
type Edges uint8

// The changes, which may be joined.
const (
	NoEdge      Edges = 0
	RisingEdge  Edges = 1 << 0
	FallingEdge Edges = 1 << 1
	BothEdges         = RisingEdge | FallingEdge
)

// GPIOClient is who a GPIO calls.
type GPIOClient interface {
	// PinChanged says that an input has another level. No change is left out that the outside waits for the guest to see.
	PinChanged(pin int, high bool)
}
