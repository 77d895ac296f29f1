package user

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/soypat/lneto"
	"github.com/soypat/lneto/x/xnet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/ethernet"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

var guestMAC = ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// A wire is a started network with the port of the guest's device, without a guest.
type wire struct {
	*Network
	port  *ethernet.Port
	ready chan struct{}
	lines lines
}

// lines are what was logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

// startWire makes the network of a configuration and a host, and closes it with the test.
func startWire(t *testing.T, c Config, h host) *wire {
	w := &wire{ready: make(chan struct{}, 1)}
	c.MAC = guestMAC
	c.Log = w.lines.log(t)
	n, err := newNetwork(c, h)
	require.NoError(t, err)
	w.Network, w.port = n, ethernet.NewPort(guestMAC, n, nil, t.Logf)
	w.port.Start(func() {
		select {
		case w.ready <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() { assert.NoError(t, w.port.Close()) })
	return w
}

// A guest is an independent TCP/IP, lneto, at the guest's end of a wire.
type guest struct {
	*wire
	stack xnet.StackAsync
	ended atomic.Bool
	done  sync.WaitGroup
}

// pace is how often lneto, which has no timers and tells nobody that it has a frame, is asked for one.
func pace(uint) time.Duration { return time.Millisecond }

// startGuest boots a guest that has no address yet.
func startGuest(t *testing.T, c Config, h host) *guest {
	g := &guest{wire: startWire(t, c, h)}
	require.NoError(t, g.stack.Reset(xnet.StackConfig{
		Hostname: "guest1", HardwareAddress: guestMAC, RandSeed: 1,
		MaxActiveTCPPorts: 32, MaxActiveUDPPorts: 32, ICMPQueueLimit: 4, MTU: ethernet.MTU, AcceptIPv4Broadcast: true,
	}))
	require.NoError(t, g.stack.EnableICMP(true))
	g.done.Go(g.run)
	t.Cleanup(func() { g.ended.Store(true); g.done.Wait() })
	return g
}

// run carries frames between lneto and the port.
func (g *guest) run() {
	tick := time.NewTicker(pace(0))
	defer tick.Stop()
	var in [ethernet.MaxFrame]byte
	out := make([]byte, ethernet.MaxFrame+64)
	for !g.ended.Load() {
		for {
			n := g.port.Receive(&in)
			if n == 0 {
				break
			}
			g.stack.IngressEthernet(in[:n]) // what it drops is its affair
			g.send(out)
		}
		g.send(out)
		select {
		case <-g.ready:
		case <-tick.C:
		}
	}
}

// send sends what lneto has.
func (g *guest) send(buffer []byte) {
	for {
		n, err := g.stack.EgressEthernet(buffer)
		if err != nil || n == 0 {
			return
		}
		g.port.Send(buffer[:n])
	}
}

// lease gets an address as a guest does, and uses it.
func (g *guest) lease(t *testing.T) *xnet.DHCPResults {
	t.Helper()
	lease, err := g.stack.StackRetrying(pace).DoDHCPv4([4]byte{}, 3*time.Second, 5)
	require.NoError(t, err)
	require.NoError(t, g.stack.AssimilateDHCPResults(lease))
	g.stack.SetGatewayHardwareAddr(gatewayMAC)
	return lease
}

// sockets are lneto's, with deadlines.
func (g *guest) sockets() xnet.StackGo {
	return g.stack.StackGo(pace, xnet.StackGoConfig{
		ListenerPoolConfig: xnet.TCPPoolConfig{
			PoolSize: 8, QueueSize: 8, TxBufSize: 16 << 10, RxBufSize: 16 << 10,
			EstablishedTimeout: patience, ClosingTimeout: patience,
			NewBackoff: func() lneto.BackoffStrategy { return pace },
		},
		TCPDialTimeout: 10 * time.Second,
	})
}

// dial connects from the guest.
func (g *guest) dial(network, address string) (net.Conn, error) {
	kind := syscall.SOCK_STREAM
	if network == "udp" {
		kind = syscall.SOCK_DGRAM
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := g.sockets().SocketNetip(ctx, network, syscall.AF_INET, kind, netip.AddrPort{}, netip.MustParseAddrPort(address))
	if err != nil {
		return nil, err
	}
	if failure, failed := c.(error); failed { // lneto has results and errors the wrong way round in one place
		return nil, failure
	}
	conn := c.(net.Conn)
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// log keeps lines and shows them with the test.
func (l *lines) log(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, fmt.Sprintf(format, args...))
		t.Logf(format, args...)
	}
}

// rules parses rules.
func rules(t *testing.T, texts ...string) []Rule {
	t.Helper()
	var list []Rule
	for _, text := range texts {
		r, err := ParseRule(text)
		require.NoError(t, err)
		list = append(list, r)
	}
	return list
}

// text is all that was logged.
func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// listen accepts connections to a port of the guest.
func (g *guest) listen(t *testing.T, port uint16) net.Listener {
	t.Helper()
	l, err := g.sockets().SocketNetip(context.Background(), "tcp", syscall.AF_INET, syscall.SOCK_STREAM, netip.AddrPortFrom(Guest, port), netip.AddrPort{})
	require.NoError(t, err)
	t.Cleanup(func() { l.(net.Listener).Close() })
	return l.(net.Listener)
}

// listenUDP opens a port of the guest.
func (g *guest) listenUDP(t *testing.T, port uint16) net.PacketConn {
	t.Helper()
	c, err := g.sockets().SocketNetip(context.Background(), "udp", syscall.AF_INET, syscall.SOCK_DGRAM, netip.AddrPortFrom(Guest, port), netip.AddrPort{})
	require.NoError(t, err)
	t.Cleanup(func() { c.(net.PacketConn).Close() })
	return c.(net.PacketConn)
}
