package hil

import "kapsel/guest/abi"

// DateTimeValues is a date and a time of day, of whatever time zone the clock has.
type DateTimeValues struct {
	Year      uint16
	Month     uint8 // 1 to 12
	Day       uint8 // 1 to 31
	DayOfWeek uint8 // 0 to 6, Sunday is 0
	Hour      uint8 // 0 to 23
	Minute    uint8 // 0 to 59
	Second    uint8 // 0 to 59
}

// DateTime is a clock with a date.
type DateTime interface {
	// SetDateTimeClient sets who is called. It is called once, before anything else.
	SetDateTimeClient(client DateTimeClient)
	// GetDateTime reads the clock, and then calls GetDateTimeDone. It returns abi.BUSY while another call goes on.
	GetDateTime() abi.ErrorCode
	// SetDateTime sets the clock, and then calls SetDateTimeDone. It returns abi.BUSY while another call goes on, and abi.INVAL
	// for what is no date, or one that the clock does not have.
	SetDateTime(v DateTimeValues) abi.ErrorCode
}

// DateTimeClient is who a DateTime calls.
type DateTimeClient interface {
	// GetDateTimeDone says what the clock reads. v says nothing unless e is abi.OK.
	GetDateTimeDone(v DateTimeValues, e abi.ErrorCode)
	// SetDateTimeDone says that the clock is set, or why not.
	SetDateTimeDone(e abi.ErrorCode)
}
