package net_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
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
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	gvisortcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"kapsel/guest/net"
	"kapsel/guest/net/tcp"
	"kapsel/tests/badwire"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// Stations of a test.
var (
	ours        = net.Address{10, 0, 0, 1}
	peers       = net.Address{10, 0, 0, 2}
	ourMAC      = net.HardwareAddress{0x52, 0x54, 0, 0, 0, 1}
	peerMAC     = net.HardwareAddress{0x52, 0x54, 0, 0, 0, 2}
	maxFrame    = net.MaxMTU + 14
	echoPort    = uint16(7)
	somePort    = uint16(2000)
	streamBytes = 256 << 10
)

// A peer is the other end of the wire. wake tells that it may have frames.
type peer struct {
	put  func(frame []byte)
	get  func(buf []byte) int
	wake <-chan struct{}
}

// A side is our stack with a peer, in real time, since a peer has a clock of its own.
type side struct {
	net.Stack
	t     *testing.T
	peer  peer
	start time.Time
	haste time.Duration // how much faster the clock goes than the machine's
	seen  [][]byte      // all frames, if keep
	keep  bool
}

// newSide makes our end, without an address.
func newSide(t *testing.T, p peer) *side {
	s := &side{t: t, peer: p, start: time.Now(), haste: 1}
	random := rand.New(rand.NewPCG(5, 6))
	require.NoError(t, s.Init(net.Config{
		Hardware: ourMAC, Name: "kapsel", Random: random.Uint32,
		Sockets: net.MakeSockets(4, 32<<10), Conns: net.MakeConns(8, 16<<10, 16<<10),
	}))
	return s
}

// now is the time.
func (s *side) now() net.Time { return net.Time(time.Since(s.start)*s.haste/time.Microsecond) + 1 }

// until carries frames until something is so.
func (s *side) until(done func() bool) {
	s.t.Helper()
	end := time.Now().Add(patience)
	buf := make([]byte, maxFrame)
	for !done() {
		busy := false
		for n := s.peer.get(buf); n > 0; n = s.peer.get(buf) {
			s.note(buf[:n])
			s.Input(buf[:n], s.now())
			busy = true
		}
		for n := s.Output(buf, s.now()); n > 0; n = s.Output(buf, s.now()) {
			s.note(buf[:n])
			s.peer.put(buf[:n])
			busy = true
		}
		if busy {
			continue
		}
		require.True(s.t, time.Now().Before(end), "it does not come: %+v", s.Counters())
		wait := 10 * time.Millisecond
		if at, ok := s.Deadline(); ok {
			wait = min(wait, time.Duration(at-min(at, s.now()))*time.Microsecond/s.haste)
		}
		select {
		case <-s.peer.wake:
		case <-time.After(wait):
		}
	}
}

// note keeps a frame.
func (s *side) note(frame []byte) {
	if s.keep {
		s.seen = append(s.seen, bytes.Clone(frame))
	}
}

// A gvisor is gVisor's TCP/IP as the peer.
type gvisor struct {
	*stack.Stack
	link *channel.Endpoint
	wake chan struct{}
}

// WriteNotify tells that the peer has a frame.
func (g *gvisor) WriteNotify() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

const nic = 1

// newGvisor makes gVisor's stack with the peer's address, and our end with ours.
func newGvisor(t *testing.T) (*side, *gvisor) { return newHastyGvisor(t, 1) }

// newHastyGvisor is newGvisor with clocks that go so many times faster than the machine's.
func newHastyGvisor(t *testing.T, haste time.Duration) (*side, *gvisor) {
	g := &gvisor{link: channel.New(4096, net.MaxMTU+14, tcpip.LinkAddress(peerMAC[:])), wake: make(chan struct{}, 1)}
	g.link.AddNotify(g)
	g.Stack = stack.New(stack.Options{
		Clock:              hastyClock{tcpip.NewStdClock(), haste},
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{gvisortcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	require.Nil(t, g.CreateNIC(nic, linkethernet.New(g.link)))
	address := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(peers), PrefixLen: 24}
	require.Nil(t, g.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address}, stack.AddressProperties{}))
	g.SetRouteTable([]tcpip.Route{{Destination: address.Subnet(), NIC: nic}})
	t.Cleanup(g.Destroy)
	s := newSide(t, peer{g.put, g.get, g.wake})
	s.haste = haste
	require.NoError(t, s.SetAddress(ours, 24, net.Address{}, s.now()))
	return s, g
}

func (g *gvisor) put(frame []byte) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	g.link.InjectInbound(0, p)
	p.DecRef()
}

func (g *gvisor) get(buf []byte) int {
	p := g.link.Read()
	if p == nil {
		return 0
	}
	defer p.DecRef()
	return copy(buf, p.ToView().AsSlice())
}

// A hastyClock is a clock that goes faster than another.
type hastyClock struct {
	tcpip.Clock
	haste time.Duration
}

func (c hastyClock) NowMonotonic() tcpip.MonotonicTime {
	var start tcpip.MonotonicTime
	return start.Add(c.Clock.NowMonotonic().Sub(start) * c.haste)
}

