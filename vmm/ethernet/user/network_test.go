package user

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// outside is the only other host of the tests' world, which is this one by another name.
var outside = netip.MustParseAddr("192.0.2.10")

// testHost is a host beside which there is outside, and a resolver that knows example.com.
func testHost() host {
	return host{
		dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if port, ok := strings.CutPrefix(address, outside.String()+":"); ok {
				address = "127.0.0.1:" + port
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			switch name {
			case "example.com", "www.example.com":
				return []netip.Addr{outside}, nil
			case "rebound.example.com":
				return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254")}, nil
			case "broken.example.com":
				return nil, errors.New("no resolver here")
			}
			return nil, &net.DNSError{Name: name, IsNotFound: true}
		},
		own: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.99")}, nil },
	}
}

// echo answers what is sent on a port of this host, with the same, and returns the port.
func echo(t *testing.T, network string) string {
	if network == "udp" {
		socket, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { socket.Close() })
		go func() {
			buffer := make([]byte, datagramSize)
			for {
				n, from, err := socket.ReadFrom(buffer)
				if err != nil {
					return
				}
				socket.WriteTo(buffer[:n], from)
			}
		}()
		return portOf(socket.LocalAddr())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go echoAll(l)
	return portOf(l.Addr())
}

// echoAll answers the connections of a listener.
func echoAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// patient is a connection of which each read and each write has its time, not all of them together: a busy machine takes long
// for much.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	p.SetReadDeadline(time.Now().Add(patience))
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(patience))
	return p.Conn.Write(b)
}

// exchange sends size bytes, in pieces, and finds the same in what comes back.
func exchange(t *testing.T, conn net.Conn, size int) {
	t.Helper()
	c := patient{conn}
	sent := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(sent)
	var writing sync.WaitGroup
	writing.Go(func() {
		for rest := sent; len(rest) > 0; {
			n, err := c.Write(rest[:min(len(rest), 8<<10)])
			if !assert.NoError(t, err) {
				return
			}
			rest = rest[n:]
		}
	})
	got := make([]byte, size)
	_, err := io.ReadFull(c, got)
	writing.Wait()
	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, got), "what comes back is what was sent")
}

func TestLease(t *testing.T) {
	lease := startGuest(t, Config{}, testHost()).lease(t)
	assert.Equal(t, [4]byte{10, 0, 2, 15}, lease.AssignedAddr4)
	assert.Equal(t, "10.0.2.15/24", lease.Subnet.String())
	assert.Equal(t, "10.0.2.2", lease.Router.String())
	assert.Equal(t, "10.0.2.2", lease.ServerAddr.String())
	assert.Equal(t, "[10.0.2.3]", fmt.Sprintf("%v", lease.DNSServers))
	assert.EqualValues(t, 24*60*60, lease.TLease)
}

// TestGuestConnects: TCP from the guest to what rules allow, by each kind of rule.
func TestGuestConnects(t *testing.T) {
	t.Parallel()
	port := echo(t, "tcp")
	for _, test := range []struct{ name, rule, to string }{
		{"the host's loopback, by the gateway", "127.0.0.1:" + port, "10.0.2.2:" + port},
		{"an address", "192.0.2.10:" + port, "192.0.2.10:" + port},
		{"a network", "192.0.2.0/24:1024-65535", "192.0.2.10:" + port},
		{"any", "*:*", "192.0.2.10:" + port},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := startGuest(t, Config{Allow: rules(t, test.rule)}, testHost())
			g.lease(t)
			c, err := g.dial("tcp", test.to)
			require.NoError(t, err)
			exchange(t, c, 256<<10)
			require.NoError(t, c.Close())
			assert.EqualValues(t, 1, g.Stats().Connections)
			assert.Zero(t, g.Stats().Denied)
		})
	}
}

// denials are what no rule allows, each though some rule comes close.
var denials = []struct{ name, rule, to string }{
	{"no rule", "", "192.0.2.10:80"},
	{"the host's loopback, any host allowed", "*:*", "10.0.2.2:80"},
	{"the host's loopback, its network allowed", "127.0.0.0/8:*", "10.0.2.2:80"},
	{"the host's interface, any host allowed", "*:*", "192.0.2.99:80"},
	{"another port", "192.0.2.10:81", "192.0.2.10:80"},
	{"another host", "192.0.2.11:*", "192.0.2.10:80"},
	{"another network", "192.0.3.0/24:*", "192.0.2.10:80"},
	{"an address of a name that was not asked for", "example.com:*", "192.0.2.10:80"},
	{"a machine that the network does not have", "*:*", "10.0.2.77:80"},
	{"DNS by TCP, other services of the resolver", "*:*", "10.0.2.3:5353"},
	{"where clouds keep secrets", "*:*", "169.254.169.254:80"},
}

