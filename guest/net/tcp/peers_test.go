package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	lneto "github.com/soypat/lneto/tcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	gvisortcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

const megabyte = 1 << 20

var (
	ourAddress   = [4]byte{10, 0, 0, 1}
	theirAddress = [4]byte{10, 0, 0, 2}
)

// alone is our end of a connection to a peer that is not ours, as a network with one end.
func alone(p plan, peerBytes int) *network {
	n := &network{random: rand.New(rand.NewPCG(1, 2))}
	e := &end{plan: p, name: "our end", seed: 1, peer: &end{plan: plan{bytes: peerBytes}, seed: 2}}
	e.Init(make([]byte, 32768), make([]byte, 65536))
	n.ends[0] = e
	return n
}

// turn takes segments, lets the program do a step, and gives what is to be sent.
func (n *network) turn(in [][]byte, send func([]byte)) error {
	e := n.ends[0]
	for _, b := range in {
		if err := n.arrive(packet{to: e, bytes: b}); err != nil {
			return err
		}
	}
	if !e.over() {
		if err := n.step(e); err != nil {
			return err
		}
	}
	var s tcp.Segment
	for e.Next(&s, n.scratch[:], n.now) {
		send(encode(&s))
		if err := errors.Join(e.truth(&s), e.Check()); err != nil {
			return err
		}
	}
	return e.Settled()
}

// exchangeOrder is who sends all and closes before the other begins.
var exchangeOrder = []struct {
	name              string
	ourWait, peerWait int // bytes that are read first
}{
	{"both at once", 0, 0},
	{"we close first", 0, megabyte},
	{"the peer closes first", megabyte, 0},
}

// TestGVisor is 1 MB each way with gVisor's netstack, connected and closed by either side, with and without loss. gVisor's clock is
// the machine's; ours is ten times as fast, so that losses cost little.
func TestGVisor(t *testing.T) {
	for _, loss := range []float64{0, 0.02} {
		for _, active := range []bool{true, false} {
			for _, order := range exchangeOrder {
				t.Run(fmt.Sprintf("loss %v, we connect %v, %s", loss, active, order.name), func(t *testing.T) {
					t.Parallel()
					n := alone(plan{bytes: megabyte, pause: 10, closeAt: order.ourWait, passive: !active, mss: 1460}, megabyte)
					withGVisor(t, n, loss, order.peerWait)
				})
			}
		}
	}
}

func withGVisor(t *testing.T, n *network, loss float64, peerWait int) {
	link := channel.New(4096, 1500, "")
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{gvisortcp.NewProtocol},
	})
	defer s.Destroy()
	require.Nil(t, s.CreateNIC(1, link))
	require.Nil(t, s.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(theirAddress).WithPrefix(),
	}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})

	e := n.ends[0]
	peer := make(chan error, 1)
	if e.passive {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c, err := gonet.DialContextTCP(ctx, s, tcpip.FullAddress{Addr: tcpip.AddrFrom4(ourAddress), Port: 80}, ipv4.ProtocolNumber)
			peer <- errors.Join(err, gvisorProgram(c, peerWait))
		}()
	} else {
		l, err := gonet.ListenTCP(s, tcpip.FullAddress{Port: 80}, ipv4.ProtocolNumber)
		require.NoError(t, err)
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				peer <- err
				return
			}
			peer <- gvisorProgram(c.(*gonet.TCPConn), peerWait)
		}()
		e.Connect(40000, 80, 12345, 1460)
	}
	require.NoError(t, carry(n, link, loss))
	select {
	case err := <-peer:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("gVisor's program does not end")
	}
	require.NoError(t, n.result1())
}

// result1 is what our end has seen.
func (n *network) result1() error {
	e := n.ends[0]
	if !e.ended || e.read != e.peer.bytes || e.wrote != e.bytes || e.err != nil || e.Err() != nil {
		return fmt.Errorf("%s: read %d wrote %d: %v, %v", e.State(), e.read, e.wrote, e.err, e.Err())
	}
	return nil
}

// carry carries packets until our end has nothing more to do, and the peer knows.
func carry(n *network, link *channel.Endpoint, loss float64) error {
	e := n.ends[0]
	begun := time.Now()
	random := rand.New(rand.NewPCG(3, 4))
	send := func(b []byte) {
		if random.Float64() >= loss {
			inject(link, b)
		}
	}
	for time.Since(begun) < 2*time.Minute {
		n.now = uint64(time.Since(begun)/time.Microsecond) * 10
		var in [][]byte
		for p := link.Read(); p != nil; p = link.Read() {
			if random.Float64() >= loss {
				ip := header.IPv4(p.ToView().AsSlice())
				in = append(in, ip[ip.HeaderLength():ip.TotalLength()])
			}
			p.DecRef()
		}
		if err := n.turn(in, send); err != nil {
			return err
		}
		if e.over() && (e.State() == tcp.TimeWait || e.State() == tcp.Closed) {
			return nil
		}
		if len(in) == 0 {
			time.Sleep(200 * time.Microsecond) // a poll
		}
	}
	return fmt.Errorf("no end: %s, read %d, wrote %d", e.State(), e.read, e.wrote)
}

