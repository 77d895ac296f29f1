package tcp_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net/checksum"
	"kapsel/guest/net/tcp"
)

// weather is what a network does to each packet, each with its probability.
type weather struct{ loss, duplication, reordering, corruption float64 }

func evenly(p float64) weather { return weather{p, p, p, p} }

// pseudo is the sum of the pseudo header of the tests' segments.
func pseudo(length int) uint32 {
	return checksum.Pseudo(ourAddress, theirAddress, 6, length)
}

// A packet is on its way.
type packet struct {
	at    uint64
	order int
	to    *end
	bytes []byte
}

type packets []packet

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	return p[i].at < p[j].at || p[i].at == p[j].at && p[i].order < p[j].order
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// A plan is what the program at an end does.
type plan struct {
	bytes    int     // it writes so many and then closes
	pause    uint64  // the longest time between two steps
	closeAt  int     // it does not begin to write until it has read so many bytes: a half-closed peer is answered
	finAt    int     // it does not close until it has read so many, or all
	lazy     float64 // with this probability a step does nothing
	passive  bool
	echoes   bool // it sends back what it reads, and reads no more than it can write
	careless bool // it breaks rules of TCP, as gVisor does (meddle)
	bufferTx int
	bufferRx int
	mss      uint16
	noDelay  bool
}

// end is a connection with its program.
type end struct {
	tcp.Conn
	plan
	peer          *end
	name          string
	wrote, read   int
	wake          uint64
	waiting       bool // its program can do nothing until something arrives or a timer expires
	closed, ended bool // it has closed; it has read EOF
	gone          bool // or found the connection closed
	err           error
	seed          byte
	sent          int // segments
}

// network connects two ends, with a clock.
type network struct {
	weather
	random  *rand.Rand
	now     uint64
	delay   uint64
	order   int
	on      packets
	ends    [2]*end
	log     func(string, ...any)
	scratch [5000]byte
}

func pattern(seed byte, i int) byte { return seed + byte(i) + byte(i>>8)*7 + byte(i>>16)*13 }

// newNetwork makes two ends with plans.
func newNetwork(seed uint64, w weather, plans [2]plan) *network {
	n := &network{weather: w, random: rand.New(rand.NewPCG(seed, 17)), delay: 1000 + seed%7*9000, now: seed % 3 * 1e15}
	for i := range n.ends {
		e := &end{plan: plans[i], name: string(rune('A' + i)), seed: byte(seed) + byte(i)*101}
		e.Init(make([]byte, e.bufferTx), make([]byte, e.bufferRx))
		e.SetNoDelay(e.noDelay)
		n.ends[i] = e
	}
	n.ends[0].peer, n.ends[1].peer = n.ends[1], n.ends[0]
	for _, e := range n.ends {
		if e.echoes {
			e.seed, e.bytes = e.peer.seed, e.peer.bytes
		}
		if !e.passive {
			e.Connect(1, 2, n.random.Uint32(), e.mss)
		}
	}
	return n
}

