package hil

import "kapsel/guest/abi"

// Port is a named stream of bytes between the machine and its host, in both directions. What a side sends comes out at the other
// in order and without gaps, but in pieces of any size. The host may be slow, may never answer, and sends what it likes.
type Port interface {
	// SetPortClient sets who is called, before anything else. What an earlier client began is forgotten: nobody is called for it.
	SetPortClient(client PortClient)
	// State is abi.OK while the port can be used, else
	//   - abi.NODEVICE if the machine has no port of that name, or not yet,
	//   - abi.OFF if the host has closed its side, or not opened it yet,
	//   - abi.FAIL if the device is broken.
	State() abi.ErrorCode
	// Send sends the first n bytes of buf, and then calls Sent. It returns State unless that is abi.OK, abi.BUSY while bytes are
	// being sent, were it those of an earlier client or from before the port was closed, and abi.SIZE unless 0 < n <= len(buf).
	Send(buf []byte, n int) abi.ErrorCode
	// Post sends a copy of b, at most PostSize bytes, and calls nobody for that. It returns as Send does, and BUSY also while the host has not taken what was
	// posted before: then PortChanged tells when it has.
	Post(b []byte) abi.ErrorCode
	// Receive waits until bytes come, fills as much of buf as there are, and then calls Received. It returns State unless that
	// is abi.OK or there are bytes of before, abi.BUSY while it waits already, and abi.SIZE if buf has no bytes.
	Receive(buf []byte) abi.ErrorCode
}

// PostSize is how many bytes Port.Post sends at most.
const PostSize = 1024

// PortClient is who a Port calls.
type PortClient interface {
	// Sent hands buf back after its first n bytes were sent: with abi.OK all of them, else it is not known how many.
	Sent(buf []byte, n int, e abi.ErrorCode)
	// Received hands buf back with n bytes in it: with abi.OK at least one, else none, as Receive would return.
	Received(buf []byte, n int, e abi.ErrorCode)
	// PortChanged says that State is another, behind the callbacks of what the change ended; or that bytes were sent for which
	// nobody is called.
	PortChanged()
}
