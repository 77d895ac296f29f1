package virtioports

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/abi/virtio/hostile"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// client records what it is told.
type client struct {
	port     *Port
	sent     []string
	received []string
	ends     []abi.ErrorCode
	states   []abi.ErrorCode
	again    func()
}

func (c *client) Sent(buf []byte, n int, e abi.ErrorCode) {
	c.sent = append(c.sent, string(buf[:n]))
	c.ends = append(c.ends, e)
	if c.again != nil {
		c.again()
	}
}

func (c *client) Received(buf []byte, n int, e abi.ErrorCode) {
	c.received = append(c.received, string(buf[:n]))
	c.ends = append(c.ends, e)
}

func (c *client) PortChanged() { c.states = append(c.states, c.port.State()) }

// rig is a driver, and its device of ports 1 and 2.
type rig struct {
	Ports
	t       testing.TB
	device  *virtiotest.Device
	machine *kerneltest.Machine
	a, b    client
}

const devicePorts = 2

func newDevice(t testing.TB) *virtiotest.Device {
	var most []uint32
	for range 2 * (devicePorts + 2) {
		most = append(most, 64)
	}
	d := virtiotest.New(t, spec.IDConsole, spec.ConsoleFeatureMultiport, most...)
	d.Config = binary.LittleEndian.AppendUint32(make([]byte, spec.ConsoleConfigMaxPorts), devicePorts+1)
	d.Config = append(d.Config, 0, 0, 0, 0)
	return d
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, device: newDevice(t), machine: kerneltest.New(t.(*testing.T), capability.Mint())}
	r.wire(t)
	require.Equal(t, abi.OK, r.Init(&r.machine.Kernel, r.device.Place()))
	return r
}

// wire gives the driver clients of ports a and b.
func (r *rig) wire(testing.TB) {
	for name, c := range map[string]*client{"a": &r.a, "b": &r.b} {
		c.port = r.Named(name)
		c.port.SetPortClient(c)
	}
}

// message is a control message.
func message(port uint32, event, value uint16, name string) []byte {
	m := binary.LittleEndian.AppendUint32(nil, port)
	m = binary.LittleEndian.AppendUint16(m, event)
	return append(binary.LittleEndian.AppendUint16(m, value), name...)
}

// says has the device say something.
func (r *rig) says(m []byte) {
	r.t.Helper()
	q := r.device.Queues[spec.ConsoleControlReceiveQueue]
	c, ok := q.Next()
	require.True(r.t, ok, "there is no room for a message")
	q.Use(c.Head, c.Write(m))
	r.HandleInterrupt()
}

// hears has the device take what it is told.
func (r *rig) hears() (all [][]byte) {
	q := r.device.Queues[spec.ConsoleControlTransmitQueue]
	for c, ok := q.Next(); ok; c, ok = q.Next() {
		all = append(all, c.Readable)
		q.Use(c.Head, 0)
		r.HandleInterrupt()
	}
	return all
}

// open has the device say that it has ports, "a" by number 1 and "b" by 2, both open.
func (r *rig) open() {
	r.t.Helper()
	r.hears()
	for i, name := range []string{"a", "b\x00"} {
		n := uint32(i + 1)
		r.says(message(n, spec.ConsolePortAdd, 1, ""))
		r.says(message(n, spec.ConsolePortName, 1, name))
		r.says(message(n, spec.ConsolePortOpen, 1, ""))
	}
	r.hears()
	require.Equal(r.t, abi.OK, r.a.port.State())
	require.Equal(r.t, abi.OK, r.b.port.State())
}

// takes has the device take what is sent by port number n.
func (r *rig) takes(n int) string {
	r.t.Helper()
	q := r.device.Queues[spec.ConsolePortQueues(n)+1]
	c, ok := q.Next()
	require.True(r.t, ok, "nothing is sent")
	q.Use(c.Head, 0)
	r.HandleInterrupt()
	return string(c.Readable)
}

// gives has the device give bytes by port number n, and reports whether there was room.
func (r *rig) gives(n int, text string) bool {
	q := r.device.Queues[spec.ConsolePortQueues(n)]
	c, ok := q.Next()
	if ok {
		q.Use(c.Head, c.Write([]byte(text)))
		r.HandleInterrupt()
	}
	return ok
}

