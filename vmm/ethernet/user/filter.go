package user

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kapsel/vmm/ethernet"
)

// broadcast is the address of all machines on the wire.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// accepts is the rule for frames of the guest: ARP of and for the machines that there are, and IPv4
// from the guest's address, or in search of one. The stack behind it would answer for every address.
func (n *Network) accepts(frame []byte) bool {
	if len(frame) < ethernet.HeaderSize {
		return false
	}
	link, payload := header.Ethernet(frame), frame[ethernet.HeaderSize:]
	to := link.DestinationAddress()
	if to != tcpip.LinkAddress(gatewayMAC[:]) && to != header.EthernetBroadcastAddress {
		return false
	}
	switch link.Type() {
	case header.ARPProtocolNumber:
		return n.acceptsARP(header.ARP(payload))
	case header.IPv4ProtocolNumber:
		return acceptsIPv4(header.IPv4(payload))
	}
	return false
}

// acceptsARP lets the guest ask for the machines that there are, and answer for itself.
func (n *Network) acceptsARP(p header.ARP) bool {
	if !p.IsValid() || ethernet.MAC(p.HardwareAddressSender()) != n.mac {
		return false
	}
	sender, _ := netip.AddrFromSlice(p.ProtocolAddressSender())
	target, _ := netip.AddrFromSlice(p.ProtocolAddressTarget())
	if sender != Guest && !sender.IsUnspecified() { // unspecified: a probe (RFC 5227, 2.1.1)
		return false
	}
	return p.Op() == header.ARPReply || p.Op() == header.ARPRequest && isMachine(target)
}

// acceptsIPv4 lets the guest send as itself. ICMP reaches the machines that there are: others do not answer.
func acceptsIPv4(p header.IPv4) bool {
	if !p.IsValid(len(p)) {
		return false
	}
	from, to := netip.AddrFrom4(p.SourceAddress().As4()), netip.AddrFrom4(p.DestinationAddress().As4())
	if from.IsUnspecified() {
		return to == broadcast && p.TransportProtocol() == header.UDPProtocolNumber // DHCP
	}
	if from != Guest || to == Guest || to.IsMulticast() {
		return false
	}
	switch p.TransportProtocol() {
	case header.ICMPv4ProtocolNumber:
		return isMachine(to)
	case header.TCPProtocolNumber:
		return to != broadcast
	}
	return p.TransportProtocol() == header.UDPProtocolNumber
}

// isMachine reports whether the network has a machine of an address, other than the guest.
func isMachine(a netip.Addr) bool { return a == Gateway || a == Resolver }
