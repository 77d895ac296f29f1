package virtio_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// portPath is a device with a port in step, and a driver that has opened it.
func portPath(t testing.TB) (*stepped, *portsConnection) {
	for i := range models {
		if models[i].name == "ports" {
			s := newStepped(t, &models[i])
			c := s.connection.(*portsConnection)
			c.a.room = 1 << 30
			for _, event := range []uint16{abi.ConsolePortReady, abi.ConsolePortOpen} {
				s.Put(saidAt, messageOf(1, event, 1))
				s.Queues[abi.ConsoleControlTransmitQueue].Send(abi.Descriptor{Address: saidAt, Length: abi.ConsoleControlBytes})
			}
			return s, c
		}
	}
	return nil, nil
}

// In step a request is served when the write to QueueNotify returns, on the goroutine of the writer, and no goroutine is left.
func TestInStep(t *testing.T) {
	before := runtime.NumGoroutine()
	s, c := portPath(t)
	s.Put(dataAt, []byte("hello"))
	s.Queues[abi.ConsolePortQueues(1)+1].Send(abi.Descriptor{Address: dataAt, Length: 5})
	assert.EqualValues(t, 1, s.Queues[abi.ConsolePortQueues(1)+1].UsedIndex())
	assert.Equal(t, "hello", c.a.take())
	assert.Equal(t, before, runtime.NumGoroutine())
}

// What the host sends waits for Serve, of which the bell tells: from whichever goroutine it comes, nothing is served on that.
func TestInStepWake(t *testing.T) {
	s, c := portPath(t)
	q := s.Queues[abi.ConsolePortQueues(1)]
	q.Send(abi.Descriptor{Address: dataAt, Length: 100, Flags: abi.DescWrite})
	done := make(chan struct{})
	go func() {
		c.a.send("answer")
		close(done)
	}()
	<-done
	assert.NotZero(t, s.rung.Load())
	assert.Zero(t, q.UsedIndex())
	s.m.Serve()
	assert.EqualValues(t, 1, q.UsedIndex())
	assert.Equal(t, "answer", string(s.Memory.Bytes(t, dataAt, 6)))
}

// echo is an end that answers within Offer, as a handler on the processor's thread does.
type echo struct {
	end
	serve func()
}

func (e *echo) Offer(p []byte) int {
	e.send(string(p))
	e.serve()
	return len(p)
}

// An end that wakes the device from within its service, and calls Serve there: that only marks the queue, which is served when the
// service has come to its end. The bell is not rung.
func TestInStepWakeFromWithin(t *testing.T) {
	e, rung := &echo{}, 0
	memory := virtiotest.NewMemory(t, 1<<20)
	m := virtio.NewMMIO(virtio.NewPorts([]virtio.Port{{Name: "a", End: e}}), memory, func() {}, t.Logf, func() { rung++ })
	e.serve = m.Serve
	d := virtiotest.NewDriver(t, memory, m)
	d.StartWith(abi.FeatureEventIndex|abi.ConsoleFeatureMultiport, 6, 8)
	d.Put(saidAt, messageOf(1, abi.ConsolePortOpen, 1))
	d.Queues[abi.ConsoleControlTransmitQueue].Send(abi.Descriptor{Address: saidAt, Length: abi.ConsoleControlBytes})
	d.Queues[4].Send(abi.Descriptor{Address: dataAt, Length: 100, Flags: abi.DescWrite})
	d.Put(dataAt+0x100, []byte("echo"))
	rung = 0
	d.Queues[5].Send(abi.Descriptor{Address: dataAt + 0x100, Length: 4})
	assert.EqualValues(t, 4, d.Queues[4].WaitUsed().Length)
	assert.Equal(t, "echo", string(memory.Bytes(t, dataAt, 4)))
	assert.Zero(t, rung)
	require.NoError(t, m.Close())
}

// A write to QueueNotify ends although there is always more to do, and the bell tells of the rest.
func TestInStepIsBounded(t *testing.T) {
	w, rung := &wire{}, 0
	w.endless.Store(true)
	memory := virtiotest.NewMemory(t, 1<<20)
	m := virtio.NewMMIO(virtio.NewNet(w, testMAC, ethernet.MTU), memory, func() {}, t.Logf, func() { rung++ })
	d := virtiotest.NewDriver(t, memory, m)
	d.StartWith(netFeatures, 2, 8)
	q := d.Queues[abi.NetReceiveQueue]
	q.Send(abi.Descriptor{Address: dataAt, Length: 8, Flags: abi.DescWrite}) // too little for any frame, so all of them are lost
	assert.NotZero(t, rung)
	lost := m.Counters().Errors
	assert.NotZero(t, lost)
	m.Serve()
	assert.Greater(t, m.Counters().Errors, lost)
	m.Pause()
	lost = m.Counters().Errors
	m.Serve()
	assert.Equal(t, lost, m.Counters().Errors)
	m.Resume()
	require.NoError(t, m.Close())
}

// Flush of a device in step serves it: nobody else would.
func TestInStepFlush(t *testing.T) {
	s, c := portPath(t)
	c.a.room = 3
	s.Put(dataAt, []byte("hello"))
	q := s.Queues[abi.ConsolePortQueues(1)+1]
	q.Send(abi.Descriptor{Address: dataAt, Length: 5})
	q.Offer(q.Chain(abi.Descriptor{Address: dataAt, Length: 5})) // of which the device was not notified
	go c.a.change(func() { c.a.room = 100 })
	virtio.FlushPorts(s.m)
	assert.Equal(t, "hellohello", c.a.take())
	c.a.change(func() { c.a.room = 0 })
	q.Send(abi.Descriptor{Address: dataAt, Length: 5})
	go s.m.Close()
	virtio.FlushPorts(s.m) // until then
}

