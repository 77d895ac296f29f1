package abi

// Commands of the raw block driver, DriverRawBlock. Those from RawBlockRead on are requests, at most RawBlockRequests at
// once. A request reads into or writes from a piece of RawBlockPiece bytes of the task's buffer, or what there is of it; its
// event, subscribe number 0, has status and piece.
const (
	RawBlockSectors  = 1 // -> u64
	RawBlockRead     = 2 // sector, piece of read-write allow 0
	RawBlockWrite    = 3 // sector, piece of read-only allow 0
	RawBlockFlush    = 4 // -, piece
	RawBlockIdentify = 5 // -, piece of read-write allow 0: 20 bytes
	RawBlockDiscard  = 6 // sector, sectors
	RawBlockZero     = 7 // sector, sectors
)

const (
	RawBlockPiece    = 4096
	RawBlockRequests = 4
)