// TestGuestIsDenied: nothing of the host sees that the guest asked, and the guest is told at once: by a reset, or by
// ICMP that the port is unreachable.
func TestGuestIsDenied(t *testing.T) {
	for _, test := range denials {
		for protocol, ask := range map[string]func(netip.AddrPort) []byte{
			"TCP": func(to netip.AddrPort) []byte { return segment(50000, to.Addr(), to.Port(), flagSYN) },
			"UDP": func(to netip.AddrPort) []byte { return datagram(50000, to.Addr(), to.Port(), []byte("x")) },
		} {
			t.Run(test.name+", "+protocol, func(t *testing.T) {
				w := deniedWire(t, test.rule)
				to := netip.MustParseAddrPort(test.to)
				require.NoError(t, w.port.Send(ask(to)))
				answer := w.packet(t)
				assert.Equal(t, to.Addr().String(), answer.SourceAddress().String())
				if protocol == "TCP" {
					assert.Equal(t, header.TCPFlagRst|flagACK, header.TCP(answer.Payload()).Flags())
				} else {
					assert.Equal(t, header.ICMPv4DstUnreachable, header.ICMPv4(answer.Payload()).Type())
					assert.Equal(t, header.ICMPv4PortUnreachable, header.ICMPv4(answer.Payload()).Code())
				}
				assert.EqualValues(t, 1, w.Stats().Denied)
				assert.Contains(t, w.lines.text(), fmt.Sprintf("network: %s to %s is refused: no rule allows it, as allow=", protocol, destination(to)))
			})
		}
	}
}

// deniedWire is a network whose host must not be asked for anything.
func deniedWire(t *testing.T, rule string) *wire {
	var c Config
	if rule != "" {
		c.Allow = rules(t, rule)
	}
	h := testHost()
	h.dial = func(_ context.Context, network, address string) (net.Conn, error) {
		t.Errorf("%s %s is dialled", network, address)
		return nil, errors.New("no")
	}
	return startWire(t, c, h)
}

// TestIndependentGuestIsDenied: lneto fails to connect.
func TestIndependentGuestIsDenied(t *testing.T) {
	t.Parallel()
	port := echo(t, "tcp")
	g := startGuest(t, Config{}, testHost())
	g.lease(t)
	_, err := g.dial("tcp", "192.0.2.10:"+port)
	require.Error(t, err)
	assert.NotZero(t, g.Stats().Denied)
	assert.Zero(t, g.Stats().Connections)
}

// TestGuestIsAnsweredAfterTheOutside: no connection stands before the one of the host does.
func TestGuestIsAnsweredAfterTheOutside(t *testing.T) {
	h, asked, release := testHost(), make(chan bool), make(chan bool)
	dial := h.dial
	h.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked <- true
		<-release
		return dial(ctx, network, address)
	}
	to := port(echo(t, "tcp"))
	w := startWire(t, Config{Allow: rules(t, "*:*")}, h)
	require.NoError(t, w.port.Send(segment(50000, outside, to, flagSYN)))
	<-asked
	require.NoError(t, w.port.Send(segment(50000, outside, to, flagSYN))) // again: still nobody answers
	require.NoError(t, w.port.Send(ping(Gateway)))
	require.EqualValues(t, header.ICMPv4ProtocolNumber, w.packet(t).Protocol(), "the gateway's answer is first")
	close(release)
	answer := w.packet(t)
	require.EqualValues(t, header.TCPProtocolNumber, answer.Protocol())
	assert.Equal(t, flagSYN|flagACK, header.TCP(answer.Payload()).Flags())
}

// TestAllowedButNobodyThere: the guest's connection is reset, as the host's was.
func TestAllowedButNobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := portOf(l.Addr())
	l.Close()
	g := startGuest(t, Config{Allow: rules(t, "192.0.2.10:*")}, testHost())
	g.lease(t)
	_, err = g.dial("tcp", "192.0.2.10:"+port)
	require.Error(t, err)
	assert.EqualValues(t, 1, g.Stats().Failed)
	assert.Zero(t, g.Stats().Connections)
}

