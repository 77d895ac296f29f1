package hil

import "kapsel/guest/abi"

// NonvolatileStorage is bytes that are kept while the machine is off, at addresses from 0 up. One request goes on at a time, of
// any length.
//
// Each request returns abi.OK, or
//   - abi.BUSY while another goes on,
//   - abi.INVAL if a byte is behind the last,
//   - abi.NOSUPPORT for a Write to what can only be read,
//   - abi.FAIL if the device is broken.
//
// With abi.OK the buffer is the storage's until the client is called, which is never within the request's own call.
type NonvolatileStorage interface {
	// SetNonvolatileStorageClient sets who is called. It is called once, before anything else.
	SetNonvolatileStorageClient(client NonvolatileStorageClient)
	// Size is how many bytes there are.
	Size() uint64
	// Read fills buf with what is stored from an address on.
	Read(buf []byte, address uint64) abi.ErrorCode
	// Write stores buf from an address on. Readers see it once it is done; it is durable after the next Flush.
	Write(buf []byte, address uint64) abi.ErrorCode
	// Flush makes durable what was written by requests that are done since the last Write or Flush that failed.
	Flush() abi.ErrorCode
}

// NonvolatileStorageClient is who a NonvolatileStorage calls.
type NonvolatileStorageClient interface {
	// NonvolatileStorageDone hands the request's buffer back, nil for a Flush. e is abi.OK, or abi.FAIL if the device could not
	// do it or is broken: then what was to be written since the last Flush, by this request and those before it, is old or new,
	// sector by sector.
	NonvolatileStorageDone(buf []byte, e abi.ErrorCode)
}
