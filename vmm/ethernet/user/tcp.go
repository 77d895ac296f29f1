package user

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A conn is a connection of TCP, of which either half can be closed.
type conn interface {
	net.Conn
	CloseWrite() error
}

// A guestConn is the guest's end of a connection.
type guestConn struct {
	*gonet.TCPConn
	endpoint tcpip.Endpoint
	events   *waiter.Queue
}

func newGuestConn(endpoint tcpip.Endpoint, events *waiter.Queue) *guestConn {
	options := endpoint.SocketOptions()
	options.SetKeepAlive(true)
	idle := tcpip.KeepaliveIdleOption(aliveTime)
	endpoint.SetSockOpt(&idle) // without it keep-alive begins later
	return &guestConn{gonet.NewTCPConn(events, endpoint), endpoint, events}
}

// end closes the connection and waits until the stack has forgotten it. A guest that does not take
// part in closing is not waited for long.
func (g *guestConn) end(ctx context.Context, patience time.Duration) {
	gone, notify := waiter.NewChannelEntry(waiter.EventHUp)
	g.events.EventRegister(&gone)
	defer g.events.EventUnregister(&gone)
	g.Close()
	closing := time.NewTimer(patience)
	defer closing.Stop()
	if state := tcp.EndpointState(g.endpoint.State()); state != tcp.StateClose && state != tcp.StateError {
		select {
		case <-notify:
		case <-closing.C:
		case <-ctx.Done():
		}
	}
	g.endpoint.Abort()
}

// handleTCP decides about a connection that the guest asks for, on a goroutine of its own. The guest
// is answered when the other side has answered.
func (n *Network) handleTCP(r *tcp.ForwarderRequest) {
	to := destination(hostAddress(r.ID().LocalAddress, r.ID().LocalPort))
	if !n.egress.allows(to) {
		n.deny("TCP", to)
		r.Complete(true)
		return
	}
	if !n.connections.take() {
		n.stats.full.Add(1)
		r.Complete(true)
		return
	}
	connect := func() {
		defer n.connections.give()
		n.connectOut(r, to.String())
	}
	if !n.enter(connect) {
		n.connections.give()
		r.Complete(true)
	}
}

// connectOut connects to an address of the host's network, then to the guest, and carries until both have closed.
func (n *Network) connectOut(r *tcp.ForwarderRequest, to string) {
	ctx, cancel := context.WithTimeout(n.ctx, dialTime)
	defer cancel()
	outside, err := n.host.dial(ctx, "tcp4", to)
	if err != nil {
		n.stats.failed.Add(1)
		r.Complete(true)
		return
	}
	defer outside.Close()
	events := new(waiter.Queue)
	endpoint, failure := r.CreateEndpoint(events)
	r.Complete(failure != nil)
	if failure != nil {
		n.stats.failed.Add(1)
		return
	}
	n.stats.connections.Add(1)
	n.carry(newGuestConn(endpoint, events), outside.(conn))
}

// dialGuest connects to a port of the guest, as the gateway.
func (n *Network) dialGuest(ctx context.Context, port uint16) (*guestConn, error) {
	events := new(waiter.Queue)
	endpoint, failure := n.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, events)
	if failure != nil {
		return nil, stackError(failure)
	}
	writable, notify := waiter.NewChannelEntry(waiter.WritableEvents)
	events.EventRegister(&writable)
	defer events.EventUnregister(&writable)
	if failure = endpoint.Bind(full(Gateway, 0)); failure == nil {
		failure = endpoint.Connect(full(Guest, port))
	}
	if _, started := failure.(*tcpip.ErrConnectStarted); started {
		select {
		case <-notify:
			failure = endpoint.LastError()
		case <-ctx.Done():
			failure = &tcpip.ErrTimeout{}
		}
	}
	if failure != nil {
		endpoint.Abort()
		return nil, stackError(failure)
	}
	return newGuestConn(endpoint, events), nil
}

// carry copies both ways until both sides have closed, one has failed, or the network ends.
func (n *Network) carry(guest *guestConn, outside conn) {
	stop := context.AfterFunc(n.ctx, func() {
		outside.Close()
		guest.endpoint.Abort()
	})
	defer stop()
	defer guest.end(n.ctx, n.ending)
	defer outside.Close()
	var both sync.WaitGroup
	both.Go(func() { carryOne(outside, guest) })
	carryOne(guest, outside)
	both.Wait()
}

// carryOne copies one way until the end, which it passes on. A failure ends the other way too.
func carryOne(to, from conn) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		to.Close()
		from.Close()
	}
}