// TestNamesOpenTheirAddresses: a rule with a name lets the guest look it up, and reach what it was told, at the rule's ports alone.
func TestNamesOpenTheirAddresses(t *testing.T) {
	t.Parallel()
	port := echo(t, "tcp")
	for _, rule := range []string{"www.example.com:" + port, "*.example.com:" + port} {
		g := startGuest(t, Config{Allow: rules(t, rule)}, testHost())
		g.lease(t)
		found, err := g.stack.StackRetrying(pace).DoLookupIP("www.example.com", 3*time.Second, 5)
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{outside}, found)
		c, err := g.dial("tcp", "192.0.2.10:"+port)
		require.NoError(t, err)
		exchange(t, c, 1000)
		_, err = g.dial("tcp", "192.0.2.10:1")
		assert.Error(t, err)
		assert.EqualValues(t, 1, g.Stats().Names)

		_, err = g.stack.StackRetrying(pace).DoLookupIP("example.org", 3*time.Second, 1)
		assert.Error(t, err)
		assert.NotZero(t, g.Stats().NamesDenied)
		assert.Contains(t, g.lines.text(), `the name "example.org" is refused: no rule has it`)
	}
}

func TestForwardTCP(t *testing.T) {
	g := startGuest(t, Config{Forwards: []Forward{forward(t, "tcp", 80)}}, testHost())
	g.lease(t)
	l := g.listen(t, 80)
	go echoAll(l)
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(g.addresses[0]))
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	exchange(t, c, 128<<10)
	require.NoError(t, c.Close())
	assert.EqualValues(t, 1, g.Stats().Forwarded)
	assert.True(t, g.addresses[0].Addr().IsLoopback())
}

// TestForwardToNobody: who connects is reset, and the log says why.
func TestForwardToNobody(t *testing.T) {
	g := startGuest(t, Config{Forwards: []Forward{forward(t, "tcp", 80)}}, testHost())
	g.lease(t)
	isReset(t, g.addresses[0])
	assert.EqualValues(t, 1, g.Stats().Failed)
	assert.Contains(t, g.lines.text(), "the guest's port 80: connection was refused")
}

// isReset connects to a forward, which resets the connection.
func isReset(t *testing.T, to netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err == nil {
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = c.Read(make([]byte, 1))
	}
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

// forward is one of a free port of the host.
func forward(t *testing.T, protocol string, port uint16) Forward {
	f, err := ParseForward(fmt.Sprintf("%s:1:%d", protocol, port))
	require.NoError(t, err)
	f.Host = netip.AddrPortFrom(f.Host.Addr(), 0)
	return f
}

// TestForwardAtAnAddressAlone: all addresses of IPv4 are none of IPv6, and either may lead elsewhere.
func TestForwardAtAnAddressAlone(t *testing.T) {
	for _, protocol := range []string{"tcp", "udp"} {
		four, err := New(Config{MAC: guestMAC, Forwards: []Forward{{protocol, netip.AddrPortFrom(netip.IPv4Unspecified(), 0), 80}}})
		require.NoError(t, err)
		port := four.addresses[0].Port()
		assert.Equal(t, netip.AddrPortFrom(netip.IPv4Unspecified(), port), four.addresses[0])
		six, err := New(Config{MAC: guestMAC, Forwards: []Forward{{protocol, netip.AddrPortFrom(netip.IPv6Unspecified(), port), 81}}})
		require.NoError(t, err)
		assert.Equal(t, netip.AddrPortFrom(netip.IPv6Unspecified(), port), six.addresses[0])
		require.NoError(t, four.Close())
		require.NoError(t, six.Close())
	}
}

func TestForwardOfAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f, err := ParseForward("tcp:" + portOf(l.Addr()) + ":80")
	require.NoError(t, err)
	_, err = New(Config{MAC: guestMAC, Forwards: []Forward{f}})
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	assert.ErrorContains(t, err, "forward tcp:127.0.0.1:"+portOf(l.Addr())+":80: ")
}

