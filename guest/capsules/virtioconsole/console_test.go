package virtioconsole

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// client records what it is given.
type client struct {
	sent     []string
	received []string
	ends     []abi.ErrorCode
	again    func()
}

func (c *client) Transmitted(buf []byte, n int, e abi.ErrorCode) {
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

// standBy is a line that is done at once when it is told to be.
type standBy struct {
	transmit hil.TransmitClient
	sending  []byte
	polled   strings.Builder
	receives []byte
}

func (s *standBy) SetTransmitClient(c hil.TransmitClient) { s.transmit = c }
func (s *standBy) SetReceiveClient(hil.ReceiveClient)     {}

func (s *standBy) Transmit(buf []byte, n int) abi.ErrorCode {
	s.sending = buf[:n]
	return abi.OK
}

func (s *standBy) Receive(buf []byte, n int) abi.ErrorCode {
	s.receives = buf[:n]
	return abi.OK
}

func (s *standBy) AbortReceive() abi.ErrorCode { return abi.ALREADY }
func (s *standBy) TransmitPolling(b []byte)    { s.polled.Write(b) }
func (s *standBy) MidLine() bool               { return false }

// rig is a driver, its device, the line that stands by, and its client.
type rig struct {
	Console
	client  client
	standBy standBy
	device  *virtiotest.Device
	machine *kerneltest.Machine
}

func newRig(t *testing.T) *rig {
	r := &rig{device: virtiotest.New(t, spec.IDConsole, 0, 8, 8), machine: kerneltest.New(t, capability.Mint())}
	require.Equal(t, abi.OK, r.Init(&r.machine.Kernel, r.device.Place(), &r.standBy))
	r.SetTransmitClient(&r.client)
	r.SetReceiveClient(&r.client)
	return r
}

// print has the device take what it is given, and returns it.
func (r *rig) print(t *testing.T) string {
	q := r.device.Queues[spec.ConsoleTransmitQueue]
	c, ok := q.Next()
	require.True(t, ok, "nothing is to be printed")
	q.Use(c.Head, 0)
	r.HandleInterrupt()
	return string(c.Readable)
}

// typed has the device give what is typed, if there is room.
func (r *rig) typed(t *testing.T, text string) {
	q := r.device.Queues[spec.ConsoleReceiveQueue]
	c, ok := q.Next()
	require.True(t, ok, "there is no room for input")
	q.Use(c.Head, c.Write([]byte(text)))
	r.HandleInterrupt()
}

func TestTransmit(t *testing.T) {
	r := newRig(t)
	buf := []byte("hello\nworld")
	assert.Equal(t, abi.SIZE, r.Transmit(buf, 0))
	assert.Equal(t, abi.SIZE, r.Transmit(buf, len(buf)+1))
	assert.Equal(t, abi.OK, r.Transmit(buf, 6))
	assert.Equal(t, abi.BUSY, r.Transmit(buf, 6))
	assert.Empty(t, r.client.sent, "no callback from within the call")
	assert.Equal(t, "hello\n", r.print(t))
	assert.False(t, r.MidLine())
	r.client.again = func() {
		r.client.again = nil
		assert.Equal(t, abi.OK, r.Transmit(buf, len(buf)), "from the callback")
	}
	r.Transmit(buf, 3)
	r.print(t)
	assert.Equal(t, "hello\nworld", r.print(t))
	assert.True(t, r.MidLine())
	assert.Equal(t, []string{"hello\n", "hel", "hello\nworld"}, r.client.sent)
	assert.Zero(t, r.device.Refused())
}

// TestWriteOf4096IsTwoExits: one notification, and one access to a register behind the interrupt.
func TestWriteOf4096IsTwoExits(t *testing.T) {
	r := newRig(t)
	reads := 0
	r.device.OnRead = func(_ uint16, v uint32) uint32 { reads++; return v }
	r.Transmit(make([]byte, 4096), 4096)
	assert.Len(t, r.print(t), 4096)
	assert.Len(t, r.device.Notified, 1)
	assert.Zero(t, reads)
	assert.Zero(t, r.device.Interrupt, "acknowledged")
	assert.Len(t, r.client.sent, 1)
}

func TestLongTransmissionGoesInPieces(t *testing.T) {
	r := newRig(t)
	text := strings.Repeat("0123456789", 1000)
	r.Transmit([]byte(text), len(text))
	var got string
	for len(r.client.sent) == 0 {
		piece := r.print(t)
		assert.LessOrEqual(t, len(piece), transmitSize)
		got += piece
	}
	assert.Equal(t, text, got)
}

// TestReceive: bytes that nobody wanted yet are kept, in order, and the device gets room as long as somebody wants more.
func TestReceive(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 8)
	assert.Equal(t, abi.ALREADY, r.AbortReceive())
	assert.Equal(t, abi.SIZE, r.Receive(buf, 9))
	assert.Equal(t, abi.OK, r.Receive(buf, 2))
	assert.Equal(t, abi.BUSY, r.Receive(buf, 2))
	r.typed(t, "abcde")
	assert.Equal(t, []string{"ab"}, r.client.received)
	assert.Zero(t, r.device.Queues[0].Waiting(), "nobody wants more")
	r.Receive(buf, 1)
	assert.Len(t, r.client.received, 1, "no callback from within the call")
	r.HandleDeferredCall()
	r.Receive(buf, 4)
	r.HandleDeferredCall()
	assert.Equal(t, []string{"ab", "c"}, r.client.received)
	r.typed(t, "fg")
	assert.Equal(t, []string{"ab", "c", "defg"}, r.client.received)
}

