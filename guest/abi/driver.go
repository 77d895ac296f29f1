package abi

// Driver numbers, Tock's (capsules/core/src/driver.rs).
const (
	DriverAlarm               = 0x0
	DriverConsole             = 0x1
	DriverLowLevelDebug       = 0x8
	DriverReadOnlyState       = 0x9
	DriverIPC                 = 0x10000
	DriverEthernetTap         = 0x30007
	DriverRNG                 = 0x40001
	DriverCRC                 = 0x40002
	DriverHMAC                = 0x40003
	DriverSHA                 = 0x40005
	DriverAES                 = 0x40006
	DriverNonvolatileStorage  = 0x50001
	DriverKeyValue            = 0x50003
	DriverIsolatedNonvolatile = 0x50004
)

// Driver numbers of Kapsel's own, which Tock leaves free.
const (
	DriverBenchmark = 0xf0000 // on boards built for benchmarks alone
	DriverRawBlock  = 0xf0100 // likewise
	DriverRawNet    = 0xf0101 // likewise
)