// TestForwardSaysWhatToDo, for the host's refusals that a user can do something about.
func TestForwardSaysWhatToDo(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.EADDRINUSE:    ": end the other program, or forward another port",
		syscall.EADDRNOTAVAIL: ": want an address of this host",
		syscall.EACCES:        ": want a port that is not for root alone, as one from 1024 on",
		syscall.EMFILE:        "",
	} {
		assert.Equal(t, want, advice(&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", errno)}))
	}
}

func TestUDP(t *testing.T) {
	port := echo(t, "udp")
	g := startGuest(t, Config{Allow: rules(t, "192.0.2.10:"+port)}, testHost())
	g.lease(t)
	c, err := g.dial("udp", "192.0.2.10:"+port)
	require.NoError(t, err)
	buffer := make([]byte, 2000)
	for _, size := range []int{1, 100, 1472} { // of an Ethernet frame the most
		sent := bytes.Repeat([]byte{byte(size)}, size)
		_, err := c.Write(sent)
		require.NoError(t, err)
		n, err := c.Read(buffer)
		require.NoError(t, err)
		assert.Equal(t, sent, buffer[:n])
	}
	assert.EqualValues(t, 1, g.Stats().Flows, "one flow, however many datagrams")
}

// TestFlowsEnd: a flow without datagrams is forgotten.
func TestFlowsEnd(t *testing.T) {
	port := echo(t, "udp")
	g := startGuest(t, Config{Allow: rules(t, "192.0.2.10:"+port), Forwards: []Forward{forward(t, "udp", 7)}}, testHost())
	g.idle = time.Millisecond
	g.lease(t)
	c, err := g.dial("udp", "192.0.2.10:"+port)
	require.NoError(t, err)
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	h, err := net.Dial("udp", g.addresses[0].String())
	require.NoError(t, err)
	defer h.Close()
	_, err = h.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return g.Stats().Flows == 1 && g.Stats().Forwarded == 1 }, patience, time.Millisecond)
	assert.Eventually(t, func() bool { return len(g.flows) == 0 }, patience, time.Millisecond)
}

func TestForwardUDP(t *testing.T) {
	g := startGuest(t, Config{Forwards: []Forward{forward(t, "udp", 7)}}, testHost())
	g.lease(t)
	s := g.listenUDP(t, 7)
	go func() {
		buffer := make([]byte, 2000)
		for {
			n, from, err := s.ReadFrom(buffer)
			if err != nil {
				return
			}
			s.WriteTo(buffer[:n], from)
		}
	}()
	for i := range 3 { // each from a port of its own
		c, err := net.Dial("udp", g.addresses[0].String())
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		for range 3 {
			sent := []byte(fmt.Sprintf("datagram of %d", i))
			_, err = c.Write(sent)
			require.NoError(t, err)
			got := make([]byte, 100)
			n, err := c.Read(got)
			require.NoError(t, err)
			assert.Equal(t, sent, got[:n])
		}
	}
	assert.EqualValues(t, 3, g.Stats().Forwarded)
	assert.Len(t, g.flows, 3)
}

// TestForwardUDPOutlivesFailures: a port of the host whose socket fails for a while serves again afterwards.
func TestForwardUDPOutlivesFailures(t *testing.T) {
	g := startGuest(t, Config{Forwards: []Forward{forward(t, "udp", 7)}}, testHost())
	g.lease(t)
	s := g.listenUDP(t, 7)
	var socket *net.UDPConn
	for _, l := range g.listeners {
		if c, ok := l.(*net.UDPConn); ok {
			socket = c
		}
	}
	require.NoError(t, socket.SetReadDeadline(time.Now())) // a failure that can be made
	require.Eventually(t, func() bool { return g.Stats().Failed > 0 }, patience, time.Millisecond)
	require.NoError(t, socket.SetReadDeadline(time.Time{}))
	c, err := net.Dial("udp", g.addresses[0].String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("again"))
	require.NoError(t, err)
	buffer := make([]byte, 100)
	n, _, err := s.ReadFrom(buffer)
	require.NoError(t, err)
	assert.Equal(t, "again", string(buffer[:n]))
}

