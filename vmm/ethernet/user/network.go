// Package user is a network of one guest in this process, without privilege: a backend of package
// ethernet on gVisor's TCP/IP. The guest gets 10.0.2.15 by DHCP, as in QEMU's user network. What it
// connects to, the host connects to on its behalf, if a Rule allows that: without rules it reaches
// nothing. Ports of the host lead to the guest where a Forward says so.
//
// Whatever the guest does costs bounded memory: of connections, half-open ones, UDP flows, lookups,
// names and their addresses there are at most as many as the constants of this package say.
package user

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	linkethernet "gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
)

// Addresses of the network, as in QEMU's.
var (
	Subnet   = netip.MustParsePrefix("10.0.2.0/24")
	Gateway  = netip.MustParseAddr("10.0.2.2") // what the guest sends to it goes to the host's 127.0.0.1
	Resolver = netip.MustParseAddr("10.0.2.3") // answers DNS
	Guest    = netip.MustParseAddr("10.0.2.15")
)

// gatewayMAC is the address of all that is not the guest.
var gatewayMAC = ethernet.MAC{0x52, 0x55, 10, 0, 2, 2}

// Limits of what a guest, and who comes by forwards, can occupy.
const (
	maxConnections = 128        // of TCP, by which the guest or a forward is connected, until nothing is left of them
	maxHalfOpen    = 64         // connections that the guest asks for, before they are counted above
	maxFlows       = 128        // of UDP, in both directions together
	maxLookups     = 16         // names that are looked up at once
	tcpBuffer      = 256 << 10  // bytes, in each direction of a connection
	outQueue       = 512        // frames on their way to the guest
	datagramSize   = 64<<10 - 1 // bytes, the longest of UDP
)

// Times.
const (
	dialTime     = 10 * time.Second // a connection to be made
	lookupTime   = 5 * time.Second  // a name to be looked up
	idleTime     = time.Minute      // a flow of UDP without a datagram
	closingTime  = 5 * time.Second  // a connection that both ends have closed, to be forgotten
	aliveTime    = time.Minute      // a silent connection to the guest, to be asked whether it is
	timeWaitTime = time.Second / 10 // TIME-WAIT: the guest is at the other end of a wire
)

// nic is the only interface of the stack.
const nic tcpip.NICID = 1

// Config says what a Network is to be.
type Config struct {
	// MAC is the guest's. Only it gets the lease.
	MAC ethernet.MAC
	// Forwards are ports of the host that lead to the guest.
	Forwards []Forward
	// Allow is all that the guest may reach; nothing without.
	Allow []Rule
	// Log takes a line about what is refused, once for each thing, and about where forwards listen. It may be called by
	// several goroutines. Nil discards it.
	Log func(format string, args ...any)
}

// A Network is a backend: what the other end of the guest's wire is.
type Network struct {
	mac    ethernet.MAC
	host   host
	egress *egress
	stack  *stack.Stack
	link   *channel.Endpoint
	idle   time.Duration // of flows: idleTime
	ending time.Duration // of connections: closingTime
	refuse refusals
	stats  counters

	connections, flows, lookups slots

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	mu        sync.Mutex
	closed    bool
	work      sync.WaitGroup // all goroutines, of which enter knows
	listeners []io.Closer
	addresses []netip.AddrPort // of the forwards
}

// A host is what the network needs of the host; a test has its own.
type host struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	lookup func(ctx context.Context, name string) ([]netip.Addr, error) // IPv4 alone
	own    func() ([]netip.Addr, error)                                 // addresses of its interfaces
}

// thisHost is the one that the monitor runs on.
func thisHost() host {
	return host{
		dial: new(net.Dialer).DialContext,
		lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		},
		own: interfaceAddresses,
	}
}

// New makes a network and listens for its forwards. An error names the forward whose port cannot be had.
func New(c Config) (*Network, error) { return newNetwork(c, thisHost()) }

