package hil

import "kapsel/guest/abi"

// BlockDevice is storage of sectors of 512 bytes. Requests go on side by side, and end in any order: what is written while it
// is read or written is one or the other. A tag, which the client chooses, says which request a callback is about.
//
// Each request returns abi.OK, or
//   - abi.BUSY while as many go on as the device can have,
//   - abi.INVAL if a sector is behind the last,
//   - abi.SIZE if a length is 0, not one of whole sectors, or more than the device takes at once,
//   - abi.NOSUPPORT if the device has no such request: a read-only one is not written to, were it nothing that is written, and
//     what was written to one without a cache is durable once it is done, without a Flush,
//   - abi.FAIL if the device is broken.
type BlockDevice interface {
	// SetBlockClient sets who is called. It is called once, before anything else.
	SetBlockClient(client BlockClient)
	// Sectors is how many there are. It can change.
	Sectors() uint64
	// MaxBytes is how many bytes a Read or a Write takes at most.
	MaxBytes() int
	// Read fills buf with what is stored from a sector on.
	Read(tag uint32, buf []byte, sector uint64) abi.ErrorCode
	// Write stores buf from a sector on.
	Write(tag uint32, buf []byte, sector uint64) abi.ErrorCode
	// Flush makes durable what was written by requests that are done.
	Flush(tag uint32) abi.ErrorCode
	// Discard says that what is stored in n sectors is of no use any more.
	Discard(tag uint32, sector, n uint64) abi.ErrorCode
	// WriteZeroes stores zeros in n sectors.
	WriteZeroes(tag uint32, sector, n uint64) abi.ErrorCode
	// Identify fills the first 20 bytes of buf with the device's name, and zeros behind it.
	Identify(tag uint32, buf []byte) abi.ErrorCode
}

// BlockClient is who a BlockDevice calls.
type BlockClient interface {
	// BlockDone hands the request's buffer back, nil if it had none. e is abi.OK, abi.FAIL if the device could not do it or
	// is broken, or abi.NOSUPPORT if it does not know such a request.
	BlockDone(tag uint32, buf []byte, e abi.ErrorCode)
}
