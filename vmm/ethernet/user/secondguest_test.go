package user

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	linkethernet "gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"kapsel/vmm/ethernet"
)

// A secondGuest is gVisor's TCP/IP at the guest's end, for what lneto 0.3.2 does not do: it cannot send when the other
// side has closed, and closes the next connection of a port with the last one.
type secondGuest struct {
	*wire
	stack *stack.Stack
}

// startSecondGuest boots a guest that has its address already.
func startSecondGuest(t *testing.T, c Config, h host) *secondGuest {
	g := &secondGuest{wire: startWire(t, c, h)}
	link := channel.New(1024, ethernet.MaxFrame, tcpip.LinkAddress(guestMAC[:]))
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	require.Nil(t, g.stack.CreateNIC(nic, linkethernet.New(link)))
	address := tcpip.AddressWithPrefix{Address: stackAddress(Guest), PrefixLen: Subnet.Bits()}
	require.Nil(t, g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address}, stack.AddressProperties{}))
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: address.Subnet(), NIC: nic},
		{Destination: header.IPv4EmptySubnet, Gateway: stackAddress(Gateway), NIC: nic},
	})
	ctx, end := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { g.receive(ctx, link) })
	both.Go(func() { g.transmit(ctx, link) })
	t.Cleanup(func() {
		end()
		both.Wait()
		g.stack.Destroy()
	})
	return g
}

func (g *secondGuest) receive(ctx context.Context, link *channel.Endpoint) {
	var in [ethernet.MaxFrame]byte
	for {
		for n := g.port.Receive(&in); n > 0; n = g.port.Receive(&in) {
			p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(in[:n])})
			link.InjectInbound(0, p)
			p.DecRef()
		}
		select {
		case <-g.ready:
		case <-ctx.Done():
			return
		}
	}
}

func (g *secondGuest) transmit(ctx context.Context, link *channel.Endpoint) {
	for {
		p := link.ReadContext(ctx)
		if p == nil {
			return
		}
		g.port.Send(p.ToView().AsSlice())
		p.DecRef()
	}
}

// tryDial connects from the guest.
func (g *secondGuest) tryDial(to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, full(to.Addr(), to.Port()), ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.SetDeadline(time.Now().Add(patience)))
}

// dial is tryDial of what must succeed.
func (g *secondGuest) dial(t *testing.T, to netip.AddrPort) *gonet.TCPConn {
	t.Helper()
	c, err := g.tryDial(to)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// listen accepts connections to a port of the guest.
func (g *secondGuest) listen(t *testing.T, port uint16) net.Listener {
	t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(Guest, port), ipv4.ProtocolNumber)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()); l.Shutdown() })
	return l
}
