package hil

// CycleCounter counts faster than any Time: to measure with, not to tell the time.
type CycleCounter interface {
	// Cycles is the count now.
	Cycles() uint64
	// CyclesAt is what the count is, or was, when Now of the machine's Alarm comes to t.
	CyclesAt(t uint64) uint64
}