// transmit sends what an end has.
func (n *network) transmit(e *end) error {
	var s tcp.Segment
	buf := &n.scratch
	for i := 0; e.Next(&s, buf[:], n.now); i++ {
		if i > 1000 {
			return fmt.Errorf("%s: it sends without end", e.name)
		}
		if n.log != nil {
			n.log("%d %s %s", n.now, e.name, describe(&s))
		}
		e.sent++
		if err := e.truth(&s); err != nil {
			return err
		}
		if e.careless {
			e.meddle(&s)
		}
		n.throw(e.peer, encode(&s))
		if err := e.Check(); err != nil {
			return fmt.Errorf("%s after Next: %w", e.name, err)
		}
	}
	if err := e.Settled(); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

// meddle makes what a careless end sends: acknowledgments from behind all that was ever sent, whatever the window is by now, and as probe
// of a closed window a byte that was acknowledged. In arrive it takes the window of any segment, even of one that others have overtaken, and so
// sends beyond the window.
func (e *end) meddle(s *tcp.Segment) {
	switch {
	case s.Flags&(tcp.SYN|tcp.FIN|tcp.RST) != 0:
	case len(s.Data) == 0:
		s.Sequence = e.MaxSequence()
	case len(s.Data) == 1 && e.Probes():
		s.Sequence--
	}
}

// truth says whether the bytes of a segment are those of its sequence numbers.
func (e *end) truth(s *tcp.Segment) error {
	for i, b := range s.Data {
		if at := int(s.Sequence-e.FirstSequence()) + i; b != pattern(e.seed, at) {
			return fmt.Errorf("%s sends %s with a wrong byte at %d", e.name, describe(s), at)
		}
	}
	return nil
}

func encode(s *tcp.Segment) []byte {
	b := make([]byte, s.Size())
	s.Put(b, pseudo(len(b)))
	return b
}

// throw puts a packet on the network.
func (n *network) throw(to *end, b []byte) {
	for copies := 1; copies > 0; copies-- {
		if n.random.Float64() < n.duplication {
			copies++
		}
		if n.random.Float64() < n.loss {
			continue
		}
		b := append([]byte(nil), b...)
		if n.random.Float64() < n.corruption {
			b[n.random.IntN(len(b))] ^= byte(1 + n.random.IntN(255))
		}
		late := uint64(0)
		if n.random.Float64() < n.reordering {
			late = n.random.Uint64N(4 * n.delay)
		}
		n.order++
		heap.Push(&n.on, packet{n.now + n.delay + late, n.order, to, b})
	}
}

// arrive hands a packet over.
func (n *network) arrive(p packet) error {
	var s tcp.Segment
	if !tcp.Parse(p.bytes, pseudo(len(p.bytes)), &s) {
		return nil
	}
	e := p.to
	e.waiting = false
	if e.State() == tcp.Closed {
		var answer tcp.Segment
		switch {
		case e.passive && e.Err() == nil && !e.closed && s.Flags&(tcp.SYN|tcp.ACK|tcp.RST) == tcp.SYN:
			e.Accept(&s, n.random.Uint32(), e.mss)
			e.SetNoDelay(e.noDelay)
		case tcp.Refuse(&s, &answer):
			n.throw(e.peer, encode(&answer))
		}
	} else {
		e.Receive(&s, n.now)
		if e.careless {
			e.TakeWindow(&s)
		}
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("%s after %s: %w", e.name, describe(&s), err)
	}
	return nil
}

// step is one turn of an end's program.
func (n *network) step(e *end) error {
	e.wake = n.now + 1 + n.random.Uint64N(e.pause+1)
	if n.random.Float64() < e.lazy {
		return nil
	}
	read, wrote := e.read, e.wrote
	if err := n.read(e); err != nil {
		return err
	}
	if e.read >= e.closeAt || e.ended {
		n.write(e)
	}
	e.waiting = e.read == read && e.wrote == wrote
	return e.Check()
}

func (n *network) read(e *end) error {
	buf := &n.scratch
	size := 1 + n.random.IntN(len(buf))
	if e.echoes {
		size = min(size, e.Writable())
	}
	got, err := e.Read(buf[:size])
	for _, b := range buf[:got] {
		if want := pattern(e.peer.seed, e.read); b != want {
			return fmt.Errorf("%s: byte %d is %#x, not %#x", e.name, e.read, b, want)
		}
		e.read++
	}
	e.ended = e.ended || err == tcp.EOF
	e.gone = e.gone || e.closed && err == tcp.ErrClosed
	if err != nil && err != tcp.EOF && err != tcp.ErrClosed {
		e.err = err
	}
	return nil
}

func (n *network) write(e *end) {
	buf := &n.scratch
	size := min(e.bytes-e.wrote, 1+n.random.IntN(len(buf)))
	if e.echoes {
		size = min(e.read-e.wrote, len(buf))
	}
	for i := range buf[:size] {
		buf[i] = pattern(e.seed, e.wrote+i)
	}
	if e.State() == tcp.Closed || e.State() == tcp.SynSent {
		return
	}
	put, err := e.Write(buf[:size])
	e.wrote += put
	if err == nil && e.wrote == e.bytes && !e.closed && (e.read >= e.finAt || e.ended) {
		e.closed = true
		e.Close()
	}
}

// next is when something happens.
func (n *network) next() (at uint64, any bool) {
	if len(n.on) > 0 {
		at, any = n.on[0].at, true
	}
	for _, e := range n.ends {
		if d, ok := e.Deadline(); ok && (!any || d < at) {
			at, any = d, true
		}
		if !e.idle() && (!any || e.wake < at) {
			at, any = e.wake, true
		}
	}
	return max(at, n.now), any
}

// over says that an end's program has nothing more to do.
func (e *end) over() bool {
	return e.err != nil || e.closed && (e.ended || e.gone)
}

// idle says that its program has nothing to do now.
func (e *end) idle() bool { return e.waiting || e.over() }

// expired says that a timer of an end has expired.
func (n *network) expired(e *end) bool {
	at, any := e.Deadline()
	return any && at <= n.now
}

func (n *network) over() bool {
	return n.ends[0].State() == tcp.Closed && n.ends[1].State() == tcp.Closed
}

// run lets time pass until both ends are Closed, or too long.
func (n *network) run(most time.Duration) error {
	begun := n.now
	for {
		for _, e := range n.ends {
			e.waiting = e.waiting && !n.expired(e)
			if n.now >= e.wake && !e.idle() {
				if err := n.step(e); err != nil {
					return err
				}
			}
			if err := n.transmit(e); err != nil {
				return err
			}
		}
		at, any := n.next()
		if !any && n.over() {
			return nil
		}
		if !any && n.ends[0].Err() == nil && n.ends[1].Err() == nil {
			return fmt.Errorf("both ends wait for the other: A %s read %d wrote %d, B %s read %d wrote %d", n.ends[0].State(), n.ends[0].read, n.ends[0].wrote,
				n.ends[1].State(), n.ends[1].read, n.ends[1].wrote)
		}
		if !any { // one end has given up, and its resets were lost: the other's owner loses patience
			for _, e := range n.ends {
				e.closed, e.gone = true, true
				e.Release(n.now)
			}
			continue
		}
		n.now = at
		if n.now-begun > uint64(most/time.Microsecond) {
			return fmt.Errorf("no end after %v: A %s read %d wrote %d, B %s read %d wrote %d", most, n.ends[0].State(), n.ends[0].read, n.ends[0].wrote,
				n.ends[1].State(), n.ends[1].read, n.ends[1].wrote)
		}
		for len(n.on) > 0 && n.on[0].at <= n.now {
			p := heap.Pop(&n.on).(packet)
			if err := n.arrive(p); err != nil {
				return err
			}
			if err := n.transmit(p.to); err != nil {
				return err
			}
		}
	}
}

// result compares what arrived with what was sent. Where the weather is bad, an end may give up.
func (n *network) result(mayGiveUp bool) error {
	for _, e := range n.ends {
		if e.State() != tcp.Closed || !e.Done() {
			return fmt.Errorf("%s ends in %s", e.name, e.State())
		}
		if mayGiveUp && (n.ends[0].err != nil || n.ends[1].err != nil || n.ends[0].Err() != nil || n.ends[1].Err() != nil) {
			continue
		}
		if e.err != nil || e.Err() != nil {
			return fmt.Errorf("%s: read %d of %d: %v, %v", e.name, e.read, e.peer.bytes, e.err, e.Err())
		}
		if !e.ended || e.read != e.peer.bytes {
			return fmt.Errorf("%s: read %d of %d", e.name, e.read, e.peer.bytes)
		}
	}
	return nil
}

func choose[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// randomPlan makes a program of any kind, for up to so many bytes.
func randomPlan(r *rand.Rand, bytes int) plan {
	p := plan{
		bytes: r.IntN(bytes), pause: choose[uint64](r, 10, 1000, 100_000), lazy: choose(r, 0, 0.5, 0.9), noDelay: r.IntN(2) == 0,
		bufferTx: 1 << (4 + r.IntN(13)), bufferRx: 1 << (4 + r.IntN(13)), mss: choose[uint16](r, 64, 536, 1460, 1460),
	}
	if r.IntN(8) == 0 { // nothing flows but by probes and window updates
		p.bufferTx, p.bufferRx, p.bytes = 1<<r.IntN(4), 1<<r.IntN(4), r.IntN(20)
	}
	return p
}

func randomPlans(seed uint64, bytes int) [2]plan {
	r := rand.New(rand.NewPCG(seed, 99))
	plans := [2]plan{randomPlan(r, bytes), randomPlan(r, bytes)}
	small := min(plans[0].bufferRx, plans[1].bufferRx)
	if small < 1024 { // as many round trips as windows
		plans[0].bytes, plans[1].bytes = min(plans[0].bytes, 20*small), min(plans[1].bytes, 20*small)
	}
	plans[1].passive = r.IntN(5) > 0 // else a simultaneous open
	switch r.IntN(6) {
	case 0, 1:
		plans[1].closeAt = plans[0].bytes // B answers on a connection that A has half closed
	case 2:
		plans[1].echoes, plans[1].finAt = true, neverCloses
	}
	plans[0].careless = r.IntN(4) == 0
	return plans
}

// exchange runs one seed. Only a failure is a subtest.
func exchange(t *testing.T, seed uint64, w weather, plans [2]plan, mayGiveUp bool) *network {
	n := newNetwork(seed, w, plans)
	err := n.run(100 * time.Hour)
	if err == nil {
		err = n.result(mayGiveUp)
	}
	if err != nil {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Errorf("%+v, %+v: %v", w, plans, err)
		})
	}
	return n
}

