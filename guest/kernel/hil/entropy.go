package hil

import "kapsel/guest/abi"

// Entropy is a source of bytes that nobody can foretell.
type Entropy interface {
	// SetEntropyClient sets who is called. It is called once, before anything else.
	SetEntropyClient(client EntropyClient)
	// GetEntropy fills the first n bytes of buf, or some of them, and then calls EntropyDone. It returns abi.BUSY while
	// that goes on, abi.SIZE unless 0 < n <= len(buf), and abi.FAIL if the source is broken.
	GetEntropy(buf []byte, n int) abi.ErrorCode
}

// EntropyClient is who an Entropy calls.
type EntropyClient interface {
	// EntropyDone hands buf back with n bytes of entropy in it, at least one with abi.OK, none with abi.FAIL: the source
	// is broken.
	EntropyDone(buf []byte, n int, e abi.ErrorCode)
}