// TestHalfClose: what one side has sent before it closed arrives, and the other can go on sending.
func TestHalfClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	g := startSecondGuest(t, Config{Allow: rules(t, "192.0.2.10:*")}, testHost())
	c := g.dial(t, netip.AddrPortFrom(outside, port(portOf(l.Addr()))))
	server, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, server.SetDeadline(time.Now().Add(patience)))
	_, err = server.Write([]byte("from the host"))
	require.NoError(t, err)
	require.NoError(t, server.(*net.TCPConn).CloseWrite())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "from the host", string(all))
	_, err = c.Write([]byte("from the guest"))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	all, err = io.ReadAll(server)
	require.NoError(t, err)
	assert.Equal(t, "from the guest", string(all))
	assert.Eventually(t, func() bool { return len(g.connections) == 0 }, patience, time.Millisecond)
}

// TestManyConnections: one after another and side by side, in both directions.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	g := startSecondGuest(t, Config{Allow: rules(t, "*:*"), Forwards: []Forward{forward(t, "tcp", 80)}}, testHost())
	go echoAll(g.listen(t, 80))
	to := netip.AddrPortFrom(outside, port(echo(t, "tcp")))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				c := g.dial(t, to)
				exchange(t, c, 50<<10)
				c.Close()
				f, err := net.Dial("tcp", g.addresses[0].String())
				if assert.NoError(t, err) {
					exchange(t, f, 50<<10)
					f.Close()
				}
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 40, g.Stats().Connections)
	assert.EqualValues(t, 40, g.Stats().Forwarded)
	assert.Eventually(t, func() bool { return len(g.connections) == 0 }, patience, time.Millisecond)
}

// TestBulk: much data at full speed, both ways at once.
func TestBulk(t *testing.T) {
	t.Parallel()
	size := 32 << 20
	if testing.Short() {
		size = 4 << 20
	}
	g := startSecondGuest(t, Config{Allow: rules(t, "*:*")}, testHost())
	began := time.Now()
	exchange(t, g.dial(t, netip.AddrPortFrom(outside, port(echo(t, "tcp")))), size)
	t.Logf("%d MiB there and back in %s; %+v", size>>20, time.Since(began), g.port.Stats())
}

// TestConnectionsAreBounded: a guest that asks for ever more connections has a bounded number, and is refused the others.
func TestConnectionsAreBounded(t *testing.T) {
	h := testHost()
	var now, most atomic.Int64
	h.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	w := startWire(t, Config{Allow: rules(t, "*:*")}, h)
	for i := range 1000 {
		w.send(t, segment(uint16(1000+i), outside, 80, flagSYN))
	}
	require.Eventually(t, func() bool { return now.Load() == maxHalfOpen }, patience, time.Millisecond)
	w.echo(t) // all were seen
	assert.EqualValues(t, maxHalfOpen, most.Load())
	assert.LessOrEqual(t, len(w.connections), maxHalfOpen)
}

// TestConnectionsAreFull: as many connections as there may be are held, and the next is reset; one that ends makes room.
func TestConnectionsAreFull(t *testing.T) {
	g := startSecondGuest(t, Config{Allow: rules(t, "*:*"), Forwards: []Forward{forward(t, "tcp", 80)}}, testHost())
	to := netip.AddrPortFrom(outside, port(echo(t, "tcp")))
	var held []net.Conn
	for range maxConnections {
		held = append(held, g.dial(t, to))
	}
	_, err := g.tryDial(to)
	require.ErrorContains(t, err, "connection was refused")
	isReset(t, g.addresses[0])
	assert.EqualValues(t, 2, g.Stats().Full)
	held[0].Close()
	require.Eventually(t, func() bool { return len(g.connections) < maxConnections }, patience, time.Millisecond)
	exchange(t, g.dial(t, to), 100)
}

// TestFlowsAreBounded: likewise for datagrams, in both directions together.
func TestFlowsAreBounded(t *testing.T) {
	to := port(echo(t, "udp"))
	w := startWire(t, Config{Allow: rules(t, "*:*"), Forwards: []Forward{forward(t, "udp", 7)}}, testHost())
	for i := range 3 * maxFlows {
		w.send(t, datagram(uint16(1000+i), outside, to, []byte("x")))
	}
	w.echo(t)
	assert.EqualValues(t, maxFlows, w.Stats().Flows)
	assert.EqualValues(t, 2*maxFlows, w.Stats().Full)
	c, err := net.Dial("udp", w.addresses[0].String())
	require.NoError(t, err)
	defer c.Close()
	c.Write([]byte("x"))
	assert.Eventually(t, func() bool { return w.Stats().Full == 2*maxFlows+1 }, patience, time.Millisecond)
}