func TestStreamsInAnyWeather(t *testing.T) {
	for _, tt := range []struct {
		name      string
		weather   weather
		seeds     uint64
		mayGiveUp bool
	}{
		{"fair", weather{}, 500, false},
		{"5 percent loss", weather{loss: 0.05}, 500, false},
		{"5 percent duplication", weather{duplication: 0.05}, 500, false},
		{"5 percent reordering", weather{reordering: 0.05}, 500, false},
		{"5 percent corruption", weather{corruption: 0.05}, 500, false},
		{"5 percent of each", evenly(0.05), 1000, false},
		{"15 percent of each", evenly(0.15), 500, true},
		{"30 percent of each", evenly(0.30), 500, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			gaveUp := 0
			for seed := range tt.seeds {
				n := exchange(t, seed, tt.weather, randomPlans(seed, 12_000), tt.mayGiveUp)
				if n.ends[0].Err() != nil || n.ends[1].Err() != nil {
					gaveUp++
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d of %d gave up", gaveUp, tt.seeds)
			assert.Less(t, gaveUp, int(tt.seeds)/4+1)
		})
	}
}

func TestMegabytesBothWays(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weather weather
		bytes   int
		most    time.Duration
	}{
		{"fair", weather{}, 4 << 20, 40 * time.Second},
		{"5 percent of each", evenly(0.05), 2 << 20, 3 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan{bytes: tt.bytes, pause: 100, bufferTx: 32 << 10, bufferRx: 64 << 10, mss: 1460}
			q := p
			q.passive = true
			n := newNetwork(1, tt.weather, [2]plan{p, q})
			began := n.now
			require.NoError(t, n.run(tt.most+tcp.TimeWaitTime*time.Microsecond))
			require.NoError(t, n.result(false))
			t.Logf("%v of simulated time, %d and %d segments", time.Duration(n.now-began)*time.Microsecond, n.ends[0].sent, n.ends[1].sent)
		})
	}
}

// TestPeerThatSendsBeyondTheWindow: what goes to a peer and comes back arrives, though the peer takes windows that others have overtaken,
// and acknowledges from where it has sent to.
func TestPeerThatSendsBeyondTheWindow(t *testing.T) {
	client := plan{bytes: 100_000, pause: 10, careless: true, bufferTx: 64 << 10, bufferRx: 64 << 10, mss: 1460}
	echo := plan{pause: 10, echoes: true, finAt: neverCloses, passive: true, bufferTx: 16 << 10, bufferRx: 16 << 10, mss: 1460}
	for seed := range uint64(500) {
		exchange(t, seed, weather{loss: 0.05, duplication: 0.05, reordering: 0.05}, [2]plan{client, echo}, false)
	}
}