// inject puts a segment into an IPv4 packet for gVisor.
func inject(link *channel.Endpoint, segment []byte) {
	b := make([]byte, header.IPv4MinimumSize+len(segment))
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: 6, SrcAddr: tcpip.AddrFrom4(ourAddress), DstAddr: tcpip.AddrFrom4(theirAddress),
	})
	sum := checksum.Finish(checksum.Add(0, b[:header.IPv4MinimumSize]))
	b[10], b[11] = byte(sum>>8), byte(sum)
	copy(b[header.IPv4MinimumSize:], segment)
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	link.InjectInbound(ipv4.ProtocolNumber, p)
	p.DecRef()
}

// gvisorProgram reads and writes a megabyte, and begins to write when it has read so much.
func gvisorProgram(c *gonet.TCPConn, wait int) error {
	if c == nil {
		return errors.New("no connection")
	}
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	may := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		<-may
		b := make([]byte, megabyte)
		for i := range b {
			b[i] = pattern(2, i)
		}
		_, err := c.Write(b)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	if wait == 0 {
		close(may)
	}
	got, err := io.ReadAll(c)
	if wait != 0 {
		close(may)
	}
	for i, b := range got {
		if b != pattern(1, i) {
			return fmt.Errorf("byte %d is wrong", i)
		}
	}
	if len(got) != megabyte {
		err = errors.Join(err, fmt.Errorf("gVisor read %d bytes", len(got)))
	}
	return errors.Join(err, <-wrote)
}

// TestGVisorResets: a port where nobody listens, and a reset in the middle.
func TestGVisorResets(t *testing.T) {
	link := channel.New(64, 1500, "")
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{gvisortcp.NewProtocol},
	})
	defer s.Destroy()
	require.Nil(t, s.CreateNIC(1, link))
	require.Nil(t, s.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(theirAddress).WithPrefix(),
	}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})

	n := alone(plan{bytes: 10, mss: 1460}, 10)
	e := n.ends[0]
	e.Connect(40000, 81, 1, 1460)
	pump(t, n, link, func() bool { return e.State() == tcp.Closed })
	assert.Equal(t, tcp.ErrRefused, e.Err())

	l, err := gonet.ListenTCP(s, tcpip.FullAddress{Port: 80}, ipv4.ProtocolNumber)
	require.NoError(t, err)
	defer l.Close()
	n = alone(plan{bytes: 10, mss: 1460, closeAt: 1}, 10)
	e = n.ends[0]
	e.Connect(40001, 80, 1, 1460)
	pump(t, n, link, func() bool { return e.State() == tcp.Established })
	c, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	e.Abort()
	pump(t, n, link, e.Done)
	_, err = c.Read(make([]byte, 1))
	var operation *net.OpError
	require.ErrorAs(t, err, &operation)
	assert.ErrorContains(t, err, "reset")
}

// pump carries packets until something is so.
func pump(t *testing.T, n *network, link *channel.Endpoint, until func() bool) {
	t.Helper()
	for begun := time.Now(); !until(); {
		require.Less(t, time.Since(begun), time.Minute, n.ends[0].State())
		n.now = uint64(time.Since(begun) / time.Microsecond)
		var in [][]byte
		for p := link.Read(); p != nil; p = link.Read() {
			ip := header.IPv4(p.ToView().AsSlice())
			in = append(in, ip[ip.HeaderLength():ip.TotalLength()])
			p.DecRef()
		}
		require.NoError(t, n.turn(in, func(b []byte) { inject(link, b) }))
		time.Sleep(100 * time.Microsecond) // a poll
	}
}

// neverCloses is more than is ever read.
const neverCloses = 2 * megabyte

// lnetoEnd is lneto's TCP at the other end, with its retransmission timer and the clock of the test.
type lnetoEnd struct {
	lneto.Handler
	rto         lneto.RTO
	read, wrote int
	bytes       int // that it writes
	wait        int // it closes when it has read so much
	closed      bool
	ended       bool
}

