package abi

// Commands of DriverFaulty: where it fails. The first argument says how.
const (
	FaultyExists = iota
	FaultyCounts // answers how often it was called, how often by the task, how often it called what it shares
	FaultyWait   // for an upcall that never comes
	FaultyInCommand
	FaultyInEntry        // of its grant
	FaultyInDeferred     // call
	FaultyInMux          // that it shares
	FaultyInCallback     // from that, at once
	FaultyInLateCallback // from that, later
	FaultyMisuse         // of the kernel
	FaultyInDepth        // by using up the stack
)

// FaultyEnded is DriverFaulty's upcall.
const FaultyEnded = 0

// How DriverFaulty fails.
const (
	FaultyIndex    = iota // of an array, out of range
	FaultySlice           // bounds, out of range
	FaultyNil             // pointer, used
	FaultyDivision        // by zero
	FaultyPanic           // told to
	FaultyLoop            // that does not end
	FaultyNoClient        // a call of a nil interface
	FaultyWays
)
