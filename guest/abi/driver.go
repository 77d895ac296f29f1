package abi

// Driver numbers, Tock's (capsules/core/src/driver.rs).
const (
	DriverAlarm               = 0x0
	DriverConsole             = 0x1
	DriverADC                 = 0x5
	DriverDAC                 = 0x6
	DriverLED                 = 0x2
	DriverButton              = 0x3
	DriverGPIO                = 0x4
	DriverLowLevelDebug       = 0x8
	DriverReadOnlyState       = 0x9
	DriverIPC                 = 0x10000
	DriverAppLoader           = 0x10001
	DriverProcessInfo         = 0x10002
	DriverEthernetTap         = 0x30007
	DriverRNG                 = 0x40001
	DriverCRC                 = 0x40002
	DriverHMAC                = 0x40003
	DriverSHA                 = 0x40005
	DriverAES                 = 0x40006
	DriverAppFlash            = 0x50000
	DriverNonvolatileStorage  = 0x50001
	DriverKeyValue            = 0x50003
	DriverIsolatedNonvolatile = 0x50004
	DriverBuzzer              = 0x90000
	DriverTextScreen          = 0x90003
	DriverDateTime            = 0x90007
)

// Driver numbers of Kapsel's own, which Tock leaves free.
const (
	DriverService     = 0xe0000
	DriverEnvironment = 0xe0001
	DriverBenchmark   = 0xf0000 // on boards built for benchmarks alone
	DriverRawBlock    = 0xf0100 // likewise
	DriverRawNet      = 0xf0101 // likewise
	DriverFaulty      = 0xf0200 // on boards built for tests alone
)
