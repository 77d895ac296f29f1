package tcp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/tcp"
)

// lives bring a connection into each state, with ISS 100, a peer with ISS 500, and data both ways.
var lives = []struct {
	state tcp.State
	make  func(c *tcp.Conn, x *victim)
}{
	{tcp.Closed, func(c *tcp.Conn, x *victim) {}},
	{tcp.SynSent, func(c *tcp.Conn, x *victim) { c.Connect(1, 2, 100, 1000); x.drain() }},
	{tcp.SynReceived, func(c *tcp.Conn, x *victim) { x.accept() }},
	{tcp.Established, func(c *tcp.Conn, x *victim) { x.establish() }},
	{tcp.FinWait1, func(c *tcp.Conn, x *victim) { x.establish(); c.Close(); x.drain() }},
	{tcp.FinWait2, func(c *tcp.Conn, x *victim) { x.establish(); x.finWait2() }},
	{tcp.CloseWait, func(c *tcp.Conn, x *victim) { x.establish(); x.in(tcp.FIN|tcp.ACK, 501, 101) }},
	{tcp.LastAck, func(c *tcp.Conn, x *victim) { x.establish(); x.in(tcp.FIN|tcp.ACK, 501, 101); c.Close(); x.drain() }},
	{tcp.Closing, func(c *tcp.Conn, x *victim) { x.establish(); c.Close(); x.drain(); x.in(tcp.FIN|tcp.ACK, 501, 101) }},
	{tcp.TimeWait, func(c *tcp.Conn, x *victim) { x.establish(); x.finWait2(); x.in(tcp.FIN|tcp.ACK, 501, 112) }},
}

// victim is a connection that anything is sent to.
type victim struct {
	t    testing.TB
	conn tcp.Conn
	now  uint64
	buf  [1500]byte
	last tcp.Segment // that it sent
}

func newVictim(t testing.TB, life int) *victim {
	x := &victim{t: t, now: 1e6}
	x.conn.Init(make([]byte, 256), make([]byte, 128))
	lives[life].make(&x.conn, x)
	require.Equal(t, lives[life].state, x.conn.State())
	return x
}

func (x *victim) accept() {
	x.conn.Accept(&tcp.Segment{Source: 2, Destination: 1, Sequence: 500, Window: 1000, MSS: 500, Flags: tcp.SYN}, 100, 1000)
	x.drain()
}

func (x *victim) establish() {
	x.accept()
	x.in(tcp.ACK, 501, 101)
	_, _ = x.conn.Write([]byte("ten bytes."))
	x.drain()
}

func (x *victim) finWait2() { x.conn.Close(); x.drain(); x.in(tcp.ACK, 501, 112) }

func (x *victim) in(f tcp.Flags, sequence, acknowledgment uint32) {
	x.receive(&tcp.Segment{Source: 2, Destination: 1, Flags: f, Sequence: sequence, Acknowledgment: acknowledgment, Window: 1000})
}

func (x *victim) receive(s *tcp.Segment) {
	x.conn.Receive(s, x.now)
	if err := x.conn.Check(); err != nil {
		x.t.Fatalf("after %s: %v", describe(s), err)
	}
	x.drain()
}

// drain takes all that is sent: not more than the buffer can hold, and some acknowledgments.
func (x *victim) drain() {
	for i := 0; x.conn.Next(&x.last, x.buf[:], x.now); i++ {
		if err := errors.Join(x.conn.Check(), x.conn.Sent(&x.last)); err != nil {
			x.t.Fatal(err)
		}
		if i > 300 {
			x.t.Fatal("it sends without end")
		}
	}
	if err := x.conn.Settled(); err != nil {
		x.t.Fatal(err)
	}
}

// attack is one step of five bytes: a segment near what the connection expects, a call, or time.
func (x *victim) attack(b [5]byte) {
	switch b[0] & 15 {
	case 0:
		_, _ = x.conn.Write(x.buf[:b[1]])
	case 1:
		_, _ = x.conn.Read(x.buf[:b[1]])
	case 2:
		x.now += uint64(b[1]) << (b[2] % 20)
	case 3:
		if at, any := x.conn.Deadline(); any {
			x.now = max(at, x.now)
		}
	case 4:
		x.rarely(b)
	default:
		data := x.buf[:b[4]&0x7f]
		s := &tcp.Segment{
			Source: 2, Destination: 1, Flags: tcp.Flags(b[1]) & 0x3f, Window: uint16(b[4]) << (b[0] >> 5),
			Sequence: x.conn.ReadSequence() + uint32(int8(b[2])), Acknowledgment: x.conn.FirstSequence() + uint32(int8(b[3])), MSS: uint16(b[3]), Data: data,
		}
		if b[0]&16 != 0 { // what a peer sends most
			s.Flags = tcp.ACK | s.Flags&tcp.FIN
		}
		x.receive(s)
	}
	if err := x.conn.Check(); err != nil {
		x.t.Fatalf("after %x: %v", b, err)
	}
	x.drain()
}

