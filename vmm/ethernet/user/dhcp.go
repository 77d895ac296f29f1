package user

import (
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
)

// leaseTime is what the guest is told; there is nobody else to get the address.
const leaseTime = 24 * time.Hour

// leaseOf is what the guest with an address gets.
func leaseOf(mac ethernet.MAC) dhcp.Lease {
	return dhcp.Lease{
		MAC: mac, Server: Gateway, Address: netip.PrefixFrom(Guest, Subnet.Bits()), Router: Gateway,
		Resolvers: []netip.Addr{Resolver}, Time: leaseTime,
	}
}

// serveDHCP answers a message to all machines: the guest may have no address yet.
func (n *Network) serveDHCP(socket *gonet.UDPConn, message []byte, _ net.Addr) {
	lease := leaseOf(n.mac)
	if reply := lease.Reply(message); reply != nil {
		socket.WriteTo(reply, net.UDPAddrFromAddrPort(netip.AddrPortFrom(broadcast, dhcp.ClientPort)))
	}
}