func (c hastyClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	return hastyTimer{c.Clock.AfterFunc(d/c.haste, f), c.haste}
}

type hastyTimer struct {
	tcpip.Timer
	haste time.Duration
}

func (t hastyTimer) Reset(d time.Duration) { t.Timer.Reset(d / t.haste) }

// full is gVisor's name of an endpoint.
func full(a net.Address, port uint16) *tcpip.FullAddress {
	return &tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a), Port: port}
}

// fill makes a datagram's data of its number.
func fill(b []byte, number int) []byte {
	for i := range b {
		b[i] = byte(number*31 + i*7)
	}
	return b
}

// TestEchoOfGvisor: 5,000 datagrams of all lengths come back from it as they were.
func TestEchoOfGvisor(t *testing.T) {
	s, g := newGvisor(t)
	conn, err := gonet.DialUDP(g.Stack, full(peers, echoPort), nil, ipv4.ProtocolNumber)
	require.NoError(t, err)
	var echo sync.WaitGroup
	echo.Go(func() {
		b := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			conn.WriteTo(b[:n], from)
		}
	})
	defer echo.Wait()
	defer conn.Close()
	k, err := s.Open(somePort)
	require.NoError(t, err)
	in, want := make([]byte, 2000), make([]byte, 1472)
	for i := range 5000 {
		data := fill(want[:i%1473], i)
		require.NoError(t, k.SendTo(data, net.Endpoint{Address: peers, Port: echoPort}))
		s.until(func() bool {
			n, from, ok, err := k.ReceiveFrom(in)
			require.NoError(t, err)
			if ok {
				require.Equal(t, net.Endpoint{Address: peers, Port: echoPort}, from)
				require.True(t, bytes.Equal(data, in[:n]))
			}
			return ok
		})
	}
}

// TestEchoForGvisor: 5,000 datagrams that it sends come back to it as they were.
func TestEchoForGvisor(t *testing.T) {
	s, g := newGvisor(t)
	k, err := s.Open(echoPort)
	require.NoError(t, err)
	conn, err := gonet.DialUDP(g.Stack, nil, full(ours, echoPort), ipv4.ProtocolNumber)
	require.NoError(t, err)
	defer conn.Close()
	ended := make(chan error, 1)
	go func() { ended <- ask(conn) }()
	in := make([]byte, 2000)
	s.until(func() bool {
		for n, from, ok, _ := k.ReceiveFrom(in); ok; n, from, ok, _ = k.ReceiveFrom(in) {
			k.SendTo(in[:n], from)
		}
		select {
		case err := <-ended:
			require.NoError(t, err)
			return true
		default:
			return false
		}
	})
}

// ask sends datagrams and compares what comes back.
func ask(conn *gonet.UDPConn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	out, in := make([]byte, 1472), make([]byte, 2000)
	for i := range 5000 {
		data := fill(out[:1+i%1472], i)
		if _, err := conn.Write(data); err != nil {
			return err
		}
		n, err := conn.Read(in)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, in[:n]) {
			return fmt.Errorf("datagram %d of %d bytes came back as %d others", i, len(data), n)
		}
	}
	return nil
}

// TestPingWithGvisor goes both ways.
func TestPingWithGvisor(t *testing.T) {
	s, g := newGvisor(t)
	require.NoError(t, s.Ping(peers, s.now()))
	s.until(func() bool { _, ok := s.Pong(); return ok })

	var queue waiter.Queue
	e, terr := g.NewEndpoint(icmp.ProtocolNumber4, ipv4.ProtocolNumber, &queue)
	require.Nil(t, terr)
	defer e.Close()
	require.Nil(t, e.Connect(*full(ours, 0)))
	request := make([]byte, header.ICMPv4MinimumSize, 1000)
	header.ICMPv4(request).SetType(header.ICMPv4Echo)
	header.ICMPv4(request).SetSequence(7)
	request = append(request, fill(make([]byte, 900), 1)...)
	_, terr = e.Write(bytes.NewReader(request), tcpip.WriteOptions{})
	require.Nil(t, terr)
	var answer bytes.Buffer
	s.until(func() bool {
		_, terr := e.Read(&answer, tcpip.ReadOptions{})
		return terr == nil
	})
	h := header.ICMPv4(answer.Bytes())
	assert.Equal(t, header.ICMPv4EchoReply, h.Type())
	assert.Equal(t, uint16(7), h.Sequence())
	assert.Equal(t, request[header.ICMPv4MinimumSize:], []byte(h.Payload()))
}

// TestPortsThatAreClosed are told, both ways.
func TestPortsThatAreClosed(t *testing.T) {
	s, g := newGvisor(t)
	k, err := s.Open(somePort)
	require.NoError(t, err)
	require.NoError(t, k.SendTo([]byte("anybody?"), net.Endpoint{Address: peers, Port: 9}))
	s.until(func() bool {
		_, from, _, err := k.ReceiveFrom(nil)
		return err == net.ErrUnreachable && from == net.Endpoint{Address: peers, Port: 9}
	})
	conn, err := gonet.DialUDP(g.Stack, nil, full(ours, 9), ipv4.ProtocolNumber)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("anybody?"))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 10))
		ended <- err
	}()
	s.until(func() bool {
		select {
		case err := <-ended:
			require.ErrorContains(t, err, "refused")
			return true
		default:
			return false
		}
	})
}

