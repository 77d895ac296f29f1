package abi

// Driver numbers, Tock's (capsules/core/src/driver.rs).
const (
	DriverAlarm         = 0x0
	DriverConsole       = 0x1
	DriverLowLevelDebug = 0x8
	DriverIPC           = 0x10000
)
