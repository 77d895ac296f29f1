package net

// Time is microseconds from any start. It must not go back.
type Time uint64

// Units of Time.
const (
	Millisecond Time = 1000
	Second      Time = 1000 * Millisecond
)

// An Address is one of IPv4, in network order.
type Address [4]byte

// A HardwareAddress is one of Ethernet.
type HardwareAddress [6]byte

// An Endpoint is a port of an address.
type Endpoint struct {
	Address Address
	Port    uint16
}

// Broadcast is everybody on the wire, in Ethernet and in IPv4 (RFC 919, 7).
var (
	Broadcast         = Address{255, 255, 255, 255}
	BroadcastHardware = HardwareAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// group reports whether a frame to h is for many: broadcast or multicast.
func (h HardwareAddress) group() bool { return h[0]&1 != 0 }

// number is an address as a number.
func (a Address) number() uint32 {
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}

// address is a number as an address.
func address(n uint32) Address { return Address{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// host reports whether a can be the address of one host on a network (RFC 1122, 3.2.1.3): not of network 0 or 127, not multicast,
// reserved or broadcast.
func (a Address) host() bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// mask is the netmask of a prefix of 0 to 32 bits.
func mask(bits int) uint32 { return uint32(uint64(0xffff_ffff) << (32 - bits)) }
