package user

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// handleUDP decides about the first datagram of a flow. A refused one is answered by ICMP, port unreachable.
func (n *Network) handleUDP(r *udp.ForwarderRequest) bool {
	if r.ID().RemoteAddress != stackAddress(Guest) {
		return true // our own, to all machines
	}
	to := destination(hostAddress(r.ID().LocalAddress, r.ID().LocalPort))
	if !n.egress.allows(to) {
		n.deny("UDP", to)
		return false
	}
	if !n.flows.take() {
		n.stats.full.Add(1)
		return false
	}
	outside, err := n.host.dial(n.ctx, "udp4", to.String()) // which sends nothing
	if err != nil {
		n.stats.failed.Add(1)
		n.flows.give()
		return false
	}
	events := new(waiter.Queue)
	endpoint, failure := r.CreateEndpoint(events)
	if failure != nil {
		n.stats.failed.Add(1)
		n.flows.give()
		outside.Close()
		return false
	}
	f := newFlow(gonet.NewUDPConn(events, endpoint))
	carry := func() {
		defer n.flows.give()
		n.carryDatagrams(f, outside)
	}
	if !n.enter(carry) {
		n.flows.give()
		f.guest.Close()
		outside.Close()
		return false
	}
	n.stats.flows.Add(1)
	return true
}

// A flow is who exchanges datagrams by UDP; it ends when it was idle for a while.
type flow struct {
	guest *gonet.UDPConn
	last  atomic.Int64 // when the last datagram passed, in nanoseconds of time.Time
}

func newFlow(guest *gonet.UDPConn) *flow {
	f := &flow{guest: guest}
	f.touch()
	return f
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

// carryDatagrams copies both ways until neither side has sent anything for a while, one has failed, or the network ends.
func (n *Network) carryDatagrams(f *flow, outside net.Conn) {
	end := func() {
		f.guest.Close()
		outside.Close()
	}
	defer context.AfterFunc(n.ctx, end)()
	defer end()
	var both sync.WaitGroup
	both.Go(func() {
		defer end()
		f.carry(outside, n.idle, func(datagram []byte) { f.guest.Write(datagram) })
	})
	f.carry(f.guest, n.idle, func(datagram []byte) { outside.Write(datagram) })
	end()
	both.Wait()
}

// carry passes on what comes from one side until the flow was idle for as long, or the side is closed. What
// cannot be delivered is lost, as datagrams are.
func (f *flow) carry(from net.Conn, idle time.Duration, pass func(datagram []byte)) {
	buffer := make([]byte, datagramSize)
	for {
		end := time.Unix(0, f.last.Load()).Add(idle)
		from.SetReadDeadline(end)
		size, err := from.Read(buffer)
		switch {
		case err == nil:
			f.touch()
			pass(buffer[:size])
		case !isTimeout(err), !time.Unix(0, f.last.Load()).Add(idle).After(end):
			return
		}
	}
}

// isTimeout reports whether an error is that of a deadline.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// dialGuestUDP makes a flow to a port of the guest, from the gateway.
func (n *Network) dialGuestUDP(port uint16) (*gonet.UDPConn, error) {
	local, remote := full(Gateway, 0), full(Guest, port)
	return gonet.DialUDP(n.stack, &local, &remote, ipv4.ProtocolNumber)
}

// A service answers datagrams that the guest sends to a port.
type service func(socket *gonet.UDPConn, datagram []byte, from net.Addr)

// serve has f answer the datagrams to a port of an address, or of any.
func (n *Network) serve(port uint16, address netip.Addr, f service) error {
	events := new(waiter.Queue)
	endpoint, failure := n.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, events)
	if failure != nil {
		return stackError(failure)
	}
	endpoint.SocketOptions().SetBroadcast(true)
	local := tcpip.FullAddress{NIC: nic, Port: port}
	if address.IsValid() {
		local.Addr = stackAddress(address)
	}
	if failure := endpoint.Bind(local); failure != nil {
		return stackError(failure)
	}
	socket := gonet.NewUDPConn(events, endpoint)
	n.listeners = append(n.listeners, socket)
	n.enter(func() {
		buffer := make([]byte, datagramSize)
		for {
			size, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			f(socket, buffer[:size], from)
		}
	})
	return nil
}

// stackError is an error of the stack as others have it.
func stackError(e tcpip.Error) error { return errors.New(e.String()) }
