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

// host reports whether a can be the address of one host on a network (RFC 1122, 3.2.1.3): not of network 0 or 127, not multicast,
// reserved or broadcast.
func (a Address) host() bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// mask is the netmask of a prefix of 0 to 32 bits.
func mask(bits int) uint32 { return uint32(uint64(0xffff_ffff) << (32 - bits)) }

// A network is where an address belongs to.
type network struct {
	address Address
	bits    int     // of the netmask
	gateway Address // zero: none
}

// usable reports whether a host can have the address.
func (n *network) usable() bool {
	return n.address.host() && n.bits >= 1 && n.bits <= 32 && !n.edge(n.address)
}

// reaches reports whether a host there can have a gateway. A network of one address has it outside.
func (n *network) reaches(gateway Address) bool {
	return gateway.host() && gateway != n.address && !n.edge(gateway) && (n.bits == 32 || n.local(gateway))
}

// local reports whether an address is on the network.
func (n *network) local(a Address) bool { return (a.number()^n.address.number())&mask(n.bits) == 0 }

// edge reports whether an address is the first or the last of the network, which are no hosts' (RFC 1122, 3.2.1.3). Networks of
// one and of two addresses have none such (RFC 3021).
func (n *network) edge(a Address) bool {
	rest := a.number() &^ mask(n.bits)
	return n.bits < 31 && n.local(a) && (rest == 0 || rest == ^mask(n.bits))
}

// broadcasts reports whether an address is that of all hosts on the network.
func (n *network) broadcasts(a Address) bool { return n.edge(a) && a.number()&^mask(n.bits) != 0 }