// TestLookupsAreBounded: names that nobody answers for occupy few goroutines.
func TestLookupsAreBounded(t *testing.T) {
	h := testHost()
	var now atomic.Int64
	h.lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) {
		now.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	w := startWire(t, Config{Allow: rules(t, "*:*")}, h)
	for i := range 3 * maxLookups {
		w.send(t, datagram(uint16(1000+i), Resolver, dnsPort, query(t, "example.com.", dnsmessage.TypeA)))
	}
	require.Eventually(t, func() bool { return w.Stats().Full == 2*maxLookups && now.Load() == maxLookups }, patience, time.Millisecond)
}

// TestGuestThatNeverCloses: a connection whose outside has closed is forgotten, though the guest never answers that.
func TestGuestThatNeverCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	w := startWire(t, Config{Allow: rules(t, "*:*")}, testHost())
	w.ending = time.Millisecond
	to := port(portOf(l.Addr()))
	w.send(t, segment(50000, outside, to, flagSYN))
	synAck := header.TCP(w.packet(t).Payload())
	ack := segmentOf(50000, outside, to, 2, synAck.SequenceNumber()+1, flagACK)
	w.send(t, ack)
	server, err := l.Accept()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return w.Stats().Connections == 1 }, patience, time.Millisecond)
	require.NoError(t, server.(*net.TCPConn).SetLinger(0))
	require.NoError(t, server.Close())
	assert.Eventually(t, func() bool { return len(w.connections) == 0 }, patience, time.Millisecond)
}

// TestCloseEndsAll: connections in every state, flows, lookups and a guest that does not answer leave no goroutine.
func TestCloseEndsAll(t *testing.T) {
	tcpPort, udpPort := echo(t, "tcp"), echo(t, "udp")
	h := testHost()
	dial, waiting := h.dial, make(chan string, 10)
	h.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":9") { // nobody ever answers there
			waiting <- "dial"
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return dial(ctx, network, address)
	}
	h.lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
		waiting <- "lookup"
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g := startGuest(t, Config{Allow: rules(t, "*:*"), Forwards: []Forward{forward(t, "tcp", 80), forward(t, "udp", 7)}}, h)
	g.lease(t)
	go echoAll(g.listen(t, 80))
	for range 3 {
		c, err := g.dial("tcp", "192.0.2.10:"+tcpPort)
		require.NoError(t, err)
		exchange(t, c, 1000)
		u, err := g.dial("udp", "192.0.2.10:"+udpPort)
		require.NoError(t, err)
		u.Write([]byte("x"))
		f, err := net.Dial("tcp", g.addresses[0].String())
		require.NoError(t, err)
		defer f.Close()
		exchange(t, f, 1000)
	}
	in, err := net.Dial("udp", g.addresses[1].String())
	require.NoError(t, err)
	defer in.Close()
	in.Write([]byte("x"))
	go g.dial("tcp", "192.0.2.10:9")
	go g.stack.StackBlocking(pace).DoLookupIP("slow.example.com", time.Second)
	assert.ElementsMatch(t, []string{"dial", "lookup"}, []string{<-waiting, <-waiting})
	require.Eventually(t, func() bool { return g.Stats().Flows == 3 }, patience, time.Millisecond)

	// A guest that begins a handshake and says nothing more: the stack waits for it.
	g.ended.Store(true)
	g.done.Wait()
	_, err = net.Dial("tcp", g.addresses[0].String())
	require.NoError(t, err)
	g.port.Send(segment(50000, outside, port(tcpPort), flagSYN))
	require.Eventually(t, func() bool { return len(g.connections) == 9 }, patience, time.Millisecond, "%d", len(g.connections))

	require.NoError(t, g.port.Close())
	assert.Eventually(t, func() bool { return goroutines() == "" }, patience, 10*time.Millisecond)
	if left := goroutines(); left != "" {
		t.Error(left)
	}
	_, err = net.Dial("tcp", g.addresses[0].String())
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// goroutines are the stacks of those that run code of the network or of gVisor.
func goroutines() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var left []string
	for _, g := range strings.Split(string(all), "\n\n") {
		ours := strings.Contains(g, "gvisor.dev/") || strings.Contains(g, "ethernet/user.(*")
		if ours && !strings.Contains(g, "_test.go") && !strings.Contains(g, "testing.tRunner") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
