package virtio_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// end is the outer end of a port, with room for so many bytes.
type end struct {
	mu       sync.Mutex
	in, out  []byte
	room     int
	ended    bool
	wake     func()
	attached int
}

func (e *end) Offer(p []byte) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(p), e.room-len(e.out))
	e.out = append(e.out, p[:n]...)
	return n
}

func (e *end) Fetch(p []byte) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(p, e.in)
	e.in = e.in[n:]
	return n
}

func (e *end) Ended() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended && len(e.in) == 0
}

func (e *end) Attach(wake func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake = wake
	e.attached++
}

// change changes the end, and has the device look at it.
func (e *end) change(f func()) {
	e.mu.Lock()
	f()
	wake := e.wake
	e.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// send has the host send something.
func (e *end) send(text string) { e.change(func() { e.in = append(e.in, text...) }) }

// taken is what the guest sent.
func (e *end) taken() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return string(e.out)
}

// portsTest is a driver, and a device with ports "a" and "b".
type portsTest struct {
	*virtiotest.Driver
	device *virtio.Ports
	m      *virtio.MMIO
	a, b   *end
}

const portQueues = 8

func newPorts(t testing.TB) *portsTest {
	p := &portsTest{a: &end{room: 1 << 20}, b: &end{room: 1 << 20}}
	p.device = virtio.NewPorts([]virtio.Port{{Name: "a", End: p.a}, {Name: "bb", End: p.b}})
	p.Driver, p.m = start(t, p.device)
	return p
}

func startPorts(t testing.TB) *portsTest {
	p := newPorts(t)
	p.start()
	return p
}

func (p *portsTest) start() {
	p.StartWith(abi.FeatureEventIndex|abi.ConsoleFeatureMultiport, portQueues, 8)
}

// Buffers of messages, the driver's and the device's, and of what ports carry.
const (
	saidAt  = virtiotest.Buffers
	heardAt = virtiotest.Buffers + 0x1000
	dataAt  = virtiotest.Buffers + 0x2000
)

// say tells the device something, and waits until that has used it.
func (p *portsTest) say(port uint32, event, value uint16) {
	p.T.Helper()
	p.sayBytes(messageOf(port, event, value))
}

func messageOf(port uint32, event, value uint16) []byte {
	m := binary.LittleEndian.AppendUint32(nil, port)
	m = binary.LittleEndian.AppendUint16(m, event)
	return binary.LittleEndian.AppendUint16(m, value)
}

func (p *portsTest) sayBytes(m []byte) {
	p.T.Helper()
	p.Put(saidAt, m)
	p.Queues[abi.ConsoleControlTransmitQueue].Send(abi.Descriptor{Address: saidAt, Length: uint32(len(m))})
	p.Queues[abi.ConsoleControlTransmitQueue].WaitUsed()
}

// hear gives the device room for a message, and returns that.
func (p *portsTest) hear() (port uint32, event, value uint16, name string) {
	p.T.Helper()
	q := p.Queues[abi.ConsoleControlReceiveQueue]
	q.Send(abi.Descriptor{Address: heardAt, Length: 64, Flags: abi.DescWrite})
	n := q.WaitUsed().Length
	require.GreaterOrEqual(p.T, n, uint32(abi.ConsoleControlBytes))
	m := p.Memory.Bytes(p.T, heardAt, uint64(n))
	le := binary.LittleEndian
	return le.Uint32(m), le.Uint16(m[4:]), le.Uint16(m[6:]), string(m[8:])
}

// assertHears checks the next message.
func (p *portsTest) assertHears(port uint32, event, value uint16, name string) {
	p.T.Helper()
	gotPort, gotEvent, gotValue, gotName := p.hear()
	assert.Equal(p.T, []any{port, event, value, name}, []any{gotPort, gotEvent, gotValue, gotName})
}

// open goes through the messages until both ports are open.
func (p *portsTest) open() {
	p.T.Helper()
	p.say(0, abi.ConsoleDeviceReady, 1)
	p.assertHears(1, abi.ConsolePortAdd, 1, "")
	p.assertHears(2, abi.ConsolePortAdd, 1, "")
	for n, name := range map[uint32]string{1: "a", 2: "bb"} {
		p.say(n, abi.ConsolePortReady, 1)
		p.assertHears(n, abi.ConsolePortOpen, 1, "")
		p.assertHears(n, abi.ConsolePortName, 1, name)
		p.say(n, abi.ConsolePortOpen, 1)
	}
}

func (p *portsTest) receive(n int) *virtiotest.Queue  { return p.Queues[abi.ConsolePortQueues(n)] }
func (p *portsTest) transmit(n int) *virtiotest.Queue { return p.Queues[abi.ConsolePortQueues(n)+1] }

// send sends a text by port n.
func (p *portsTest) send(n int, text string) {
	at := dataAt + 0x10000*uint64(n)
	p.Put(at, []byte(text))
	p.transmit(n).Send(abi.Descriptor{Address: at, Length: uint32(len(text))})
}

