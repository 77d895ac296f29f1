package task

import "kapsel/guest/abi"

// dacSetValue is a command of the DAC driver.
const dacSetValue = 2

// SetDAC sets the output of the machine's digital-to-analog converter. It returns abi.INVAL for a value above 4095, abi.BUSY while the
// converter has not taken the last one, and abi.NODEVICE on a machine without one.
func SetDAC(value uint32) error { return Command(abi.DriverDAC, dacSetValue, value, 0).Err() }
