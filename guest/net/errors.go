package net

// An Error is why a call failed.
type Error uint8

// Errors.
const (
	ErrConfig      Error = iota + 1 // Init: the configuration cannot be used
	ErrAddress                      // the address is none of a host, or its netmask or gateway does not fit
	ErrNoAddress                    // the stack has no address yet
	ErrNoRoute                      // the destination is on no network that is reached, and there is no gateway
	ErrTooLong                      // the datagram is longer than a frame can carry: nothing is sent in fragments
	ErrFull                         // there is no room now: come again after Output
	ErrPortInUse                    // the port is another's
	ErrNoSocket                     // all sockets, listeners or connections of the pool are in use
	ErrClosed                       // the socket, listener or connection is not open
	ErrTruncated                    // the buffer was shorter than the datagram, whose rest is lost
	ErrUnreachable                  // the peer or its network answered that a datagram did not arrive
)

// errorTexts are what Error says.
var errorTexts = [...]string{
	ErrConfig:      "net: the configuration cannot be used",
	ErrAddress:     "net: no address of a host, or netmask or gateway do not fit",
	ErrNoAddress:   "net: no address yet",
	ErrNoRoute:     "net: no route to that address",
	ErrTooLong:     "net: longer than a frame can carry",
	ErrFull:        "net: no room now",
	ErrPortInUse:   "net: the port is in use",
	ErrNoSocket:    "net: none left in the pool",
	ErrClosed:      "net: not open",
	ErrTruncated:   "net: the buffer is shorter than the datagram",
	ErrUnreachable: "net: the destination is unreachable",
}

func (e Error) Error() string {
	if int(e) < len(errorTexts) && e != 0 {
		return errorTexts[e]
	}
	return "net: unknown error"
}
