package task

import "kapsel/guest/abi"

// Commands of the alarm driver.
const (
	alarmFrequency = 1
	alarmNow       = 2
	alarmRelative  = 5
)

// Ticks returns the alarm's clock, which wraps at 2^32, and its ticks in a second.
func Ticks() (now, frequency uint32) {
	return uint32(Command(abi.DriverAlarm, alarmNow, 0, 0).Words[0]),
		uint32(Command(abi.DriverAlarm, alarmFrequency, 0, 0).Words[0])
}

// Sleep waits for a number of milliseconds.
func Sleep(milliseconds uint32) {
	_, frequency := Ticks()
	ticks := uint64(milliseconds) * uint64(frequency) / 1000
	if Command(abi.DriverAlarm, alarmRelative, uint32(ticks), 0).Err() == nil {
		WaitFor(abi.DriverAlarm, 0)
	}
}
