package hil

import "kapsel/guest/abi"

// EthernetAddress is the hardware address of a network's station.
type EthernetAddress [6]byte

// Sizes of a frame in bytes, without what the hardware adds: a preamble, padding and a checksum.
const (
	EthernetHeader = 14 // two addresses and the type
	MinFrame       = EthernetHeader
	MaxFrame       = EthernetHeader + 1500
)

// Ethernet sends and receives the frames of a network. One frame is sent, and one received, at a time.
type Ethernet interface {
	// SetEthernetClient sets who is called. It is called once, before anything else.
	SetEthernetClient(client EthernetClient)
	// Address is the device's own.
	Address() EthernetAddress
	// MTU is how many bytes a frame carries at most, behind its header: 1500 or fewer.
	MTU() int
	// LinkUp reports whether the device is connected to a network, as far as it knows.
	LinkUp() bool
	// SendFrame sends the first n bytes of buf as a frame, and then calls FrameSent. It returns abi.BUSY while a frame is being
	// sent, abi.SIZE unless MinFrame <= n <= EthernetHeader + MTU and n <= len(buf), and abi.FAIL if the device is broken.
	SendFrame(buf []byte, n int) abi.ErrorCode
	// ReceiveFrame copies the next frame that comes to buf, and then calls FrameReceived. It returns abi.BUSY while a buffer
	// waits for a frame, abi.SIZE if buf has fewer than MaxFrame bytes, and abi.FAIL if the device is broken. While no buffer waits a few
	// frames are kept; what comes then is lost.
	ReceiveFrame(buf []byte) abi.ErrorCode
}

// EthernetClient is who an Ethernet calls.
type EthernetClient interface {
	// FrameSent hands buf back, with abi.OK if the device took the frame, or abi.FAIL if it is broken.
	FrameSent(buf []byte, e abi.ErrorCode)
	// FrameReceived hands buf back with a frame of n bytes in it, or with abi.FAIL if the device is broken.
	FrameReceived(buf []byte, n int, e abi.ErrorCode)
	// LinkChanged says that LinkUp is another.
	LinkChanged()
}
