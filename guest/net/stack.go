package net

// MTUs, in bytes of an IPv4 datagram.
const (
	MinMTU = 576  // what every host must be able to receive (RFC 791, 3.1)
	MaxMTU = 1500 // Ethernet's
)

// A Config says what a Stack is to be.
type Config struct {
	Hardware HardwareAddress
	// MTU is from MinMTU to MaxMTU; 0 means MaxMTU.
	MTU int
	// Name is the host's name, which DHCP tells the server, of at most 63 bytes; it may be empty.
	Name string
	// Random returns 32 random bits, which nobody else can foresee.
	Random func() uint32
	// Sockets are the pool of UDP sockets, by MakeSockets.
	Sockets []Socket
	// Conns are the pool of TCP connections, by MakeConns.
	Conns []Conn
}

// A Stack is the TCP/IP of one interface.
type Stack struct {
	config Config
}

// Init makes the stack's buffers. The error is ErrConfig.
func (s *Stack) Init(c Config) error { s.config = c; return nil }

// SetAddress gives the stack an address, a netmask of 1 to 30 bits, and a gateway on that network; the zero Address is none. It ends
// DHCP, and announces the address. The error is ErrAddress.
func (s *Stack) SetAddress(a Address, bits int, gateway Address, now Time) error { return nil }

// StartDHCP gets an address by DHCP and keeps it. An address that there was is given up.
func (s *Stack) StartDHCP(now Time) {}

// Address returns the stack's address and the bits of its netmask; ok is false while there is none.
func (s *Stack) Address() (a Address, bits int, ok bool) { return Address{}, 0, false }

// Gateway returns the gateway; ok is false if there is none.
func (s *Stack) Gateway() (a Address, ok bool) { return Address{}, false }

// Input takes a frame, without a check sequence. It keeps nothing of it.
func (s *Stack) Input(frame []byte, now Time) {}

// Output writes the next frame to send to buf, which must have room for MTU+14 bytes, and returns its length; 0 if there is none now.
func (s *Stack) Output(buf []byte, now Time) int { return 0 }

// Deadline returns when Output is to be called at the latest, though nothing else happens; ok is false if never.
func (s *Stack) Deadline() (at Time, ok bool) { return 0, false }

// Ping sends an echo request. It forgets the one before.
func (s *Stack) Ping(to Address, now Time) error { return nil }

// Pong returns how long the answer to the last Ping took; ok is false while there is none.
func (s *Stack) Pong() (took Time, ok bool) { return 0, false }
