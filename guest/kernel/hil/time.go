package hil

// Time is a clock that never goes back and never wraps.
type Time interface {
	// Now is the number of ticks since an arbitrary start.
	Now() uint64
	// Frequency is the number of ticks in a second. It never changes.
	Frequency() uint32
}

// Alarm calls its client at a given time. It has one client and one deadline.
type Alarm interface {
	Time
	// SetAlarmClient sets who is called. It is called once, before anything else.
	SetAlarmClient(client AlarmClient)
	// SetAlarm asks for one call when Now is at or past deadline, in place of an earlier
	// deadline. A deadline that has passed already fires as soon as the main loop serves
	// interrupts, never from within SetAlarm.
	SetAlarm(deadline uint64)
	// Disarm takes the deadline back. A call that was due already may still come.
	Disarm()
}

// AlarmClient is who an Alarm calls.
type AlarmClient interface {
	// AlarmFired says that the deadline has come; none is set any more. It may come
	// although no deadline has passed, so the client looks at Now.
	AlarmFired()
}