// room gives port n room for so many bytes.
func (p *portsTest) room(n int, length uint32) {
	p.receive(n).Send(abi.Descriptor{Address: dataAt + 0x1000*uint64(n), Length: length, Flags: abi.DescWrite})
}

// got waits for what comes by port n.
func (p *portsTest) got(n int) string {
	p.T.Helper()
	length := p.receive(n).WaitUsed().Length
	return string(p.Memory.Bytes(p.T, dataAt+0x1000*uint64(n), uint64(length)))
}

func TestPortsOffer(t *testing.T) {
	p := newPorts(t)
	assert.EqualValues(t, abi.FeatureVersion1|abi.FeatureEventIndex|abi.ConsoleFeatureMultiport, p.Offered())
	assert.EqualValues(t, 3, binary.LittleEndian.Uint32(p.Config(abi.ConsoleConfigMaxPorts, 4)), "port 0 counts")
	assert.Equal(t, portQueues, p.m.Queues())
}

// TestPortsHandshake: the messages of 5.3.6.2, and that answers are there before what they answer is given back.
func TestPortsHandshake(t *testing.T) {
	p := startPorts(t)
	q := p.Queues[abi.ConsoleControlReceiveQueue]
	for i := range uint64(4) {
		q.Send(abi.Descriptor{Address: heardAt + 64*i, Length: 64, Flags: abi.DescWrite})
	}
	p.say(0, abi.ConsoleDeviceReady, 1)
	assert.EqualValues(t, 2, q.UsedIndex(), "both ports are told of")
	p.say(2, abi.ConsolePortReady, 1)
	assert.EqualValues(t, 4, q.UsedIndex(), "its name, and that it is open")
	p.start()
	p.open()
}

func TestPortsCarry(t *testing.T) {
	p := startPorts(t)
	p.open()
	p.send(1, "to the host")
	p.transmit(1).WaitUsed()
	assert.Equal(t, "to the host", p.a.taken())
	p.send(2, "by another")
	p.transmit(2).WaitUsed()
	assert.Equal(t, "by another", p.b.taken())
	p.room(1, 5)
	p.a.send("to the guest")
	assert.Equal(t, "to th", p.got(1))
	p.room(1, 100)
	assert.Equal(t, "e guest", p.got(1))
	p.b.send("waits")
	p.room(2, 100)
	assert.Equal(t, "waits", p.got(2))
}

// TestPortsHoldTheQueueBack: what the end has no room for stays in the driver's queue, and other ports go on.
func TestPortsHoldTheQueueBack(t *testing.T) {
	p := startPorts(t)
	p.open()
	p.a.change(func() { p.a.room = 3 })
	p.send(1, "abcdef")
	p.send(2, "x")
	p.transmit(2).WaitUsed()
	assert.Zero(t, p.transmit(1).UsedIndex())
	flushed := make(chan struct{})
	go func() {
		p.device.Flush()
		close(flushed)
	}()
	p.a.change(func() { p.a.room = 100 })
	p.transmit(1).WaitUsed()
	<-flushed
	assert.Equal(t, "abcdef", p.a.taken())
}

