package task

import "kapsel/guest/abi"

// Numbers of the ADC driver.
const (
	adcChannels   = 0 // commands
	adcSample     = 1
	adcResolution = 101
	adcReference  = 102
	adcSampled    = 0 // subscribe
)

// ADCChannels is how many channels the machine's analog-to-digital converter has. It returns the error of a machine without one,
// abi.NODEVICE.
func ADCChannels() (uint32, error) {
	r := Command(abi.DriverADC, adcChannels, 0, 0)
	return uint32(r.Words[0]), r.Err()
}

// ADCSample samples a channel, from 0 up: the bits of the conversion are the sample's uppermost. It returns abi.NODEVICE for a channel
// that there is not, and abi.FAIL if the converter fails.
func ADCSample(channel uint32) (uint16, error) {
	if err := Command(abi.DriverADC, adcSample, channel, 0).Err(); err != nil {
		return 0, err
	}
	mode, _, sample := WaitFor(abi.DriverADC, adcSampled)
	if mode != 0 {
		return 0, errors[abi.FAIL]
	}
	return uint16(sample), nil
}

// ADCResolution is how many bits a conversion of a channel has.
func ADCResolution(channel uint32) (uint32, error) { return adcFact(adcResolution, channel) }

// ADCReference is a channel's reference voltage in millivolts, abi.NOSUPPORT if that is not known.
func ADCReference(channel uint32) (uint32, error) { return adcFact(adcReference, channel) }

func adcFact(command, channel uint32) (uint32, error) {
	r := Command(abi.DriverADC, command, channel, 0)
	return uint32(r.Words[0]), r.Err()
}
