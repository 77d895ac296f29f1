package task

import "kapsel/guest/abi"

// Numbers of the LED driver.
const (
	ledCount  = 0
	ledOn     = 1
	ledOff    = 2
	ledToggle = 3
)

// LEDs returns how many LEDs the machine has. The error is abi.NODEVICE if it has none.
func LEDs() (n uint32, err error) { return number(abi.DriverLED, ledCount, 0) }

// SetLED turns an LED, numbered from 0 on, on or off. The error is abi.INVAL if there is no such LED.
func SetLED(led uint32, on bool) error {
	command := uint32(ledOff)
	if on {
		command = ledOn
	}
	return Command(abi.DriverLED, command, led, 0).Err()
}

// ToggleLED turns an LED on that is off, or off, likewise.
func ToggleLED(led uint32) error { return Command(abi.DriverLED, ledToggle, led, 0).Err() }

// number gives a command whose answer is a number.
func number(driver, command, argument uint32) (n uint32, err error) {
	r := Command(driver, command, argument, 0)
	if err := r.Err(); err != nil {
		return 0, err
	}
	return uint32(r.Words[0]), nil
}