// TestHandshake is the order of messages of 5.3.6.2, and what a port's state is meanwhile.
func TestHandshake(t *testing.T) {
	r := newRig(t)
	assert.False(t, r.Settled())
	assert.Equal(t, [][]byte{message(0, spec.ConsoleDeviceReady, 1, "")}, r.hears())
	assert.True(t, r.Settled(), "the device has no ports as yet")
	assert.Equal(t, abi.NODEVICE, r.a.port.State())
	assert.Equal(t, abi.NODEVICE, r.a.port.Send([]byte("x"), 1))
	assert.Equal(t, abi.NODEVICE, r.a.port.Receive(make([]byte, 1)))
	r.says(message(1, spec.ConsolePortAdd, 1, ""))
	assert.False(t, r.Settled(), "an answer is on its way")
	assert.Equal(t, [][]byte{message(1, spec.ConsolePortReady, 1, "")}, r.hears())
	r.says(message(1, spec.ConsolePortName, 1, "a\x00"))
	assert.Equal(t, [][]byte{message(1, spec.ConsolePortOpen, 1, "")}, r.hears())
	assert.Equal(t, abi.OFF, r.a.port.State(), "the host's side is not open")
	r.says(message(1, spec.ConsolePortOpen, 1, ""))
	assert.Equal(t, abi.OK, r.a.port.State())
	assert.True(t, r.Settled())
	assert.Equal(t, []abi.ErrorCode{abi.OFF, abi.OK}, r.a.states)
	r.says(message(2, spec.ConsolePortAdd, 1, ""))
	r.says(message(2, spec.ConsolePortName, 1, "nobody knows"))
	assert.Equal(t, [][]byte{message(2, spec.ConsolePortReady, 1, "")}, r.hears(), "it is not opened")
	assert.Equal(t, abi.NODEVICE, r.b.port.State())
	assert.Zero(t, r.device.Refused())
}

// TestAnswersAreHeardFirst: what the device says before it has used what it was told is known when the ports are settled.
func TestAnswersAreHeardFirst(t *testing.T) {
	r := newRig(t)
	tell, hear := r.device.Queues[spec.ConsoleControlTransmitQueue], r.device.Queues[spec.ConsoleControlReceiveQueue]
	c, _ := tell.Next()
	for n := range uint32(devicePorts) {
		room, ok := hear.Next()
		require.True(t, ok)
		hear.Use(room.Head, room.Write(message(n+1, spec.ConsolePortAdd, 1, "")))
	}
	tell.Use(c.Head, 0)
	r.HandleInterrupt()
	assert.False(t, r.Settled())
	assert.Len(t, r.hears(), 2)
	assert.True(t, r.Settled())
}

func TestSend(t *testing.T) {
	r := newRig(t)
	r.open()
	p, text := r.a.port, strings.Repeat("0123456789", 250)
	assert.Equal(t, abi.SIZE, p.Send([]byte("abc"), 0))
	assert.Equal(t, abi.SIZE, p.Send([]byte("abc"), 4))
	assert.Equal(t, abi.OK, p.Send([]byte("abc"), 2))
	assert.Equal(t, abi.BUSY, p.Send([]byte("abc"), 2))
	assert.Empty(t, r.a.sent, "no callback from within the call")
	r.a.again = func() {
		r.a.again = nil
		assert.Equal(t, abi.OK, p.Send([]byte(text), len(text)), "from the callback")
	}
	assert.Equal(t, "ab", r.takes(1))
	got := ""
	for len(r.a.sent) == 1 {
		piece := r.takes(1)
		assert.LessOrEqual(t, len(piece), outputSize)
		got += piece
	}
	assert.Equal(t, text, got)
	assert.Equal(t, []string{"ab", text}, r.a.sent)
	assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OK}, r.a.ends)
	assert.Empty(t, r.b.sent)
}