func TestAbortReceive(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 8)
	r.Receive(buf, 4)
	r.typed(t, "ab")
	assert.Equal(t, abi.OK, r.AbortReceive())
	r.typed(t, "cd")
	assert.Empty(t, r.client.received)
	r.HandleDeferredCall()
	assert.Equal(t, []string{"ab"}, r.client.received)
	assert.Equal(t, []abi.ErrorCode{abi.CANCEL}, r.client.ends)
	r.Receive(buf, 2)
	r.HandleDeferredCall()
	assert.Equal(t, []string{"ab", "cd"}, r.client.received, "nothing is lost")
}

// TestBrokenConsole: what was under way goes on by the line that stands by, and so does all that follows.
func TestBrokenConsole(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 8)
	r.Transmit([]byte("hello"), 5)
	r.Receive(buf, 1)
	r.device.Lenient = true
	r.device.Queues[1].Use(7, 0)
	r.HandleInterrupt()
	assert.Contains(t, r.device.Log.String(), "console at 0xd0000000 is broken, and not used any more")
	assert.Equal(t, "hello", string(r.standBy.sending))
	assert.Equal(t, []abi.ErrorCode{abi.CANCEL}, r.client.ends, "of the reception")
	assert.Same(t, &r.client, r.standBy.transmit)
	assert.Equal(t, abi.OK, r.Transmit([]byte("more"), 4))
	assert.Equal(t, "more", string(r.standBy.sending))
	assert.True(t, r.MidLine(), "the panic's table begins a line of its own")
	assert.Equal(t, abi.OK, r.Transmit([]byte("\n"), 1))
	assert.False(t, r.MidLine())
	assert.Equal(t, abi.OK, r.Receive(buf, 3))
	assert.Len(t, r.standBy.receives, 3)
	assert.Equal(t, abi.ALREADY, r.AbortReceive())
	r.TransmitPolling([]byte("end"))
	assert.Equal(t, "end", r.standBy.polled.String())
}

// TestNoConsole: a device that is none leaves the driver to the line that stands by.
func TestNoConsole(t *testing.T) {
	d := virtiotest.New(t, spec.IDBlock, 0, 8)
	var c Console
	var line standBy
	assert.Equal(t, abi.FAIL, c.Init(new(kernel.Kernel), d.Place(), &line))
	assert.Equal(t, abi.OK, c.Transmit([]byte("hello"), 5))
	assert.Equal(t, "hello", string(line.sending))
}

// TestPolling: what the device has goes first, pieces that it was not given and what follows by the line that stands by.
func TestPolling(t *testing.T) {
	r := newRig(t)
	text := strings.Repeat("x", transmitSize) + "rest"
	var order []string
	q := r.device.Queues[1]
	r.device.OnNotify = func(int) {
		c, _ := q.Next()
		order = append(order, string(c.Readable[:1]))
		q.Use(c.Head, 0)
	}
	r.Transmit([]byte(text), len(text))
	r.TransmitPolling([]byte(" end\n"))
	r.TransmitPolling(nil)
	assert.Equal(t, []string{"x"}, order)
	assert.Equal(t, "rest end\n", r.standBy.polled.String())
	assert.False(t, r.MidLine())
	r.HandleInterrupt()
	assert.Empty(t, r.client.sent, "it went by polling")
}

// TestDeviceThatNeverPrints: polling ends.
func TestDeviceThatNeverPrints(t *testing.T) {
	r := newRig(t)
	r.Transmit([]byte("hello"), 5)
	r.TransmitPolling([]byte("end"))
	assert.Equal(t, "end", r.standBy.polled.String())
}