func newNetwork(c Config, h host) (*Network, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	n := &Network{
		mac: c.MAC, host: h, egress: newEgress(c.Allow, h.own), idle: idleTime, ending: closingTime,
		refuse:      refusals{log: c.Log},
		connections: make(slots, maxConnections), flows: make(slots, maxFlows), lookups: make(slots, maxLookups),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(c); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// start makes the stack and all that serves the guest.
func (n *Network) start(c Config) error {
	n.link = channel.New(outQueue, ethernet.MaxFrame, tcpip.LinkAddress(gatewayMAC[:]))
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := n.configure(); err != nil {
		return err
	}
	if err := n.serve(dhcp.ServerPort, netip.Addr{}, n.serveDHCP); err != nil {
		return err
	}
	if err := n.serve(dnsPort, Resolver, n.serveDNS); err != nil {
		return err
	}
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(n.stack, 0, maxHalfOpen, n.handleTCP).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(n.stack, n.handleUDP).HandlePacket)
	for _, f := range c.Forwards {
		address, err := n.listen(f)
		if err != nil {
			return fmt.Errorf("forward %s: %w%s", f, err, advice(err))
		}
		n.addresses = append(n.addresses, address)
		c.Log("network: %s of the host leads to the guest's port %d of %s", address, f.Guest, f.Protocol)
	}
	return nil
}

// configure sets the stack's options, interface, addresses and route. It takes datagrams to all addresses and sends
// from all (filter.go keeps the guest from what that would mean), to stand for whoever the guest talks to.
func (n *Network) configure() error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	wait, linger := tcpip.TCPTimeWaitTimeoutOption(timeWaitTime), tcpip.TCPLingerTimeoutOption(closingTime)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: tcpBuffer, Max: tcpBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: tcpBuffer, Max: tcpBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait, &linger, &send, &receive} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("TCP option %T: %s", option, err)
		}
	}
	if err := n.stack.CreateNIC(nic, linkethernet.New(n.link)); err != nil {
		return fmt.Errorf("interface: %s", err)
	}
	for _, address := range []netip.Addr{Gateway, Resolver} {
		protocolAddress := tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: stackAddress(address), PrefixLen: Subnet.Bits()},
		}
		if err := n.stack.AddProtocolAddress(nic, protocolAddress, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("address %s: %s", address, err)
		}
	}
	if err := n.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("promiscuous mode: %s", err)
	}
	if err := n.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("spoofing: %s", err)
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return nil
}

// ReadFrame implements ethernet.Backend.
func (n *Network) ReadFrame(buffer []byte) (int, error) {
	packet := n.link.ReadContext(n.ctx)
	if packet == nil {
		return 0, io.EOF
	}
	defer packet.DecRef()
	length := 0
	for _, piece := range packet.AsSlices() {
		copy(buffer[min(length, len(buffer)):], piece)
		length += len(piece)
	}
	return length, nil
}

// WriteFrame implements ethernet.Backend.
func (n *Network) WriteFrame(frame []byte) error {
	if !n.accepts(frame) {
		n.stats.framesRefused.Add(1)
		return nil // it went out; nobody was there
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer packet.DecRef()
	n.link.InjectInbound(0, packet) // the link reads the type from the frame
	return nil
}

// Close ends all connections, listeners and goroutines, and waits for them.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	var failures []error
	for _, l := range n.listeners {
		failures = append(failures, l.Close())
	}
	n.stack.Close()
	n.work.Wait()
	n.stack.Wait()
	n.link.Close()
	return errors.Join(failures...)
}

// enter runs f on a goroutine that Close waits for. It reports false after Close, and then does not.
func (n *Network) enter(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.work.Go(f)
	return true
}

// slots are a bounded number of things that may be at once.
type slots chan struct{}

// take reports whether there was one left, which give gives back.
func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// stackAddress is an IPv4 address as the stack has it.
func stackAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// hostAddress is an IPv4 address and port of the stack's.
func hostAddress(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(a.As4()), port)
}

// full is an address and port as the stack has it.
func full(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: stackAddress(a), Port: port}
}