// TestPost: nobody is called for what is posted, and no interrupt is asked for, unless more is to be sent before the device has taken it.
func TestPost(t *testing.T) {
	r := newRig(t)
	r.open()
	p, q := r.a.port, r.device.Queues[spec.ConsolePortQueues(1)+1]
	take := func() string {
		c, ok := q.Next()
		require.True(t, ok, "nothing is sent")
		q.Use(c.Head, 0)
		return string(c.Readable)
	}
	states := len(r.a.states)
	assert.Equal(t, abi.SIZE, p.Post(nil))
	assert.Equal(t, abi.SIZE, p.Post(make([]byte, hil.PortPiece+1)))
	for _, text := range []string{"ab", "cd", strings.Repeat("x", hil.PortPiece)} {
		b := []byte(text)
		assert.Equal(t, abi.OK, p.Post(b), "the one before was taken")
		clear(b)
		assert.Equal(t, text, take(), "of which there is a copy")
		r.HandleInterrupt()
		r.HandleDeferredCall()
	}
	assert.Len(t, r.a.states, states, "nobody is called")
	assert.Empty(t, r.a.sent)

	assert.Equal(t, abi.OK, p.Post([]byte("ef")))
	assert.Equal(t, abi.BUSY, p.Post([]byte("gh")))
	assert.Equal(t, abi.BUSY, p.Send([]byte("gh"), 2))
	assert.Equal(t, "ef", r.takes(1))
	assert.Len(t, r.a.states, states+1, "it is told that it can send")
	assert.Equal(t, abi.OK, p.Send([]byte("gh"), 2))
	assert.Equal(t, abi.BUSY, p.Post([]byte("ij")))
	assert.Equal(t, "gh", r.takes(1))
	assert.Equal(t, []string{"gh"}, r.a.sent)
	assert.Equal(t, abi.OK, p.Post([]byte("ij")))
	r.says(message(1, spec.ConsolePortOpen, 0, ""))
	assert.Equal(t, abi.OFF, p.Post([]byte("kl")))
	assert.Equal(t, []string{"gh"}, r.a.sent, "nobody is called for what was posted")
}

// TestPostToAHostileDevice: a device that says something wrong of what was posted is found by a deferred call, and nobody is called from within Post.
func TestPostToAHostileDevice(t *testing.T) {
	for name, use := range map[string]func(q *virtiotest.Queue){
		"another chain":      func(q *virtiotest.Queue) { q.Use(7, 0) },
		"bytes written":      func(q *virtiotest.Queue) { q.Use(0, 1) },
		"more than was sent": func(q *virtiotest.Queue) { q.Use(0, 0); q.Use(0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.open()
			q := r.device.Queues[spec.ConsolePortQueues(1)+1]
			assert.Equal(t, abi.OK, r.a.port.Post([]byte("x")))
			q.Next()
			use(q)
			states := len(r.a.states)
			assert.Equal(t, abi.BUSY, r.a.port.Post([]byte("y")))
			assert.Len(t, r.a.states, states, "no callback from within the call")
			r.transport.HandleDeferredCall()
			assert.Equal(t, abi.FAIL, r.a.port.State())
			assert.Equal(t, abi.FAIL, r.a.port.Post([]byte("z")))
		})
	}
}

// TestReceive: what nobody wanted yet is kept, in order, and the device gets room when somebody wants more.
func TestReceive(t *testing.T) {
	r := newRig(t)
	r.open()
	p, buf := r.b.port, make([]byte, 3)
	assert.False(t, r.gives(2, "x"), "nobody waits")
	assert.Equal(t, abi.SIZE, p.Receive(nil))
	assert.Equal(t, abi.OK, p.Receive(buf))
	assert.Equal(t, abi.BUSY, p.Receive(buf))
	assert.True(t, r.gives(2, ""))
	assert.Empty(t, r.b.received, "nothing is nothing")
	assert.True(t, r.gives(2, "abcde"))
	assert.Equal(t, []string{"abc"}, r.b.received)
	assert.False(t, r.gives(2, "x"), "there are bytes that nobody took")
	assert.Equal(t, abi.OK, p.Receive(buf))
	assert.Len(t, r.b.received, 1, "no callback from within the call")
	r.HandleDeferredCall()
	assert.Equal(t, []string{"abc", "de"}, r.b.received)
	r.HandleDeferredCall()
	assert.Len(t, r.b.received, 2, "a deferred call that nobody waits for")
	assert.Empty(t, r.a.received)
}

// TestHostCloses: what goes on ends, what came before is received all the same, and the port can be used when it is open again.
func TestHostCloses(t *testing.T) {
	r := newRig(t)
	r.open()
	p, buf := r.a.port, make([]byte, 2)
	p.Receive(buf)
	r.gives(1, "abc")
	p.Send([]byte("x"), 1)
	r.says(message(1, spec.ConsolePortOpen, 0, ""))
	assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OFF}, r.a.ends)
	assert.Equal(t, abi.OFF, p.Send(buf, 1))
	assert.Equal(t, abi.OK, p.Receive(buf))
	r.HandleDeferredCall()
	assert.Equal(t, []string{"ab", "c"}, r.a.received)
	assert.Equal(t, abi.OFF, p.Receive(buf))
	r.says(message(1, spec.ConsolePortOpen, 1, ""))
	assert.Equal(t, abi.BUSY, p.Send(buf, 1), "the device has what was sent before")
	states := len(r.a.states)
	r.takes(1)
	assert.Len(t, r.a.sent, 1, "that has ended already")
	assert.Len(t, r.a.states, states+1, "but it is told that it can send")
	assert.Equal(t, abi.OK, p.Send(buf, 1))
	assert.Equal(t, abi.OK, p.Receive(buf))
	r.says(message(1, spec.ConsolePortOpen, 0, ""))
	assert.Equal(t, []abi.ErrorCode{abi.OK, abi.OFF, abi.OK, abi.OFF, abi.OFF}, r.a.ends)
	r.gives(1, "late")
	assert.Len(t, r.a.received, 3, "nobody waits")
}

