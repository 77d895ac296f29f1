package abi

// Commands of the raw network driver, DriverRawNet. Subscribe number 0 tells that a frame was sent: status; number 1 that one
// came: status, bytes.
const (
	RawNetAddress = 1 // -> u64: the device's address, its first byte the lowest
	RawNetSend    = 2 // bytes of read-only allow 0
	RawNetReceive = 3 // the next frame that comes, into read-write allow 0
)
