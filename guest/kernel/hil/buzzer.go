package hil

import "kapsel/guest/abi"

// Buzzer makes one tone at a time.
type Buzzer interface {
	// SetBuzzerClient sets who is called. It is called once, before anything else.
	SetBuzzerClient(client BuzzerClient)
	// Buzz makes a tone of a frequency, in hertz, for so many milliseconds, in the place of one that goes on, and calls BuzzerDone once
	// at the end. It returns abi.INVAL for a tone of 0 Hz, and what else keeps the buzzer from being used: abi.NODEVICE, abi.OFF
	// or abi.FAIL. Then nothing has changed.
	Buzz(frequency, milliseconds uint32) abi.ErrorCode
	// Stop ends the tone: BuzzerDone follows. It returns abi.OFF if there is none.
	Stop() abi.ErrorCode
}

// BuzzerClient is who a Buzzer calls.
type BuzzerClient interface {
	// BuzzerDone says that the tone has ended, or was stopped, with abi.OK; or that the buzzer cannot be used any more.
	BuzzerDone(e abi.ErrorCode)
}