// TestAnotherClient: nobody is called for what the first one began, and the second can begin when that is sent.
func TestAnotherClient(t *testing.T) {
	r := newRig(t)
	r.open()
	r.a.port.Send([]byte("x"), 1)
	r.a.port.Receive(make([]byte, 1))
	second := client{port: r.a.port}
	r.a.port.SetPortClient(&second)
	assert.Equal(t, abi.BUSY, r.a.port.Send([]byte("y"), 1))
	r.takes(1)
	assert.Len(t, second.states, 1)
	assert.Equal(t, abi.OK, r.a.port.Send([]byte("y"), 1))
	assert.True(t, r.gives(1, "z"))
	assert.Equal(t, abi.OK, r.a.port.Receive(make([]byte, 1)))
	r.HandleDeferredCall()
	assert.Equal(t, []string{"z"}, second.received)
	assert.Empty(t, r.a.ends)
}

// TestMadeAnew: a driver of cleared state begins with its device from the start, and finds the ports again.
func TestMadeAnew(t *testing.T) {
	r := newRig(t)
	r.open()
	r.a.port.Send([]byte("x"), 1)
	r.Ports = Ports{}
	r.machine = kerneltest.New(t, capability.Mint())
	r.wire(t)
	require.Equal(t, abi.OK, r.Init(&r.machine.Kernel, r.device.Place()))
	assert.Equal(t, abi.NODEVICE, r.a.port.State())
	r.open()
	assert.Equal(t, abi.OK, r.a.port.Send([]byte("y"), 1))
	assert.Equal(t, "y", r.takes(1))
}

// TestRemove: a port that the device takes away is none, until it has one of the name again, by whatever number.
func TestRemove(t *testing.T) {
	r := newRig(t)
	r.open()
	r.a.port.Receive(make([]byte, 1))
	r.says(message(1, spec.ConsolePortRemove, 0, ""))
	assert.Equal(t, []abi.ErrorCode{abi.NODEVICE}, r.a.ends)
	assert.Equal(t, abi.NODEVICE, r.a.port.State())
	r.says(message(2, spec.ConsolePortName, 1, "a"))
	assert.Equal(t, abi.NODEVICE, r.a.port.State(), "number 2 is b")
	r.says(message(1, spec.ConsolePortAdd, 1, ""))
	r.says(message(1, spec.ConsolePortName, 1, "a"))
	r.says(message(1, spec.ConsolePortOpen, 1, ""))
	assert.Equal(t, abi.OK, r.a.port.Receive(make([]byte, 1)))
	r.gives(1, "x")
	assert.Equal(t, []string{"", "x"}, r.a.received)
}

// TestMessagesOfNoMeaning change nothing.
func TestMessagesOfNoMeaning(t *testing.T) {
	r := newRig(t)
	r.open()
	states := len(r.a.states)
	for _, m := range [][]byte{
		{}, message(1, spec.ConsolePortOpen, 0, "")[:7],
		message(0, spec.ConsolePortOpen, 0, ""), message(3, spec.ConsolePortOpen, 0, ""), message(1<<32-1, spec.ConsolePortRemove, 0, ""),
		message(1, 8, 0, ""), message(1, 0xffff, 0, ""), message(1, spec.ConsoleDeviceReady, 0, ""), message(1, spec.ConsoleResize, 0, "1234"),
		message(1, spec.ConsoleConsolePort, 1, ""), message(1, spec.ConsolePortName, 1, "b"), message(2, spec.ConsolePortName, 1, ""),
		message(1, spec.ConsolePortName, 1, strings.Repeat("x", abi.MaxPortName+1)),
	} {
		r.says(m)
	}
	assert.Len(t, r.a.states, states)
	assert.Empty(t, r.hears())
	assert.Equal(t, messages, r.device.Queues[spec.ConsoleControlReceiveQueue].Waiting(), "there is room for others")
}

