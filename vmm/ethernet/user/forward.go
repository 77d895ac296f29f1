package user

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Forward is a port of the host that leads to the guest.
type Forward struct {
	Protocol string         // tcp or udp
	Host     netip.AddrPort // port 0: one that is free
	Guest    uint16
}

// ParseForward reads a forward as tcp:8080:80 or udp:5353:53: the host's port, then the guest's. The host listens on
// 127.0.0.1, or on an address in front of its port, as in tcp:0.0.0.0:8080:80 or tcp:[::1]:8080:80.
func ParseForward(text string) (Forward, error) {
	f := Forward{Host: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	protocol, ports, _ := strings.Cut(text, ":")
	if protocol != "tcp" && protocol != "udp" {
		return f, fmt.Errorf("want tcp or udp in front, as in tcp:8080:80, found %q", text)
	}
	f.Protocol = protocol
	at := strings.LastIndexByte(ports, ':')
	if at < 0 {
		return f, fmt.Errorf("want a port of the host and one of the guest, as in %s:8080:80, found %q", protocol, text)
	}
	var err error
	if f.Guest, err = parsePort(ports[at+1:]); err != nil {
		return f, err
	}
	address, port := f.Host.Addr(), ports[:at]
	if at := strings.LastIndexByte(port, ':'); at >= 0 {
		if address, err = parseListener(port[:at]); err != nil {
			return f, err
		}
		port = port[at+1:]
	}
	number, err := parsePort(port)
	f.Host = netip.AddrPortFrom(address, number)
	return f, err
}

// parseListener reads an address to listen on, of IPv4 or in brackets of IPv6.
func parseListener(text string) (netip.Addr, error) {
	inner, bracket := strings.CutPrefix(text, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	address, err := netip.ParseAddr(inner)
	if err != nil || bracket != closed || bracket != address.Is6() || address.Is4In6() {
		return address, fmt.Errorf("want an address of this host as 127.0.0.1, 0.0.0.0 or [::1], found %q", text)
	}
	return address, nil
}

// String writes the forward as ParseForward reads it.
func (f Forward) String() string { return fmt.Sprintf("%s:%s:%d", f.Protocol, f.Host, f.Guest) }

// family is the protocol with that of the host's address, by which 0.0.0.0 is all addresses of IPv4 alone, and [::] all of IPv6 (package net's "tcp" takes both for either).
func (f Forward) family() string {
	if f.Host.Addr().Is4() {
		return f.Protocol + "4"
	}
	return f.Protocol + "6"
}

// advice is what to do about an error of listen, behind a colon, or nothing.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return ": end the other program, or forward another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": want an address of this host"
	case errors.Is(err, syscall.EACCES):
		return ": want a port that is not for root alone, as one from 1024 on"
	}
	return ""
}

// listen opens the host's port of a forward and returns its address.
func (n *Network) listen(f Forward) (netip.AddrPort, error) {
	if f.Protocol == "udp" {
		return n.listenUDP(f)
	}
	listener, err := net.ListenTCP(f.family(), net.TCPAddrFromAddrPort(f.Host))
	if err != nil {
		return netip.AddrPort{}, err
	}
	n.listeners = append(n.listeners, listener)
	n.enter(func() {
		for {
			c, err := listener.AcceptTCP()
			switch {
			case err == nil:
				n.accept(c, f.Guest)
			case errors.Is(err, net.ErrClosed):
				return
			default: // the host has no descriptors left: whoever waits is taken when it has
				n.stats.failed.Add(1)
				n.pause()
			}
		}
	})
	return listener.Addr().(*net.TCPAddr).AddrPort(), nil
}

// pause waits a little, or until the network ends.
func (n *Network) pause() {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-n.ctx.Done():
	}
}

// accept carries a connection of the host to the guest, or resets it.
func (n *Network) accept(c *net.TCPConn, port uint16) {
	if !n.connections.take() {
		n.stats.full.Add(1)
		reset(c)
		return
	}
	connect := func() {
		defer n.connections.give()
		n.connectIn(c, port)
	}
	if !n.enter(connect) {
		n.connections.give()
		reset(c)
	}
}

// connectIn connects to the guest and carries until both have closed.
func (n *Network) connectIn(c *net.TCPConn, port uint16) {
	ctx, cancel := context.WithTimeout(n.ctx, dialTime)
	defer cancel()
	guest, err := n.dialGuest(ctx, port)
	if err != nil {
		n.stats.failed.Add(1)
		n.refuse.tell(fmt.Sprintf("a connection from %s", c.RemoteAddr()), fmt.Sprintf("the guest's port %d: %v", port, err))
		reset(c)
		return
	}
	n.stats.forwarded.Add(1)
	n.carry(guest, c)
}

// reset ends a connection so that the other side knows that it was not served.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// listenUDP opens the host's port of a forward for datagrams. Each address that sends some has a
// flow to the guest.
func (n *Network) listenUDP(f Forward) (netip.AddrPort, error) {
	socket, err := net.ListenUDP(f.family(), net.UDPAddrFromAddrPort(f.Host))
	if err != nil {
		return netip.AddrPort{}, err
	}
	n.listeners = append(n.listeners, socket)
	in := &inbound{network: n, socket: socket, port: f.Guest, flows: make(map[netip.AddrPort]*flow)}
	n.enter(in.serve)
	return socket.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// inbound is a port of the host for datagrams to the guest.
type inbound struct {
	network *Network
	socket  *net.UDPConn
	port    uint16

	mu    sync.Mutex
	flows map[netip.AddrPort]*flow // by who sent
}

// serve passes datagrams on until the socket is closed.
func (in *inbound) serve() {
	buffer := make([]byte, datagramSize)
	for {
		size, from, err := in.socket.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // the host has no memory left
			in.network.stats.failed.Add(1)
			in.network.pause()
			continue
		}
		if f := in.flowOf(from); f != nil {
			f.touch()
			f.guest.Write(buffer[:size])
		}
	}
}

// flowOf returns the flow of whoever sent, made if there is none, or nil if there can be none.
func (in *inbound) flowOf(from netip.AddrPort) *flow {
	in.mu.Lock()
	defer in.mu.Unlock()
	if f := in.flows[from]; f != nil {
		return f
	}
	n := in.network
	if !n.flows.take() {
		n.stats.full.Add(1)
		return nil
	}
	guest, err := n.dialGuestUDP(in.port)
	if err != nil {
		n.stats.failed.Add(1)
		n.flows.give()
		return nil
	}
	f := newFlow(guest)
	if !n.enter(func() { in.answer(f, from) }) {
		n.flows.give()
		guest.Close()
		return nil
	}
	in.flows[from] = f
	n.stats.forwarded.Add(1)
	return f
}

// answer passes the guest's datagrams back to whom the flow is of, until it is idle or the network ends.
func (in *inbound) answer(f *flow, to netip.AddrPort) {
	defer in.network.flows.give()
	defer context.AfterFunc(in.network.ctx, func() { f.guest.Close() })()
	f.carry(f.guest, in.network.idle, func(datagram []byte) { in.socket.WriteToUDPAddrPort(datagram, to) })
	in.mu.Lock()
	delete(in.flows, to)
	in.mu.Unlock()
	f.guest.Close()
}