// TestPortsFlushEnds: with a reset, and with a device that breaks.
func TestPortsFlushEnds(t *testing.T) {
	for name, stop := range map[string]func(p *portsTest){
		"reset":  func(p *portsTest) { p.Write(abi.RegStatus, 0) },
		"breaks": func(p *portsTest) { p.transmit(2).Send(abi.Descriptor{Address: 1 << 50, Length: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startPorts(t)
			p.device.Flush()
			p.a.change(func() { p.a.room = 0 })
			p.send(1, "x")
			flushed := make(chan struct{})
			go func() {
				p.device.Flush()
				close(flushed)
			}()
			stop(p)
			<-flushed
			p.device.Flush()
		})
	}
}

// TestPortsGuestIsClosed: nothing comes by a port that the guest has not opened, or closed again.
func TestPortsGuestIsClosed(t *testing.T) {
	p := startPorts(t)
	p.open()
	p.say(1, abi.ConsolePortOpen, 0)
	p.room(1, 100)
	p.a.send("kept")
	p.say(0, abi.ConsoleDeviceReady, 0)
	assert.Zero(t, p.receive(1).UsedIndex())
	p.say(1, abi.ConsolePortOpen, 1)
	assert.Equal(t, "kept", p.got(1))
}

// TestPortsHostCloses: the guest is told behind the last byte.
func TestPortsHostCloses(t *testing.T) {
	p := startPorts(t)
	p.open()
	p.a.send("last")
	p.a.change(func() { p.a.ended = true })
	p.room(1, 100)
	assert.Equal(t, "last", p.got(1))
	p.assertHears(1, abi.ConsolePortOpen, 0, "")
	p.start()
	p.say(1, abi.ConsolePortReady, 1)
	p.assertHears(1, abi.ConsolePortOpen, 0, "")
}

// TestPortsReset: nothing of the old session is used, and what the host sends waits for the next.
func TestPortsReset(t *testing.T) {
	p := startPorts(t)
	p.open()
	p.room(1, 100)
	p.Write(abi.RegStatus, 0)
	p.Memory.Snapshot()
	p.a.send("kept")
	assert.False(t, p.Memory.Changed())
	p.start()
	p.open()
	p.room(1, 100)
	assert.Equal(t, "kept", p.got(1))
	assert.Equal(t, 3, p.a.attached)
}

// TestPortsMessagesOfNoMeaning are counted, and change nothing.
func TestPortsMessagesOfNoMeaning(t *testing.T) {
	p := startPorts(t)
	p.open()
	before := p.m.Counters().Errors
	for _, m := range []struct {
		port  uint32
		event uint16
	}{
		{0, abi.ConsolePortReady}, {3, abi.ConsolePortReady}, {1<<32 - 1, abi.ConsolePortOpen}, {1, abi.ConsolePortAdd}, {1, abi.ConsolePortName}, {1, 8}, {1, 0xffff},
	} {
		p.say(m.port, m.event, 1)
	}
	p.sayBytes([]byte{1, 0, 0, 0, 6, 0, 0})
	assert.EqualValues(t, 8, p.m.Counters().Errors-before)
	q := p.Queues[abi.ConsoleControlReceiveQueue]
	p.say(1, abi.ConsolePortReady, 1)
	for _, length := range []uint32{0, 4, 7} { // too little room
		q.Send(abi.Descriptor{Address: heardAt, Length: length, Flags: abi.DescWrite})
		assert.Zero(t, q.WaitUsed().Length)
	}
	assert.EqualValues(t, 11, p.m.Counters().Errors-before)
	p.assertHears(1, abi.ConsolePortOpen, 1, "")
	p.assertHears(1, abi.ConsolePortName, 1, "a")
	assert.False(t, p.Broken())
}

// TestPortsWithoutMultiport: a driver that knows port 0 alone has a port that takes all and gives nothing.
func TestPortsWithoutMultiport(t *testing.T) {
	p := newPorts(t)
	p.StartWith(abi.FeatureEventIndex, 2, 8)
	p.Put(dataAt, []byte("nobody"))
	p.Queues[abi.ConsoleTransmitQueue].Send(abi.Descriptor{Address: dataAt, Length: 6})
	p.Queues[abi.ConsoleTransmitQueue].WaitUsed()
	p.Queues[abi.ConsoleReceiveQueue].Send(abi.Descriptor{Address: dataAt, Length: 6, Flags: abi.DescWrite})
	assert.Zero(t, p.a.attached)
	assert.Empty(t, p.a.taken()+p.b.taken())
}

// FuzzPorts has a driver say any messages, send and give room in any order, while the host sends: all that it sends comes out, in order, all
// that the host sends comes in, and the device has no other memory for it than its queues.
func FuzzPorts(f *testing.F) {
	f.Add([]byte{0, 10, 1, 20, 2, 5, 3, 0})
	f.Add([]byte{2, 200, 2, 200, 1, 255, 3, 1, 4, 7, 1, 255, 0, 0, 3, 2})
	f.Fuzz(func(t *testing.T, steps []byte) {
		p := startPorts(t)
		var sent, given, got []byte
		open := func() {
			p.say(1, abi.ConsolePortReady, 1)
			p.say(1, abi.ConsolePortOpen, 1)
		}
		open()
		next := byte(0)
		text := func(n byte) string {
			next++
			return strings.Repeat(string('a'+rune(next%26)), int(n))
		}
		for ; len(steps) > 1 && len(sent)+len(given) < 16<<10; steps = steps[2:] {
			n := steps[1]
			switch steps[0] % 5 {
			case 0:
				s := text(n)
				p.send(1, s)
				p.transmit(1).WaitUsed()
				sent = append(sent, s...)
			case 1:
				s := text(n)
				given = append(given, s...)
				p.a.send(s)
			case 2:
				if len(got) < len(given) {
					p.room(1, 1+uint32(n))
					got = append(got, p.got(1)...)
				}
			case 3:
				p.start()
				open()
			case 4:
				p.sayBytes(bytes.Repeat([]byte{n, 0, 0, 0}, int(n)%4))
				open()
			}
		}
		for len(got) < len(given) {
			p.room(1, 255)
			got = append(got, p.got(1)...)
		}
		assert.Equal(t, string(sent), p.a.taken())
		assert.Equal(t, string(given), string(got))
		assert.False(t, p.Broken())
	})
}

// TestPortsWithoutSeveral: of a driver that knows port 0 alone nothing is taken by the queues of others, and nobody waits for that.
func TestPortsWithoutSeveral(t *testing.T) {
	p := newPorts(t)
	p.a.room = 0
	p.StartWith(abi.FeatureEventIndex, portQueues, 8)
	p.send(1, "to nobody")
	m := messageOf(1, abi.ConsolePortOpen, 1)
	p.Put(saidAt, m)
	p.Queues[abi.ConsoleControlTransmitQueue].Send(abi.Descriptor{Address: saidAt, Length: uint32(len(m))})
	p.device.Flush()
	assert.Empty(t, p.a.taken())
	assert.Zero(t, p.a.attached)
	assert.Zero(t, p.transmit(1).UsedIndex())
	assert.Zero(t, p.Queues[abi.ConsoleControlTransmitQueue].UsedIndex())
}