// step lets its program read, write and close.
func (l *lnetoEnd) step() error {
	var b [4096]byte
	if l.State() < lneto.StateEstablished {
		return nil
	}
	n, err := l.Read(b[:])
	for _, v := range b[:n] {
		if v != pattern(1, l.read) {
			return fmt.Errorf("byte %d is wrong", l.read)
		}
		l.read++
	}
	l.ended = l.ended || err != nil
	if n := min(len(b), l.bytes-l.wrote, l.FreeOutput()); n > 0 && l.State().TxDataOpen() {
		for i := range b[:n] {
			b[i] = pattern(2, l.wrote+i)
		}
		if _, err := l.Write(b[:n]); err != nil {
			return err
		}
		l.wrote += n
	}
	if l.wrote == l.bytes && l.read >= l.wait && l.FreeOutput() == l.SizeOutput() && !l.closed {
		l.closed = true
		return l.Close()
	}
	return nil
}

// TestLneto is 1 MB with lneto, connected and closed by either side, in simulated time: both ways at once without loss, and one way
// with it. lneto 0.3.2 bounds what can be tried. It closes its side by itself when the other is closed and nothing is unsent. An acknowledgment out
// of order it drops, and so ends a connection that is lossy and busy both ways. What came out of order it gives to its program with wrong
// bytes if the buffer was empty in between: so what it receives is lost in outages, not singly.
func TestLneto(t *testing.T) {
	for _, tt := range []struct {
		name         string
		loss         float64
		ours, theirs int
	}{
		{"both ways", 0, megabyte, megabyte},
		{"to us with loss", 0.02, 0, megabyte},
		{"to lneto with outages", 0.02, megabyte, 0},
	} {
		for _, active := range []bool{true, false} {
			for _, weFirst := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, we connect %v, we close first %v", tt.name, active, weFirst), func(t *testing.T) {
					n := alone(plan{bytes: tt.ours, pause: 10, passive: !active, mss: 1460}, tt.theirs)
					l := &lnetoEnd{bytes: tt.theirs}
					if weFirst {
						n.ends[0].finAt = tt.theirs
						l.wait = neverCloses
					} else {
						n.ends[0].finAt = neverCloses // but at the peer's end
						l.wait = tt.ours
					}
					require.NoError(t, withLneto(t, n, l, tt.loss))
				})
			}
		}
	}
}

func withLneto(t *testing.T, n *network, l *lnetoEnd, loss float64) error {
	require.NoError(t, l.SetBuffers(make([]byte, 32768), make([]byte, 32768), 64))
	l.rto.Reset()
	l.SetLossRecovery(&l.rto, func() int64 { return int64(n.now) * 1000 })
	if !n.ends[0].passive {
		require.NoError(t, l.OpenListen(80, 777))
		n.ends[0].Connect(40000, 80, 12345, 1460)
	} else {
		require.NoError(t, l.OpenActive(40000, 80, 777))
	}
	return n.meet(l, loss)
}

// meet carries segments between our end and lneto, five milliseconds each way. What opens and closes is not lost, as lneto's timer is
// for data before FIN alone.
func (n *network) meet(l *lnetoEnd, loss float64) error {
	var ours, theirs [][][]byte
	e := n.ends[0]
	outage := uint64(0)
	for range 5 {
		ours, theirs = append(ours, nil), append(theirs, nil)
	}
	for n.now = 1000; n.now < 3600e6; n.now += 1000 {
		var sent, answered [][]byte
		lost := func(b []byte) bool {
			return len(b) > 100 && n.random.Float64() < loss
		}
		if n.random.Float64() < loss/20 {
			outage = n.now + 100_000
		}
		if err := n.turn(theirs[0], func(b []byte) {
			if n.now >= outage || len(b) < 100 {
				sent = append(sent, b)
			}
		}); err != nil {
			return err
		}
		for _, b := range append(ours[0], nil) {
			if b != nil {
				_ = l.Recv(b) // what it drops is its affair
			}
			if err := l.step(); err != nil {
				return fmt.Errorf("lneto, %s, read %d wrote %d: %w", l.State(), l.read, l.wrote, err)
			}
			answered = l.answer(answered, lost)
		}
		ours, theirs = append(ours[1:], sent), append(theirs[1:], answered)
		if e.over() && e.Done() && l.read == e.bytes {
			return n.result1()
		}
	}
	return fmt.Errorf("no end: we are in %s, read %d, wrote %d; lneto is in %s, read %d, wrote %d", e.State(), e.read, e.wrote, l.State(), l.read, l.wrote)
}

// answer is what lneto sends, with the checksum that it leaves to others.
func (l *lnetoEnd) answer(to [][]byte, lost func([]byte) bool) [][]byte {
	for {
		b := make([]byte, 1480)
		n, err := l.Send(b)
		if err != nil || n == 0 {
			return to
		}
		b = b[:n]
		b[16], b[17] = 0, 0
		sum := checksum.Finish(checksum.Add(pseudo(n), b))
		b[16], b[17] = byte(sum>>8), byte(sum)
		if !lost(b) {
			to = append(to, b)
		}
	}
}