// TestBrokenDevice: all that goes on has an end, once.
func TestBrokenDevice(t *testing.T) {
	r := newRig(t)
	r.open()
	p := r.a.port
	p.Send([]byte("hello"), 5)
	r.b.port.Receive(make([]byte, 1))
	r.device.Lenient = true
	r.device.Queues[spec.ConsolePortQueues(1)+1].Use(7, 0)
	r.HandleInterrupt()
	assert.Contains(t, r.device.Log.String(), "ports at 0xd0000000 is broken, and not used any more")
	assert.Equal(t, []abi.ErrorCode{abi.FAIL}, r.a.ends)
	assert.Equal(t, []abi.ErrorCode{abi.FAIL}, r.b.ends)
	assert.Equal(t, abi.FAIL, p.State())
	assert.Equal(t, abi.FAIL, p.Send([]byte("x"), 1))
	assert.Equal(t, abi.FAIL, p.Receive(make([]byte, 1)))
	assert.True(t, r.Settled())
}

// TestUnfitDevices: each is told of, and its ports are none.
func TestUnfitDevices(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(d *virtiotest.Device)
	}{
		{"another kind", "it is of another kind", func(d *virtiotest.Device) { d.ID = spec.IDBlock }},
		{"no named ports", "it has no ports but a console's", func(d *virtiotest.Device) { d.Offered &^= spec.ConsoleFeatureMultiport }},
		{"one port", "it has no ports but a console's", func(d *virtiotest.Device) { d.Config[spec.ConsoleConfigMaxPorts] = 1 }},
		{"no port", "it has no ports but a console's", func(d *virtiotest.Device) { d.Config[spec.ConsoleConfigMaxPorts] = 0 }},
		{"more ports than queues", "a queue is too small", func(d *virtiotest.Device) { d.Config[spec.ConsoleConfigMaxPorts+3] = 0xff }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &rig{t: t, device: newDevice(t), machine: kerneltest.New(t, capability.Mint())}
			tt.change(r.device)
			r.wire(t)
			assert.Equal(t, abi.FAIL, r.Init(&r.machine.Kernel, r.device.Place()))
			assert.Contains(t, r.device.Log.String(), tt.want)
			assert.NotEqual(t, abi.OK, r.a.port.State())
			assert.True(t, r.Settled())
			r.HandleInterrupt()
			r.HandleDeferredCall()
		})
	}
}

func TestNamed(t *testing.T) {
	var p Ports
	assert.Same(t, p.Named("a"), p.Named("a"))
	for _, name := range []string{"b", "c", "d", "e", "f", "g", "h"} {
		p.Named(name)
	}
	assert.Panics(t, func() { p.Named("i") })
}

// FuzzDevice has a device do what scripts say, and bytes between their steps, while clients send and receive: no client is called
// for what it did not ask for, and no buffer is touched that the device has.
func FuzzDevice(f *testing.F) {
	for _, s := range hostile.Scripts {
		f.Add(hostile.Encode(s.Steps), []byte{1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 7, 0, 1, 0, 'a'})
	}
	f.Fuzz(func(t *testing.T, script, said []byte) {
		r := &rig{t: t, device: newDevice(t), machine: kerneltest.New(t, capability.Mint())}
		attacker := virtiotest.NewAttacker(r.device)
		r.wire(t)
		r.Init(&r.machine.Kernel, r.device.Place())
		var sends, receives [2]int
		clients := [...]*client{&r.a, &r.b}
		for s := range hostile.Decode(script[:min(len(script), 1024)]) {
			if s.Act == hostile.Serve {
				n := min(len(said), 1+int(s.Value%messageSize))
				q := r.device.Queues[spec.ConsoleControlReceiveQueue]
				if q.Size() != 0 && q.Used() != nil {
					if c, ok := q.Next(); ok {
						q.Use(c.Head, c.Write(said[:n]))
					}
				}
				said = said[n:]
			} else {
				attacker.Do(s)
			}
			r.HandleInterrupt()
			r.HandleDeferredCall()
			for i, c := range clients {
				if s.Value%2 == 0 {
					c.port.Post([]byte("other"))
				} else if c.port.Send([]byte("some"), 4) == abi.OK {
					sends[i]++
				}
				if c.port.Receive(make([]byte, 3)) == abi.OK {
					receives[i]++
				}
				if len(c.sent) > sends[i] || len(c.received) > receives[i] {
					t.Fatalf("called back %d and %d times, asked %d and %d times", len(c.sent), len(c.received), sends[i], receives[i])
				}
			}
		}
		if r.device.Refused() != 0 {
			t.Fatalf("%d accesses to lent buffers", r.device.Refused())
		}
	})
}
