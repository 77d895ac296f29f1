package task

import "kapsel/guest/abi"

// DateTime is a date and a time of day, as the machine's clock has them: in UTC where the machine is Kapsel's monitor or QEMU.
type DateTime struct {
	Year      uint16
	Month     uint8 // 1 to 12
	Day       uint8 // 1 to 31
	DayOfWeek uint8 // 0 to 6, Sunday is 0; the clock finds it by itself
	Hour      uint8 // 0 to 23
	Minute    uint8
	Second    uint8
}

// Numbers of the date and time driver.
const (
	dateTimeGet  = 1 // command
	dateTimeSet  = 2
	dateTimeDone = 0 // subscribe
)

// GetDateTime reads the clock. It returns the error of a machine without one, abi.NODEVICE.
func GetDateTime() (DateTime, error) {
	date, time, err := dateTime(dateTimeGet, 0, 0)
	return DateTime{
		Year: uint16(date >> 9 & 0xfff), Month: uint8(date >> 5 & 0xf), Day: uint8(date & 0x1f),
		DayOfWeek: uint8(time >> 17 & 7), Hour: uint8(time >> 12 & 0x1f), Minute: uint8(time >> 6 & 0x3f), Second: uint8(time & 0x3f),
	}, err
}

// SetDateTime sets the clock, for all tasks. It returns abi.INVAL for what is no date.
func SetDateTime(t DateTime) error {
	_, _, err := dateTime(dateTimeSet, uint32(t.Year)<<9|uint32(t.Month)<<5|uint32(t.Day),
		uint32(t.DayOfWeek)<<17|uint32(t.Hour)<<12|uint32(t.Minute)<<6|uint32(t.Second))
	return err
}

// dateTime gives a command, and waits for its end.
func dateTime(command, a0, a1 uint32) (date, time uint32, err error) {
	if err := Command(abi.DriverDateTime, command, a0, a1).Err(); err != nil {
		return 0, 0, err
	}
	status, date, time := WaitFor(abi.DriverDateTime, dateTimeDone)
	return date, time, failed(status)
}