// The path of a port allocates nothing for a request, in either direction.
func TestInStepAllocatesNothing(t *testing.T) {
	silent := &quiet{in: make([]byte, 64)}
	memory := virtiotest.NewMemory(t, 1<<20)
	m := virtio.NewMMIO(virtio.NewPorts([]virtio.Port{{Name: "a", End: silent}}), memory, func() {}, t.Logf, func() {})
	d := virtiotest.NewDriver(t, memory, m)
	d.StartWith(abi.FeatureEventIndex|abi.ConsoleFeatureMultiport, 6, 8)
	d.Put(saidAt, messageOf(1, abi.ConsolePortOpen, 1))
	d.Queues[abi.ConsoleControlTransmitQueue].Send(abi.Descriptor{Address: saidAt, Length: abi.ConsoleControlBytes})
	rings := map[int][]byte{}
	for queue, flags := range map[int]uint16{4: abi.DescWrite, 5: 0} {
		q := d.Queues[queue]
		q.Chain(abi.Descriptor{Address: dataAt, Length: 64, Flags: flags}) // descriptor 0
		rings[queue] = memory.Bytes(t, q.Available, abi.AvailableBytes(q.Size))
	}
	exchange := func() {
		for queue := 4; queue <= 5; queue++ { // descriptor 0 stands in all elements
			index := rings[queue][abi.RingIndex:]
			binary.LittleEndian.PutUint16(index, binary.LittleEndian.Uint16(index)+1)
			m.Notify(queue)
		}
		silent.left = 64
		silent.wake()
		m.Serve()
	}
	exchange()
	served := m.Counters().Requests
	assert.Zero(t, testing.AllocsPerRun(100, exchange))
	assert.Equal(t, served+2*101, m.Counters().Requests)
	require.NoError(t, m.Close())
}

// quiet is an end that takes all and gives what is left, without memory of its own.
type quiet struct {
	in   []byte
	left int
	wake func()
}

func (q *quiet) Offer(p []byte) int { return len(p) }
func (q *quiet) Fetch(p []byte) int {
	n := min(q.left, copy(p, q.in))
	q.left -= n
	return n
}
func (q *quiet) Ended() bool        { return false }
func (q *quiet) Attach(wake func()) { q.wake = wake }

// A device with a goroutine that is paused and goes on at any time loses neither a byte nor a request.
func TestPauseLosesNothing(t *testing.T) {
	p := startPorts(t)
	p.say(1, abi.ConsolePortReady, 1)
	p.say(1, abi.ConsolePortOpen, 1)
	r := rand.New(rand.NewPCG(1, 1))
	rest := func() {
		for range r.IntN(5) {
			runtime.Gosched()
		}
		p.m.Pause()
		p.m.Resume()
	}
	var sent, got []byte
	in, out := p.Queues[abi.ConsolePortQueues(1)], p.Queues[abi.ConsolePortQueues(1)+1]
	for range 500 {
		text := make([]byte, 1+r.IntN(100))
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		p.Put(dataAt, text)
		out.Send(abi.Descriptor{Address: dataAt, Length: uint32(len(text))})
		rest()
		out.WaitUsed()
		p.m.Pause()
		p.a.send(string(text)) // which nobody hears
		p.m.Resume()
		sent = append(sent, text...)
		for len(got) < len(sent) {
			in.Send(abi.Descriptor{Address: dataAt + 0x1000, Length: 30, Flags: abi.DescWrite})
			rest()
			got = append(got, p.Memory.Bytes(t, dataAt+0x1000, uint64(in.WaitUsed().Length))...)
		}
	}
	assert.Equal(t, sent, got)
	assert.Equal(t, string(sent), p.a.taken())
}

// sink is an end that takes all, and counts it.
type sink struct {
	quiet
	taken uint64
}

func (s *sink) Offer(p []byte) int {
	s.taken += uint64(len(p))
	return len(p)
}

// A write to QueueNotify ends although one request names the same memory again and again, and all of it comes in the end.
func TestInStepBytesAreBounded(t *testing.T) {
	const memory, descriptors = 4 << 20, 64
	s, rung := &sink{}, 0
	ram := virtiotest.NewMemory(t, memory)
	m := virtio.NewMMIO(virtio.NewPorts([]virtio.Port{{Name: "a", End: s}}), ram, func() {}, t.Logf, func() { rung++ })
	d := virtiotest.NewDriver(t, ram, m)
	d.StartWith(abi.FeatureEventIndex|abi.ConsoleFeatureMultiport, 6, descriptors)
	var all [descriptors]abi.Descriptor
	for i := range all {
		all[i] = abi.Descriptor{Length: memory}
	}
	d.Queues[5].Send(all[:]...)
	assert.NotZero(t, rung)
	assert.LessOrEqual(t, s.taken, uint64(32<<20))
	for range descriptors {
		m.Serve()
	}
	assert.EqualValues(t, memory*descriptors, s.taken)
	assert.EqualValues(t, 1, d.Queues[5].UsedIndex())
	require.NoError(t, m.Close())
}
