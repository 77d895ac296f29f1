package hil

import "kapsel/guest/abi"

// CRCAlgorithm is a cyclic redundancy check, by Tock's numbers (kernel/src/hil/crc.rs). All take the bits of a byte from the lowest on.
type CRCAlgorithm uint8

// Algorithms.
const (
	CRC32         CRCAlgorithm = iota // polynomial 0x04c11db7, the remainder reversed and inverted: that of Ethernet
	CRC32C                            // polynomial 0x1edc6f41, the remainder reversed and inverted: that of iSCSI
	CRC16CCITT                        // polynomial 0x1021, the remainder as it is
	CRCAlgorithms                     // how many there are
)

// CRC computes checksums of data that comes in pieces.
type CRC interface {
	// SetCRCClient sets who is called. It is called once, before anything else.
	SetCRCClient(client CRCClient)
	// EmptyCRC is the checksum of no data.
	EmptyCRC(algorithm CRCAlgorithm) uint32
	// AddToCRC computes the checksum of what has the checksum sum with data behind it, and then calls CRCDone, never from within its own
	// call. It returns abi.BUSY while that goes on, and abi.SIZE for no data or for more than the engine takes at once.
	AddToCRC(algorithm CRCAlgorithm, sum uint32, data []byte) abi.ErrorCode
}

// CRCClient is who a CRC calls.
type CRCClient interface {
	// CRCDone hands data back, with the checksum of all up to its end, or abi.FAIL if the engine could not do it.
	CRCDone(data []byte, sum uint32, e abi.ErrorCode)
}
