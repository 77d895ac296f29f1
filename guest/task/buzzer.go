package task

import "kapsel/guest/abi"

// Numbers of the buzzer driver.
const (
	buzzerBuzz = 1 // command
	buzzerDone = 0 // subscribe
)

// Buzz makes a tone of a frequency, in hertz, for so many milliseconds, 5000 at the most, and returns when it has ended. It waits while
// other tasks have the buzzer. It returns abi.INVAL for 0 Hz, and abi.NODEVICE on a machine without a buzzer.
func Buzz(frequency, milliseconds uint32) error {
	if err := Command(abi.DriverBuzzer, buzzerBuzz, frequency, milliseconds).Err(); err != nil {
		return err
	}
	status, _, _ := WaitFor(abi.DriverBuzzer, buzzerDone)
	return failed(status)
}
