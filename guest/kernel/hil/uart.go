package hil

import "kapsel/guest/abi"

// Transmitter sends bytes over a serial line.
type Transmitter interface {
	// SetTransmitClient sets who is called. It is called once, before anything else.
	SetTransmitClient(client TransmitClient)
	// Transmit sends the first n bytes of buf, and then calls Transmitted. It returns
	// abi.BUSY while a transmission goes on, and abi.SIZE unless 0 < n <= len(buf).
	Transmit(buf []byte, n int) abi.ErrorCode
}

// TransmitClient is who a Transmitter calls.
type TransmitClient interface {
	// Transmitted hands buf back after its first n bytes were sent, with abi.OK if those
	// were all.
	Transmitted(buf []byte, n int, e abi.ErrorCode)
}

// Receiver takes bytes from a serial line.
type Receiver interface {
	// SetReceiveClient sets who is called. It is called once, before anything else.
	SetReceiveClient(client ReceiveClient)
	// Receive fills the first n bytes of buf, and then calls Received. It returns abi.BUSY
	// while a reception goes on, and abi.SIZE unless 0 < n <= len(buf).
	Receive(buf []byte, n int) abi.ErrorCode
	// AbortReceive ends the reception: Received follows with what came until then and
	// abi.CANCEL. It returns abi.ALREADY if there is no reception to end.
	AbortReceive() abi.ErrorCode
}

// ReceiveClient is who a Receiver calls.
type ReceiveClient interface {
	// Received hands buf back with n bytes in it: as many as were asked for with abi.OK,
	// or fewer with abi.CANCEL.
	Received(buf []byte, n int, e abi.ErrorCode)
}

// UART is a serial line in both directions.
type UART interface {
	Transmitter
	Receiver
}

// PollingTransmitter sends without interrupts and without callbacks: for the end of the
// machine, orderly or by a panic, when nobody serves interrupts any more.
type PollingTransmitter interface {
	// TransmitPolling sends what is left of a transmission that goes on, then buf. It
	// waits for the device, but not forever.
	TransmitPolling(buf []byte)
	// MidLine reports whether the last transmission that ended, of whatever kind, has begun a line and not ended it.
	MidLine() bool
}
