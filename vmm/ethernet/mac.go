package ethernet

import (
	"crypto/rand"
	"fmt"
	"net"
)

// A MAC is the address of a network device (IEEE 802, 8.2). The zero value is none.
type MAC [6]byte

// Bits of a MAC's first byte.
const (
	multicast = 1 << 0 // of a group, not of a device
	local     = 1 << 1 // given by whoever runs the network, not by a maker of devices
)

// RandomMAC returns an address that a device may have, different from any other's by chance.
func RandomMAC() MAC {
	var m MAC
	rand.Read(m[:]) // never fails (crypto/rand)
	m[0] = m[0]&^multicast | local
	return m
}

// ParseMAC reads an address that a device may have, as 52:54:00:12:34:56.
func ParseMAC(text string) (MAC, error) {
	address, err := net.ParseMAC(text)
	if err != nil || len(address) != len(MAC{}) {
		return MAC{}, fmt.Errorf("want six bytes as 52:54:00:12:34:56, found %q", text)
	}
	m := MAC(address)
	switch {
	case m == MAC{}:
		return MAC{}, fmt.Errorf("%s is no device's address", m)
	case m[0]&multicast != 0:
		return MAC{}, fmt.Errorf("%s is the address of a group: want an even first byte, as in 52:54:00:12:34:56", m)
	}
	return m, nil
}

// String writes the address as ParseMAC reads it.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