// TestStreamsWithGvisor: it connects to us, and we to it; what each sends comes back whole.
func TestStreamsWithGvisor(t *testing.T) {
	s, g := newGvisor(t)
	l, err := s.Listen(80)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- stream(g) }()
	var conns []*net.Conn
	b := make([]byte, 4096)
	s.until(func() bool {
		if c := l.Accept(); c != nil {
			conns = append(conns, c)
		}
		for _, c := range conns {
			echo(t, c, b)
		}
		select {
		case err := <-ended:
			require.NoError(t, err)
			return true
		default:
			return false
		}
	})
	require.Len(t, conns, 1)
	conns[0].Close()

	theirs, err := gonet.ListenTCP(g.Stack, *full(peers, 81), ipv4.ProtocolNumber)
	require.NoError(t, err)
	defer theirs.Close()
	go func() {
		c, err := theirs.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := s.Dial(net.Endpoint{Address: peers, Port: 81}, s.now())
	require.NoError(t, err)
	sent, got := 0, 0
	s.until(func() bool {
		if sent < streamBytes {
			n, err := c.Write(pattern(b[:min(len(b), streamBytes-sent)], sent))
			require.NoError(t, err)
			if sent += n; sent == streamBytes {
				c.CloseWrite()
			}
		}
		n, err := c.Read(b)
		require.True(t, bytes.Equal(pattern(make([]byte, n), got), b[:n]))
		got += n
		return err == tcp.EOF
	})
	assert.Equal(t, streamBytes, got)
	c.Close()
}

// overABadWire is a peer behind one.
func overABadWire(p peer, percent int) peer {
	var ways [2]badwire.Way
	for i := range ways {
		ways[i].Percent, ways[i].Random = percent, rand.New(rand.NewPCG(1, uint64(i)))
	}
	return peer{
		put: func(frame []byte) {
			for _, f := range ways[0].Pass(frame) {
				p.put(f)
			}
		},
		get: func(buf []byte) int {
			n, _ := ways[1].Next(buf, func() []byte {
				n := p.get(buf)
				if n == 0 {
					return nil
				}
				return buf[:n]
			})
			return n
		},
		wake: p.wake,
	}
}

// TestStreamsWithGvisorOverABadWire: what it sends comes back whole, by several connections at once, though its sender takes windows that
// others have overtaken, and so sends beyond ours. Neither end stands still: that would end a connection in 8 minutes of its clock.
func TestStreamsWithGvisorOverABadWire(t *testing.T) {
	const conns, rounds = 4, 10
	s, g := newHastyGvisor(t, 50)
	require.Nil(t, g.AddStaticNeighbor(nic, ipv4.ProtocolNumber, tcpip.AddrFrom4(ours), tcpip.LinkAddress(ourMAC[:]))) // it asks three times alone
	s.peer = overABadWire(s.peer, 5)
	l, err := s.Listen(80)
	require.NoError(t, err)
	ended := make(chan error, conns)
	for range conns {
		go func() {
			var err error
			for round := 0; round < rounds && err == nil; round++ {
				err = stream(g)
			}
			ended <- err
		}()
	}
	var open []*net.Conn
	left, b := conns, make([]byte, 4096)
	s.until(func() bool {
		if c := l.Accept(); c != nil {
			open = append(open, c)
		}
		open = slices.DeleteFunc(open, func(c *net.Conn) bool { return echoed(c, b) })
		select {
		case err := <-ended:
			require.NoError(t, err)
			left--
		default:
		}
		return left == 0
	})
}

// echoed sends back what a connection has got, and lets it go when that is all.
func echoed(c *net.Conn, b []byte) bool {
	n, err := c.Read(b[:min(len(b), c.Writable())])
	c.Write(b[:n])
	if err != nil {
		c.Close()
	}
	return err != nil
}

// pattern makes bytes of a stream from a place on.
func pattern(b []byte, at int) []byte {
	for i := range b {
		b[i] = byte((at + i) * 13 >> 3)
	}
	return b
}

// echo sends back what a connection has got, and the end after all.
func echo(t *testing.T, c *net.Conn, b []byte) {
	n, err := c.Read(b[:min(len(b), c.Writable())])
	if n > 0 {
		written, err := c.Write(b[:n])
		require.NoError(t, err)
		require.Equal(t, n, written)
	}
	if err == tcp.EOF {
		c.CloseWrite()
	}
}

// stream has gVisor connect to us, and compares what comes back.
func stream(g *gvisor) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.Stack, *full(ours, 80), ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	want := pattern(make([]byte, streamBytes), 0)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-wrote); err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("%d bytes came back as %d others", len(want), len(got))
	}
	return nil
}
