package hil

import "kapsel/guest/abi"

// ADC converts voltages to numbers, of several channels, one sample at a time.
type ADC interface {
	// SetADCClient sets who is called. It is called once, before anything else.
	SetADCClient(client ADCClient)
	// Channels is how many there are, by numbers from 0 up: 0 while the converter cannot be used.
	Channels() uint32
	// ResolutionBits is how many bits a conversion has, 1 to 16.
	ResolutionBits() uint32
	// ReferenceMillivolts is the voltage of which the largest sample falls short by one step, or 0 if it is not known.
	ReferenceMillivolts() uint32
	// Sample samples a channel, and then calls Sampled. It returns abi.BUSY while that goes on, abi.INVAL for a channel that there
	// is not, and abi.NODEVICE while the converter cannot be used.
	Sample(channel uint32) abi.ErrorCode
}

// ADCClient is who an ADC calls.
type ADCClient interface {
	// Sampled has a sample: the bits of the conversion are its uppermost. With abi.FAIL there is none: the converter cannot be used
	// any more.
	Sampled(sample uint16, e abi.ErrorCode)
}