func (x *victim) rarely(b [5]byte) {
	switch b[1] {
	case 0:
		x.conn.Close()
	case 1:
		x.conn.Abort()
	case 2:
		x.conn.Release(x.now)
	case 3:
		x.conn.SetNoDelay(b[2]&1 != 0)
	}
}

// TestAnythingInEachState sends random segments to a connection in each state.
func TestAnythingInEachState(t *testing.T) {
	for life, l := range lives {
		t.Run(l.state.String(), func(t *testing.T) {
			for seed := range uint64(500) {
				r := rand.New(rand.NewPCG(seed, uint64(life)))
				x := newVictim(t, life)
				for range 200 {
					var b [5]byte
					for i := range b {
						b[i] = byte(r.Uint32())
					}
					x.attack(b)
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func FuzzSegments(f *testing.F) {
	for life := range lives {
		f.Add(uint8(life), []byte{0x15, 0x10, 0, 0, 9, 0x15, 0x11, 9, 10, 1, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, life uint8, steps []byte) {
		x := newVictim(t, int(life)%len(lives))
		for len(steps) >= 5 && len(steps) < 5000 {
			x.attack([5]byte(steps[:5]))
			steps = steps[5:]
		}
	})
}

// FuzzTwo lets bytes decide what two ends do and what the network does to each packet. What arrives is right; and once the network is
// fair, both ends end.
func FuzzTwo(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Add([]byte{0x84, 0x84, 0, 0x40, 0, 0x40, 9, 9, 9, 0x80, 0x80, 0xc0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) < 4 || len(steps) > 2000 {
			return
		}
		a := plan{bytes: int(steps[0]) * 8, bufferTx: 1 << (steps[1] & 7), bufferRx: 1 << (steps[1] >> 4 & 7), mss: 64}
		b := plan{bytes: int(steps[2]) * 8, bufferTx: 1 << (steps[3] & 7), bufferRx: 1 << (steps[3] >> 4 & 7), mss: 100, passive: steps[0]&1 != 0}
		a.careless = steps[0]&2 != 0
		if steps[0]&4 != 0 {
			b.echoes, b.finAt = true, neverCloses
		}
		n := newNetwork(uint64(steps[0]), weather{}, [2]plan{a, b})
		for _, s := range steps[4:] {
			if err := n.fate(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.run(1e6 * 3600 * 1e9); err != nil {
			t.Fatal(err)
		}
		if err := n.result(true); err != nil {
			t.Fatal(err)
		}
	})
}

// fate is one step that a byte decides.
func (n *network) fate(s byte) error {
	e := n.ends[s&1]
	switch {
	case s>>6 == 0: // its program, once
		if e.over() {
			return nil
		}
		if err := n.step(e); err != nil {
			return err
		}
	case s>>6 == 1: // time
		n.now += uint64(s>>1&31) * 50_000
	case len(n.on) > 0: // a packet arrives, is lost, or doubled
		i := int(s>>3&7) % len(n.on)
		p := n.on[i]
		if s&2 != 0 {
			n.on[i] = n.on[len(n.on)-1]
			n.on = n.on[:len(n.on)-1]
		}
		if s&4 != 0 {
			if err := n.arrive(p); err != nil {
				return err
			}
		}
	}
	for _, e := range n.ends {
		if err := n.transmit(e); err != nil {
			return err
		}
	}
	return nil
}

// TestNothingIsAllocated: neither at the start of a connection nor later.
func TestNothingIsAllocated(t *testing.T) {
	var a, b tcp.Conn
	for _, c := range []*tcp.Conn{&a, &b} {
		c.Init(make([]byte, 4096), make([]byte, 4096))
	}
	var buf, in [4096]byte
	var now uint64
	assert.Zero(t, testing.AllocsPerRun(20, func() {
		a.Connect(1, 2, 7, 1460)
		got := false
		for range 100 {
			now += 100_000
			var s tcp.Segment
			for a.Next(&s, buf[:], now) {
				if b.State() == tcp.Closed {
					b.Accept(&s, 9, 1460)
				} else if s.Sequence%7 != 0 || len(s.Data) == 0 { // some are lost
					b.Receive(&s, now)
				}
			}
			for b.Next(&s, buf[:], now) {
				a.Receive(&s, now)
			}
			_, _ = a.Write(in[:700])
			_, err := b.Read(in[:])
			got = got || err == nil && b.State() == tcp.Established
		}
		a.Abort()
		b.Abort()
		var s tcp.Segment
		for a.Next(&s, buf[:], now) || b.Next(&s, buf[:], now) {
		}
		if !got {
			panic(fmt.Sprint("no connection: ", a.State(), b.State()))
		}
	}))
}
