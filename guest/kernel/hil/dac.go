package hil

import "kapsel/guest/abi"

// DAC converts numbers to a voltage.
type DAC interface {
	// SetValue sets the output. It returns abi.INVAL for a value that is too large, abi.BUSY while the last one is not set yet, and
	// what else keeps the converter from being used: abi.NODEVICE, abi.OFF or abi.FAIL.
	SetValue(value uint32) abi.ErrorCode
}
